"""Models that other tools quantized: do they load, are their products of integers, how fast do they run."""
