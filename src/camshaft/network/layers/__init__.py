"""The layers of a `Network`, by kind; each kind is a part of its class."""
