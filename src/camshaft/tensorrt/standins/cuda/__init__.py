"""cuda-python's modules `cuda.bindings.runtime`, `.driver` and `.nvrtc`, as far as a CPU can serve them.

Each function returns a tuple: an error first, then its results, None where it failed. Why it failed is logged to
"camshaft.tensorrt.cuda" as a warning.
"""
