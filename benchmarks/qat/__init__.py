"""Quantization-aware training, shown by training: a classifier and a detector on Fashion-MNIST."""
