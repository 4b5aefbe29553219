"""Recurrent layers found among the nodes of graphs that have them step by step."""
