"""`tensorrt.plugin`: plugins of decorated functions.

shapes, tensors    what the functions are given
combinations       element types that they take
definitions        the decorators, and `op`
calls              one use of a plugin in a network
running            how it runs
"""
