"""Stand-in for pycuda's module of this name, by camshaft."""

import sys

from camshaft.tensorrt.standins.pycuda import driver

sys.modules[__name__] = driver
