"""Stand-in for the older name of cuda.bindings.runtime, by camshaft: the same module, whoever it is from."""

import importlib
import sys

sys.modules[__name__] = importlib.import_module("cuda.bindings.runtime")
