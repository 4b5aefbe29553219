"""Stand-in for cuda-python's module of this name, by camshaft."""

import sys

from camshaft.tensorrt.standins.cuda import driver

sys.modules[__name__] = driver
