"""Operators of users: what they mean, which kernels they have, and where the pipeline finds them.

values      their attributes as text
attributes  their attributes as the defaults' kinds
declared    what users declare of them, taken or refused
asked       what functions of users give, taken or refused
signatures  parameters of compiled functions
kernels     the kinds of kernels and what these see of the work
plugin      the operator itself
registry    those that this process knows, by name
modules     files and modules that register some, imported for a command line
"""
