"""PyTorch in one line: engines of its modules (needs the extra `torch`).

import camshaft.torch

fast = camshaft.torch.compile(model.eval(), (image,))
scores = fast(image)

camshaft.torch.export(model.eval(), (image,), "model.engine")  # for machines without PyTorch
"""

from camshaft.torch.engines import Compiled, compile, export
from camshaft.torch.explain import Explanation, explain
from camshaft.torch.pending import wait

__all__ = ["Compiled", "Explanation", "compile", "explain", "export", "wait"]
