"""Stand-in for pycuda's module of this name, by camshaft."""

import sys

from camshaft.tensorrt.standins.pycuda import gpuarray

sys.modules[__name__] = gpuarray
