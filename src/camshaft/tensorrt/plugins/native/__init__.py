"""Plugins of TensorRT's own library, in layers of networks by hand.

base        what they have in common
creators    their creators in the registry
boxes       what scores and boxes have to go through, in NumPy
efficient, batched, normalization, regions    the plugins
kernels     kernels of theirs
"""
