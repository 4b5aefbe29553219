"""Normalizations: batch norm as a per-channel affine, the others as reduce and pointwise ops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor

AFFINE = E.add(E.mul(E.inp(0), E.inp(1)), E.inp(2))


def batch_normalization(ctx: NodeContext) -> Results:
    """BatchNormalization in inference: x * a + b with a and b folded in float64."""
    if ctx.attr_int("training_mode"):
        raise ModelError("is in training mode; export the model for inference")
    if not ctx.attr_int("spatial", 1):
        raise ModelError("spatial=0 (statistics per element, opset < 9) is not supported")
    x = ctx.arg(0)
    if x.type.rank < 2:
        raise ModelError(f"input {x.type} has no channel axis")
    epsilon = ctx.attr_float("epsilon", 1e-5)
    stats = [ctx.arg(i) for i in range(1, 5)]
    for t in stats:
        if t.shape != (x.shape[1],):
            raise ModelError(
                f"{t.name!r} is {t.type}, not one value for each of {x.shape[1]} channels"
            )
    if all(t.is_const for t in stats):
        scale, bias, mean, variance = (t.array.astype(np.float64) for t in stats)
        a = scale / np.sqrt(variance + epsilon)
        folded = [(a, "scale"), (bias - mean * a, "shift")]
        numpy_type = x.type.dtype.numpy
        a_, b_ = (
            ctx.constant(v.astype(numpy_type).reshape(_channels(x)), what) for v, what in folded
        )
        return ctx.pointwise(AFFINE, x, a_, b_)
    columns = [ctx.column(t, x.type.rank) for t in stats]
    expr = _normalized(E.inp(0), E.inp(3), E.inp(4), epsilon)
    return ctx.pointwise(E.add(E.mul(expr, E.inp(1)), E.inp(2)), x, *columns)


def _channels(x: Tensor) -> tuple[int, ...]:
    return (x.shape[1], *([1] * (x.type.rank - 2)))


def _normalized(x: Expr, mean: Expr, variance: Expr, epsilon: float) -> Expr:
    """(x - mean) / sqrt(variance + epsilon)."""
    deviation = E.unary("sqrt", E.add(variance, E.const(epsilon)))
    return E.div(E.sub(x, mean), deviation)


HANDLERS: Mapping[str, Handler] = {
    "BatchNormalization": batch_normalization,
}
