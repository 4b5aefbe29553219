"""The kinds of layers: for each its class, what it computes, and the methods of networks that add it."""
