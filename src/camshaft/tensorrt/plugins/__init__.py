"""TensorRT's plugins: operators that scripts write in Python, and those that TensorRT's plugin library has.

fields, expressions, descriptions    what plugins are given
interfaces, v2, v3                   what scripts override
registry                             creators by name
formats, running                     how the methods of a plugin become a `camshaft.plugin`
layers                               layers of networks
native                               plugins of TensorRT's own library, in layers of networks by hand
quick                                `tensorrt.plugin`: plugins of decorated functions
"""
