"""Normalizations: batch norm as a per-channel affine, the others as reduce and pointwise ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results, retyped
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ops import POINTWISE, POOL, REDUCE
from camshaft.ops.common import normal_axis

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


def centred_variance(ctx: NodeContext, x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(x - mean, variance) over `axes`, both with all axes kept."""
    by = E.const(1.0 / max(1, prod(x.shape[a] for a in axes)))
    mean_of = retyped(E.mul(E.inp(0), by), x.type.dtype)
    axes = tuple(axes)
    mean = ctx.step(REDUCE, [x], kind="sum", axes=axes, epilogue=mean_of)
    centred = ctx.pointwise(E.sub(E.inp(0), E.inp(1)), x, mean, last=False)
    square = E.mul(E.inp(0), E.inp(0))
    variance = ctx.step(REDUCE, [centred], kind="sum", axes=axes, prologue=square, epilogue=mean_of)
    return centred, variance


def _standardized(epsilon: float) -> Expr:
    """i0 / sqrt(i1 + epsilon)."""
    return E.div(E.inp(0), E.unary("sqrt", E.add(E.inp(1), E.const(epsilon))))


def instance_normalization(ctx: NodeContext) -> Results:
    """InstanceNormalization over all spatial axes."""
    x = ctx.arg(0)
    epsilon = ctx.attr_float("epsilon", 1e-5)
    centred, variance = centred_variance(ctx, x, range(2, x.type.rank))
    scale, bias = (ctx.column(ctx.arg(i), x.type.rank) for i in (1, 2))
    expr = E.add(E.mul(_standardized(epsilon), E.inp(2)), E.inp(3))
    return ctx.pointwise(expr, centred, variance, scale, bias)


def group_normalization(ctx: NodeContext) -> Results:
    """GroupNormalization of opset 21 on: scale and bias are per channel."""
    x = ctx.arg(0)
    groups, epsilon = ctx.attr_int("num_groups", 1), ctx.attr_float("epsilon", 1e-5)
    if x.type.rank < 2 or groups < 1 or x.shape[1] % groups:
        raise ModelError(f"the channels of {x.type} do not divide into {groups} groups")
    grouped = ctx.reshape(x, (x.shape[0], groups, prod(x.shape[1:]) // groups))
    centred, variance = centred_variance(ctx, grouped, (2,))
    y = ctx.pointwise(_standardized(epsilon), centred, variance, last=False)
    operands = [ctx.column(ctx.arg(i), x.type.rank) for i in (1, 2)]
    return ctx.pointwise(AFFINE, ctx.reshape(y, x.shape), *operands)


def layer_normalization(ctx: NodeContext) -> Results:
    """LayerNormalization over the axes from `axis` on, with its optional statistics."""
    x = ctx.arg(0)
    axis = normal_axis(ctx.attr_int("axis", -1), x.type.rank)
    epsilon = ctx.attr_float("epsilon", 1e-5)
    centred, variance = centred_variance(ctx, x, range(axis, x.type.rank))
    expr = E.mul(_standardized(epsilon), E.inp(2))
    operands = [ctx.arg(1)]
    if ctx.has(2):
        expr, operands = E.add(expr, E.inp(3)), [*operands, ctx.arg(2)]
    results = [ctx.pointwise(expr, centred, variance, *operands)]
    if ctx.wants(1) or ctx.wants(2):
        made = ctx.builder.producer(centred)
        results.append(made.args[1] if made else centred)
        deviation = E.unary("sqrt", E.add(E.inp(0), E.const(epsilon)))
        inverse = retyped(E.unary("reciprocal", deviation), x.type.dtype)
        results.append(ctx.step(POINTWISE, [variance], expr=inverse))
    return results


def lp_normalization(ctx: NodeContext) -> Results:
    """LpNormalization along one axis; a row of zeros stays zero."""
    x = ctx.arg(0)
    axis, p = normal_axis(ctx.attr_int("axis", -1), x.type.rank), ctx.attr_int("p", 2)
    if p not in (1, 2):
        raise ModelError(f"p={p} is neither 1 nor 2")
    value = E.inp(0)
    before = E.unary("abs", value) if p == 1 else E.mul(value, value)
    after = value if p == 1 else E.unary("sqrt", value)
    norm = ctx.step(REDUCE, [x], kind="sum", axes=(axis,), prologue=before, epilogue=after)
    zero = E.const(0.0)
    divided = E.select(E.binary("eq", E.inp(1), zero), zero, E.div(value, E.inp(1)))
    return ctx.pointwise(divided, x, norm)


def local_response(ctx: NodeContext) -> Results:
    """LRN: x / (bias + alpha * mean of squares over `size` channels)^beta (Krizhevsky 2012).

    The mean is an average pool along the channels of [N,1,C,H*W], zero padding counted.
    """
    x = ctx.arg(0)
    size = ctx.attr_int("size")
    if size < 1 or x.type.rank < 3:
        raise ModelError(f"size={size} must be at least 1 and {x.type} have spatial axes")
    squares = ctx.pointwise(E.mul(E.inp(0), E.inp(0)), x, last=False)
    columns = ctx.reshape(squares, (x.shape[0], 1, x.shape[1], prod(x.shape[2:])))
    means = ctx.step(
        POOL,
        [columns],
        kind="avg",
        kernel=(size, 1),
        pads=((size - 1) // 2, 0, size // 2, 0),
        count_include_pad=True,
        layout="NCHW",
    )
    alpha, beta, bias = (
        E.const(ctx.attr_float(n, d)) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    scale = E.binary("pow", E.add(E.mul(E.inp(1), alpha), bias), beta)
    return ctx.pointwise(E.div(E.inp(0), scale), x, ctx.reshape(means, x.shape))


HANDLERS: Mapping[str, Handler] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LRN": local_response,
    "LpNormalization": lp_normalization,
}
