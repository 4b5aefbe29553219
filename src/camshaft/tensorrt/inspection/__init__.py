"""Engines in the words of TensorRT's inspector, as tools that draw them read it: parameters of layers, layers, tensors."""
