"""Kernels of plugins: problem says what a spec is, dense makes strided operands row-major, tactic offers the kernels."""
