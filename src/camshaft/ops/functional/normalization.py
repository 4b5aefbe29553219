"""Normalizations: batch norm as a per-channel affine, the others as reductions and elementwise work.

x is of a float type; results have its shape and element type.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.constants import holds
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import largest
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import dtype_named
from camshaft.ops.common import normal_axis
from camshaft.ops.elementwise import POINTWISE, retyped
from camshaft.ops.functional.core import emit, require_same
from camshaft.ops.functional.elementwise.arithmetic import pointwise, reciprocal_of
from camshaft.ops.functional.movement.shape import column, reshape
from camshaft.ops.pooling import POOL
from camshaft.ops.rowwise import REDUCE

X = E.inp(0)
SQUARE = E.mul(X, X)
AFFINE = E.add(E.mul(X, E.inp(1)), E.inp(2))


LARGE_SHIFT = 16384.0
"""Largest summand that comes of a smaller one by scaling, as a mean does: its rounding error is at most 1e-3."""


def batch_norm(
    builder: GraphBuilder,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    output: str | None = None,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, each [C], along axis 1 of x [N,C,...].

    Where all four are constant they become one factor and one summand, computed in float64, unless the mean is so many
    deviations that x - mean must be taken first.
    ModelError where one has not one value for each channel (Ioffe, Szegedy 2015; inference).
    """
    statistics = [weight, bias, mean, variance]
    for t in statistics:
        _check_channels(builder, x, t)
    if all(t.is_const for t in statistics):
        words = f"means are at most {LARGE_SHIFT:.0f} deviations"
        near = holds(_is_near, [weight, mean, variance], words, eps=eps)
        names = ("scale", "shift") if near else ("mean", "scale", "bias")
        parts = builder.all_derived(
            _folded if near else _apart,
            statistics,
            [builder.local(name) for name in names],
            eps=eps,
            dtype=x.type.dtype.name,
            behind=x.type.rank - 2,
        )
        centred = E.add(E.mul(E.sub(X, E.inp(1)), E.inp(2)), E.inp(3))
        return pointwise(builder, AFFINE if near else centred, x, *parts, output=output)
    columns = [column(builder, t, x.type.rank) for t in statistics]
    deviation = E.unary("sqrt", E.add(E.inp(4), E.const(eps)))
    normal = E.div(E.sub(X, E.inp(3)), deviation)
    expr = E.add(E.mul(normal, E.inp(1)), E.inp(2))
    return pointwise(builder, expr, x, *columns, output=output)


def _is_near(weight: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float) -> bool:
    """Whether x - mean need not be taken first."""
    w, m, v = (t.astype(np.float64) for t in (weight, mean, variance))
    return bool(np.abs(m * (w / np.sqrt(v + eps))).max(initial=0.0) <= LARGE_SHIFT)


def _folded(
    w: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray, eps: float, dtype: str, behind: int
) -> list[np.ndarray]:
    """Scale and shift of a batch normalization [C, 1, ...]."""
    w, b, m, v = (a.astype(np.float64) for a in (w, b, m, v))
    scale = w / np.sqrt(v + eps)
    return [_column(a, dtype, behind) for a in (scale, b - m * scale)]


def _apart(
    w: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray, eps: float, dtype: str, behind: int
) -> list[np.ndarray]:
    """Its mean, scale and summand, each [C, 1, ...]."""
    w, b, m, v = (a.astype(np.float64) for a in (w, b, m, v))
    return [_column(a, dtype, behind) for a in (m, w / np.sqrt(v + eps), b)]


def _column(values: np.ndarray, dtype: str, behind: int) -> np.ndarray:
    return values.astype(dtype_named(dtype).numpy).reshape(-1, *[1] * behind)


def _mean_of(x: Tensor, axes: Sequence[int]) -> Expr:
    """A sum over `axes` divided by how many there are."""
    count = largest(1, prod(x.shape[a] for a in axes))
    return E.mul(X, reciprocal_of(count, x.type.dtype))


def _centred(
    builder: GraphBuilder, x: Tensor, axes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean, mean, variance) over `axes`, all axes kept."""
    axes = tuple(axes)
    mean_of = _mean_of(x, axes)
    mean = emit(builder, REDUCE, [x], {"kind": "sum", "axes": axes, "epilogue": mean_of})
    centred = pointwise(builder, E.sub(X, E.inp(1)), x, mean)
    squares = {"kind": "sum", "axes": axes, "prologue": SQUARE, "epilogue": mean_of}
    return centred, mean, emit(builder, REDUCE, [centred], squares)


def _standardized(eps: float) -> Expr:
    """i0 / sqrt(i1 + eps)."""
    return E.div(X, E.unary("sqrt", E.add(E.inp(1), E.const(eps))))


def _affine(expr: Expr, weight: Tensor | None, bias: Tensor | None) -> tuple[Expr, list[Tensor]]:
    """expr * i2 + i3 of what is given, and the operands."""
    operands = []
    if weight is not None:
        operands.append(weight)
        expr = E.mul(expr, E.inp(1 + len(operands)))
    if bias is not None:
        operands.append(bias)
        expr = E.add(expr, E.inp(1 + len(operands)))
    return expr, operands


def _check_channels(builder: GraphBuilder, x: Tensor, *vectors: Tensor | None) -> None:
    """ModelError for a vector that has not one value for each channel."""
    if x.type.rank < 2:
        raise ModelError(f"input {x.type} has no channel axis")
    for t in vectors:
        if t is None:
            continue
        misfit = f"{t.name!r} is {t.type}, not one value for each of {x.shape[1]} channels"
        if t.type.rank != 1:
            raise ModelError(misfit)
        require_same(builder, x.shape[1], t.shape[0], misfit)


def instance_norm(
    builder: GraphBuilder,
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    output: str | None = None,
) -> Tensor:
    """x [N,C,...] less its mean over the spatial axes, over its deviation; weight, bias: [C]."""
    _check_channels(builder, x, weight, bias)
    centred, _, variance = _centred(builder, x, range(2, x.type.rank))
    vectors = [None if t is None else column(builder, t, x.type.rank) for t in (weight, bias)]
    expr, operands = _affine(_standardized(eps), *vectors)
    return pointwise(builder, expr, centred, variance, *operands, output=output)


def group_norm(
    builder: GraphBuilder,
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    output: str | None = None,
) -> Tensor:
    """x [N,C,...] standardized over each of `num_groups` groups of channels; weight, bias: [C].

    Wu, He 2018.  ModelError where the channels do not divide into the groups.
    """
    _check_channels(builder, x, weight, bias)
    misfit = f"the channels of {x.type} do not divide into {num_groups} groups"
    if num_groups < 1:
        raise ModelError(misfit)
    require_same(builder, x.shape[1] % num_groups, 0, misfit)
    inner = x.shape[1] // num_groups * prod(x.shape[2:])
    grouped = reshape(builder, x, (x.shape[0], num_groups, inner))
    centred, _, variance = _centred(builder, grouped, (2,))
    plain = weight is None and bias is None and x.shape == grouped.shape
    y = pointwise(builder, _standardized(eps), centred, variance, output=output if plain else None)
    vectors = [None if t is None else column(builder, t, x.type.rank) for t in (weight, bias)]
    if weight is None and bias is None:
        return reshape(builder, y, x.shape, output=output)
    expr, operands = X, [t for t in vectors if t is not None]
    if weight is not None:
        expr = E.mul(expr, E.inp(1))
    if bias is not None:
        expr = E.add(expr, E.inp(len(operands)))
    return pointwise(builder, expr, reshape(builder, y, x.shape), *operands, output=output)


def layer_norm(
    builder: GraphBuilder,
    x: Tensor,
    axis: int = -1,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    output: str | None = None,
) -> Tensor:
    """x standardized over the axes from `axis` on; weight and bias broadcast to x.

    Ba, Kiros, Hinton 2016.
    """
    return _layer_norm(builder, x, axis, weight, bias, eps, output)[0]


def layer_norm_with_statistics(
    builder: GraphBuilder,
    x: Tensor,
    axis: int = -1,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    output: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_norm`, the mean, and 1 / sqrt(variance + eps); reduced axes are kept with extent 1."""
    y, mean, variance = _layer_norm(builder, x, axis, weight, bias, eps, output)
    deviation = E.unary("sqrt", E.add(X, E.const(eps)))
    inverse = retyped(E.unary("reciprocal", deviation), x.type.dtype)
    return y, mean, emit(builder, POINTWISE, [variance], {"expr": inverse})


def _layer_norm(
    builder: GraphBuilder,
    x: Tensor,
    axis: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    output: str | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(result, mean, variance)."""
    axes = range(normal_axis(axis, x.type.rank), x.type.rank)
    centred, mean, variance = _centred(builder, x, axes)
    expr, operands = _affine(_standardized(eps), weight, bias)
    y = pointwise(builder, expr, centred, variance, *operands, output=output)
    return y, mean, variance


def rms_norm(
    builder: GraphBuilder,
    x: Tensor,
    axis: int = -1,
    weight: Tensor | None = None,
    *,
    eps: float = 1e-5,
    output: str | None = None,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the axes from `axis` on; weight broadcasts to x.

    Zhang, Sennrich 2019.
    """
    axes = tuple(range(normal_axis(axis, x.type.rank), x.type.rank))
    attrs = {"kind": "sum", "axes": axes, "prologue": SQUARE, "epilogue": _mean_of(x, axes)}
    squares = emit(builder, REDUCE, [x], attrs)
    expr, operands = _affine(_standardized(eps), weight, None)
    return pointwise(builder, expr, x, squares, *operands, output=output)


def lp_normalize(
    builder: GraphBuilder, x: Tensor, p: int = 2, axis: int = -1, *, output: str | None = None
) -> Tensor:
    """x over its p-norm along `axis`, p 1 or 2; where the norm is 0 the result is 0."""
    axis = normal_axis(axis, x.type.rank)
    if p not in (1, 2):
        raise ModelError(f"p={p} is neither 1 nor 2")
    before = E.unary("abs", X) if p == 1 else SQUARE
    after = X if p == 1 else E.unary("sqrt", X)
    attrs = {"kind": "sum", "axes": (axis,), "prologue": before, "epilogue": after}
    norm = emit(builder, REDUCE, [x], attrs)
    zero = E.const(0.0)
    divided = E.select(E.binary("eq", E.inp(1), zero), zero, E.div(X, E.inp(1)))
    return pointwise(builder, divided, x, norm, output=output)


def local_response_norm(
    builder: GraphBuilder,
    x: Tensor,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    output: str | None = None,
) -> Tensor:
    """x / (k + alpha * mean of squares over `size` channels)^beta, x [N,C,...] (Krizhevsky 2012).

    The mean is an average pool along the channels of [N,1,C,H*W], zero padding counted; an even
    `size` looks one channel further up than down.
    """
    if size < 1 or x.type.rank < 3:
        raise ModelError(f"size={size} must be at least 1 and {x.type} have spatial axes")
    squares = pointwise(builder, SQUARE, x)
    columns = reshape(builder, squares, (x.shape[0], 1, x.shape[1], prod(x.shape[2:])))
    window = {
        "kind": "avg",
        "kernel": (size, 1),
        "pads": ((size - 1) // 2, 0, size // 2, 0),
        "count_include_pad": True,
        "layout": "NCHW",
    }
    means = emit(builder, POOL, [columns], window)
    inner = E.add(E.mul(E.inp(1), E.const(alpha)), E.const(k))
    expr = E.div(X, E.binary("pow", inner, E.const(beta)))
    return pointwise(builder, expr, x, reshape(builder, means, x.shape), output=output)
