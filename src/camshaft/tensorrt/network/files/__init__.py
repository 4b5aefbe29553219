"""Models of files as layers of networks."""
