"""Operators of users: what they mean, which kernels they have, and where the pipeline finds them.

values    their attributes as text
kernels   the kinds of kernels and what these see of the work
plugin    the operator itself
registry  those that this process knows, by name
"""
