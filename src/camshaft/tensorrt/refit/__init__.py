"""Other weights in built engines, by the names of TensorRT."""
