"""Judges: one number that says how good a network's answers are, larger is better."""
