"""Accuracy on demand: what quantization costs, which layers cost it, and engines within an allowed drop."""
