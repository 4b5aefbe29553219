"""camshaft.tensorrt.plugin under TensorRT's name."""

import importlib
import sys

sys.modules[__name__] = importlib.import_module("camshaft.tensorrt.plugin")
