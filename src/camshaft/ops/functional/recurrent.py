"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import f32
from camshaft.ops.functional.core import constant
from camshaft.ops.functional.movement.shape import full
from camshaft.ops.functional.quantization import zero_points
from camshaft.ops.recurrent import DIRECTIONS, DYNAMIC_LSTM

Quantized = tuple[Tensor, Tensor, Tensor | None]
"""Stored bytes, scales, zero points (None: 0)."""


def dynamic_lstm(
    builder: GraphBuilder,
    x: Tensor,
    weight: Quantized,
    recurrent: Quantized,
    bias: Tensor | None = None,
    *,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peepholes: Tensor | None = None,
    direction: str = "forward",
    outputs: Sequence[str | None] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """LSTM of x [T,N,I] with weights of bytes [D,I,4H] and [D,H,4H]; gates in the order i, o, f, c.

    Inputs and states are quantized when it runs, each by its own range at each step, as ONNX
    Runtime's DynamicQuantizeLSTM does for a batch that one thread computes.  Scales and zero points:
    [D], or [D,4H].  bias: [D,8H], of the input and of the recurrence.  hidden, cell: states to begin
    with, [D,N,H], else 0.  peepholes: [D,3H], of gates i, o, f.  direction: "forward", "reverse",
    "bidirectional" (D = 2).  outputs: names of the results y [T,D,N,H] and the last hidden and cell
    states [D,N,H].
    ModelError where ranks or extents do not fit.
    """
    if x.type.rank != 3 or recurrent[0].type.rank != 3 or direction not in DIRECTIONS:
        raise ModelError(f"an LSTM takes x [T,N,I] and a direction, not {x.type}, {direction!r}")
    directions, size = fixed(recurrent[0].shape[:2], "the shape of recurrent weights")

    def zeros(width: int) -> Tensor:
        return constant(builder, np.zeros((directions, width * size), np.float32), "zeros")

    state = (directions, x.shape[1], size)
    operands = [x, weight[0], recurrent[0]]
    for stored, scale, zero in (weight, recurrent):
        if zero is None:
            zero = zero_points(builder, scale, stored.type.dtype)
        operands += [scale, zero]
    operands.append(zeros(8) if bias is None else bias)
    for given in (hidden, cell):
        operands.append(full(builder, state, 0.0, f32) if given is None else given)
    operands.append(zeros(3) if peepholes is None else peepholes)
    parts = ("y", "hidden", "cell")
    given_names = [*outputs, None, None, None][:3]
    names = [n or builder.local(p) for n, p in zip(given_names, parts, strict=True)]
    y, h, c = builder.add(DYNAMIC_LSTM, operands, {"direction": direction}, outputs=names)
    return y, h, c
