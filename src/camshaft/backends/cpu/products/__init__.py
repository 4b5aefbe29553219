"""How element types are multiplied: what matrix products and convolutions have in common."""
