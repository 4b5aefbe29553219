"""Exchanging the weights of built engines."""
