"""camshaft.tensorrt under TensorRT's name: see camshaft.tensorrt.standins."""

import sys

from camshaft.tensorrt.standins.aliases import alias
from camshaft.tensorrt.standins.installation import answer_imports

__getattr__, __dir__ = alias(__name__)

sys.modules[f"{__name__}.tensorrt"] = sys.modules["tensorrt_bindings"] = sys.modules[__name__]
tensorrt = sys.modules[__name__]

answer_imports()
