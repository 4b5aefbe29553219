"""Stand-in for pycuda's module of this name, by camshaft: makes a context when it is imported."""

from camshaft.tensorrt.standins.pycuda.tools import make_default_context

context = make_default_context()
device = context.get_device()
