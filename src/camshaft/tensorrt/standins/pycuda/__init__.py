"""pycuda's modules `driver`, `gpuarray` and `tools`, as far as a CPU can serve them. Kernels cannot be compiled."""
