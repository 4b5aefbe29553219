"""Stand-in for pycuda's module of this name, by camshaft."""

import sys

from camshaft.tensorrt.standins.pycuda import compiler

sys.modules[__name__] = compiler
