"""Ranges of activations: seen in data, solved for, kept in a file."""
