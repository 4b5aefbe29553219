"""Plugins of TensorRT's own library, in layers of networks by hand.

base        what they have in common
creators    their creators in the registry
boxes       what scores and boxes have to go through
nms, normalization, regions    the plugins
"""
