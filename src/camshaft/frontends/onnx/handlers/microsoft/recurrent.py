"""ONNX Runtime's recurrent layers with quantized weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.recurrent import Layer
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import functional as F
from camshaft.ops.functional.core import require_same
from camshaft.ops.recurrent import has_bounded_states

_SCALES = {1: 8, 2: 10}
"""Operand of weights -> that of their scales, which zero points follow."""


def dynamic_quantize_lstm(ctx: NodeContext) -> Results:
    """DynamicQuantizeLSTM(x [T,N,I], w [D,I,4H], r [D,H,4H], b, lengths, h, c, p, ws, wz, rs, rz): a layer whose
    recurrent weights stay bytes, where its states lie between -1 and 1.

    ONNX Runtime rounds x and the states to 8 bits by their own range; here they keep 12 bits and more.  Weights that
    are computed are left to the host.
    """
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
    constants = [n for w, scale in _SCALES.items() for n in (w, scale, scale + 1) if ctx.has(n)]
    if not all(ctx.arg(n).is_const for n in constants):
        sequence = TensorType(f32, (steps, directions, batch, hidden))
        return host_step(ctx, [sequence, TensorType(f32, state), TensorType(f32, state)])
    return _BytesLayer(ctx, "lstm").results()


class _BytesLayer(Layer):
    """One node whose weights are constants."""

    unit_axis = 1

    def weights(self, direction: int | None) -> F.CellWeights:
        r, scale = self._stored(2)
        bounded = all(has_bounded_states("lstm", f) for f in self.functions())
        w, w_scale = self._stored(1)
        wide = self.b.constant(w * w_scale[..., None])
        others = (self.given(3, direction), self.given(7, direction))
        if r.dtype != np.int8 or not bounded:
            return F.CellWeights(
                self._of(wide, direction),
                self._of(self.b.constant(r * scale[..., None]), direction),
                *others,
            )
        parts = (self.b.constant(a) for a in (r, scale))
        held, scales = (self._of(t, direction) for t in parts)
        return F.CellWeights(self._of(wide, direction), held, *others, scales)

    def _stored(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights [D, 4H, .], bytes or, where a zero point is not 0, whole floats; and their scales [D, 4H]."""
        stored, given = self.ctx.arg(index).array, self.ctx.arg(_SCALES[index]).array
        count, columns = len(stored), stored.shape[-1]
        if given.shape not in ((count,), (count, columns)):
            raise ModelError(
                f"scales {list(given.shape)} do not fit weights {list(stored.shape)}: they are [D] or [D, 4H]"
            )
        scale = np.broadcast_to(given.reshape(count, -1), (count, columns)).astype(np.float32)
        turned, at = stored.swapaxes(1, 2), _SCALES[index] + 1
        zero = self.ctx.arg(at).array if self.ctx.has(at) else np.zeros(count, np.int8)
        if zero.shape not in ((count,), (count, columns)):
            raise ModelError(
                f"zero points {list(zero.shape)} do not fit weights {list(stored.shape)}: they are [D] or [D, 4H]"
            )
        zero = zero.reshape(count, -1, 1)
        if stored.dtype == np.int8 and not zero.any():
            return np.ascontiguousarray(turned), np.ascontiguousarray(scale)
        return turned.astype(np.float32) - zero.astype(np.float32), np.ascontiguousarray(scale)

    def _of(self, t: Tensor, direction: int | None) -> Tensor:
        return t if direction is None else F.narrow(self.b, t, 0, direction, 1)


HANDLERS: Mapping[str, Handler] = {"DynamicQuantizeLSTM": dynamic_quantize_lstm}
