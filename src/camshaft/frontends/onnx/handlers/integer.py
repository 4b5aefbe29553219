"""ConvInteger and MatMulInteger, which stay integer, exactly: what dynamic quantization is written in.

Kernels multiply bytes x by signed bytes w.  Of sum (x - zx) (w - zw) that leaves, with 1 for weights
or for a left operand of ones,

    centred(x) = x * w - zw (x * 1)         where w - zw does not fit a signed byte
    centred(x) - zx centred(1)              where zx is only known at run time
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.contraction import conv_node, matmul_node
from camshaft.frontends.onnx.handlers.windows import as_2d, window_of
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import i8, i32, u8
from camshaft.ops.common import IDENTITY


@dataclass(frozen=True)
class _Weights:
    """Signed bytes, and points to be subtracted from them (None: nothing is to be).

    points: i32, of no axes or of as many as the product broadcasts over.
    """

    values: Tensor
    points: Tensor | None = None


def _weights(ctx: NodeContext, axis: int) -> _Weights | None:
    """Input 1 with its zero points (input 3) along `axis`; None where neither is known."""
    w, zero = ctx.arg(1), ctx.arg(3) if ctx.has(3) else None
    point: np.ndarray = np.zeros((), np.int32)
    if zero is not None:
        if zero.data is None or zero.type.rank > 1:
            return None
        point = zero.data.astype(np.int32).reshape(-1 if zero.type.size > 1 else ())
    if w.type.dtype is i8 and not point.any():
        return _Weights(w)
    if w.data is None:
        return None
    along = [1] * w.type.rank
    along[axis] = -1
    stored = w.data.astype(np.int32)
    distance = stored - (point.reshape(along) if point.ndim else point)
    if not distance.size or (distance.min() >= -128 and distance.max() <= 127):
        return _Weights(ctx.constant(distance.astype(np.int8), "centred"))
    middle = 128 if w.type.dtype is u8 else 0
    behind = () if axis else (1, 1)  # the output channels of a convolution
    points = (point - middle).reshape(-1, *behind) if point.ndim else point - middle
    values = ctx.constant((stored - middle).astype(np.int8), "bytes")
    return _Weights(values, ctx.constant(points.astype(np.int32), "points"))


class _Product(Protocol):
    """A convolution or matrix product of the node; point: the left operand's zero point."""

    def __call__(
        self,
        left: Tensor,
        right: Tensor,
        point: int = 0,
        operands: Sequence[Tensor] = (),
        epilogue: Expr = IDENTITY,
        *,
        last: bool = False,
    ) -> Tensor: ...


@dataclass(frozen=True)
class _Integer:
    """The node's arithmetic.  ones: weights of 1.  left: a left operand of 1."""

    product: _Product
    weights: _Weights
    ones: Tensor
    left: Tensor

    def centred(
        self, x: Tensor, point: int, owed: Sequence[Tensor] = (), *, last: bool = False
    ) -> Tensor:
        """sum (x - point) (w - zw), less the product of the two tensors `owed`."""
        operands, expr = list(owed), E.inp(0)
        if self.weights.points is not None:
            operands += [self.weights.points, self.product(x, self.ones, point)]
        for i in range(1, len(operands), 2):
            expr = E.sub(expr, E.mul(E.inp(i), E.inp(i + 1)))
        return self.product(x, self.weights.values, point, operands, expr, last=last)

    def result(self, ctx: NodeContext) -> Tensor:
        """The node's output."""
        x, zero = ctx.arg(0), ctx.arg(2) if ctx.has(2) else None
        if zero is None or zero.data is not None:
            point = 0 if zero is None else int(zero.array.reshape(-1)[0])
            return self.centred(x, point, last=True)
        owed = [ctx.reshape(ctx.cast(zero, i32), ()), self.centred(self.left, 0)]
        return self.centred(x, 0, owed, last=True)


def _one_zero_point(ctx: NodeContext) -> bool:
    """Whether the left operand's zero point is one for all."""
    return not ctx.has(2) or ctx.arg(2).type.size == 1


def conv_integer(ctx: NodeContext) -> Results:
    """ConvInteger over one or two spatial axes."""
    x = ctx.arg(0)
    weights = _weights(ctx, axis=0) if x.type.rank in (3, 4) and _one_zero_point(ctx) else None
    if weights is None:
        return host_step(ctx)
    w = weights.values

    def product(
        left: Tensor,
        right: Tensor,
        point: int = 0,
        operands: Sequence[Tensor] = (),
        epilogue: Expr = IDENTITY,
        *,
        last: bool = False,
    ) -> Tensor:
        attrs: dict[str, Attr] = {"x_zero_point": point, "epilogue": epilogue}
        y = conv_node(ctx, left, right, operands, attrs, last=last)
        return y if last else as_2d(ctx, y)

    window = window_of(ctx, x.shape[2:], w.shape[2:])
    reach = [d * (k - 1) + 1 for d, k in zip(window.dilations, window.kernel, strict=True)]
    spatial = x.shape[2:] if any(window.pads) else reach[-(x.type.rank - 2) :]
    k = 1 if ctx.attr_int("group", 1) == 1 else w.shape[0]
    ones = ctx.constant(np.ones((k, *w.shape[1:]), np.int8), "ones")
    left = ctx.constant(np.ones((1, x.shape[1], *spatial), np.uint8), "image")
    return _Integer(product, weights, ones, left).result(ctx)


def matmul_integer(ctx: NodeContext) -> Results:
    """MatMulInteger of matrices, batches of them included."""
    a, b = ctx.arg(0), ctx.arg(1)
    matrices = min(a.type.rank, b.type.rank) >= 2 and _one_zero_point(ctx)
    weights = _weights(ctx, axis=b.type.rank - 1) if matrices else None
    if weights is None:
        return host_step(ctx)

    def product(
        left: Tensor,
        right: Tensor,
        point: int = 0,
        operands: Sequence[Tensor] = (),
        epilogue: Expr = IDENTITY,
        *,
        last: bool = False,
    ) -> Tensor:
        attrs: dict[str, Attr] = {"a_zero_point": point, "epilogue": epilogue}
        return matmul_node(ctx, left, right, operands, attrs, last=last)

    ones = ctx.constant(np.ones((b.shape[-2], 1), np.int8), "ones")
    left = ctx.constant(np.ones((1, b.shape[-2]), np.uint8), "row")
    return _Integer(product, weights, ones, left).result(ctx)


HANDLERS: Mapping[str, Handler] = {
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
}
