"""Stand-in for pycuda's module that holds its exceptions, by camshaft."""

import sys

from camshaft.tensorrt.standins.pycuda import driver

sys.modules[__name__] = driver
