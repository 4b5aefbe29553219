"""TensorRT's Python API on CPUs."""
