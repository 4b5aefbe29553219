"""What an engine knows of how its constants come of the model's weights, as a part of its file."""
