"""ONNX Runtime's recurrent layers with quantized weights."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import TensorType, f32
from camshaft.ops.functional.core import require_same


def dynamic_quantize_lstm(ctx: NodeContext) -> Results:
    """DynamicQuantizeLSTM(x [T,N,I], w [D,I,4H], r [D,H,4H], b, lengths, h, c, p, ws, wz, rs, rz), on the
    host."""
    x, recurrent = ctx.arg(0), ctx.arg(2)
    if x.type.rank != 3 or recurrent.type.rank != 3:
        raise ModelError(
            f"an LSTM takes x [T,N,I] and weights [D,H,4H], not {x.type}, {recurrent.type}"
        )
    steps, batch, width = x.shape
    directions, hidden, _ = recurrent.shape
    state = (directions, batch, hidden)
    wanted: Mapping[int, tuple[str, tuple[Extent, ...]]] = {
        1: ("weights", (directions, width, 4 * hidden)),
        2: ("recurrent weights", (directions, hidden, 4 * hidden)),
        3: ("bias", (directions, 8 * hidden)),
        4: ("lengths", (batch,)),
        5: ("initial hidden state", state),
        6: ("initial cell state", state),
        7: ("peepholes", (directions, 3 * hidden)),
    }
    for index, (what, shape) in wanted.items():
        if ctx.has(index):
            given = ctx.arg(index)
            misfit = f"{what} {given.type} must have the shape {list(shape)}, for an input {x.type}"
            if given.type.rank != len(shape):
                raise ModelError(misfit)
            for a, b in zip(given.shape, shape, strict=True):
                require_same(ctx.builder, a, b, misfit)
    sequence = TensorType(f32, (steps, directions, batch, hidden))
    return host_step(ctx, [sequence, TensorType(f32, state), TensorType(f32, state)])


HANDLERS: Mapping[str, Handler] = {"DynamicQuantizeLSTM": dynamic_quantize_lstm}
