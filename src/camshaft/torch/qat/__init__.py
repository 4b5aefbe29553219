"""Quantization-aware training: a module trained with the rounding of its INT8 engine.

from camshaft.torch import qat

model = qat.prepare(model, images)     # train it as usual
qat.export(model.eval(), (image,), "model.onnx")
engine = camshaft.build("model.onnx", precision={"int8"})

`camshaft.torch.compile` and `export` take such a module, too.
"""

from camshaft.torch.qat.files import export
from camshaft.torch.qat.prepare import prepare
from camshaft.torch.qat.schedule import (
    Schedule,
    freeze_ranges,
    freeze_statistics,
    observe,
    settle,
)

__all__ = [
    "Schedule",
    "export",
    "freeze_ranges",
    "freeze_statistics",
    "observe",
    "prepare",
    "settle",
]
