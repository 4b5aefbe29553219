"""Graphs as text, for people."""
