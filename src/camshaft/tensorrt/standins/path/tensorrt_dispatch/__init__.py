"""camshaft.tensorrt without what builds engines, under the name of TensorRT's dispatch runtime."""

import sys

from camshaft.tensorrt.standins.aliases import alias
from camshaft.tensorrt.standins.installation import answer_imports

__getattr__, __dir__ = alias(__name__, runs_only=True)

sys.modules[f"{__name__}.tensorrt_dispatch"] = tensorrt_dispatch = sys.modules[__name__]

answer_imports()
