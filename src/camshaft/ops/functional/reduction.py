"""Reductions over axes, positions of extremes, softmax.

axes: one axis or several, negative ones counted from the end; all where None; with () every element
is a group of its own.  keepdims: whether reduced axes stay, with extent 1.  The element type is x's
where a docstring does not say otherwise; bool is reduced as a number and gives bool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import largest, smallest
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import boolean, i32, i64, u8
from camshaft.ops.common import normal_axis
from camshaft.ops.elementwise import POINTWISE, retyped
from camshaft.ops.functional.core import emit, normal_axes
from camshaft.ops.functional.elementwise.arithmetic import cast, pointwise, reciprocal_of
from camshaft.ops.functional.movement.counting import iota
from camshaft.ops.functional.movement.shape import reshape
from camshaft.ops.rowwise import REDUCE, SOFTMAX

Axes = int | Sequence[int] | None
X = E.inp(0)
SQUARE = E.mul(X, X)


def axes_of(axes: Axes, rank: int) -> tuple[int, ...]:
    """The axes from the front, sorted."""
    return tuple(range(rank)) if axes is None else normal_axes(axes, rank)


def sum(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The sum of each group, 0 of an empty one; 8-bit integers give i32."""
    return _reduced(builder, x, "sum", axes, keepdims, output)


def prod(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The product of each group, 1 of an empty one; 8-bit integers give i32."""
    return _reduced(builder, x, "prod", axes, keepdims, output)


def amax(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The greatest of each group, NaN where one is NaN; of an empty group the type's least
    value."""
    return _reduced(builder, x, "max", axes, keepdims, output)


def amin(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The least of each group, NaN where one is NaN; of an empty group the type's greatest
    value."""
    return _reduced(builder, x, "min", axes, keepdims, output)


def mean(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The mean of each group; integers are divided toward zero."""
    count = largest(1, math.prod(x.shape[a] for a in axes_of(axes, x.type.rank)))
    dtype = u8 if x.type.dtype is boolean else x.type.dtype
    after = E.div(X, E.extent(count, dtype))
    if dtype.is_float:
        after = E.mul(X, reciprocal_of(count, dtype))
    return _reduced(builder, x, "sum", axes, keepdims, output, after=after)


def sum_of_squares(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The sum of x^2."""
    return _reduced(builder, x, "sum", axes, keepdims, output, before=SQUARE)


def l1_norm(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The sum of |x|."""
    return _reduced(builder, x, "sum", axes, keepdims, output, before=E.unary("abs", X))


def l2_norm(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """The square root of the sum of x^2."""
    root = E.unary("sqrt", X)
    return _reduced(builder, x, "sum", axes, keepdims, output, before=SQUARE, after=root)


def log_sum(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """log(sum of x)."""
    return _reduced(builder, x, "sum", axes, keepdims, output, after=E.unary("log", X))


def _reduced(
    builder: GraphBuilder,
    x: Tensor,
    kind: str,
    axes: Axes,
    keepdims: bool,
    output: str | None,
    *,
    before: Expr = X,
    after: Expr = X,
) -> Tensor:
    """`before` of every element, reduced, and `after` of every result."""
    groups = axes_of(axes, x.type.rank)
    truth = x.type.dtype is boolean
    numbers = cast(builder, x, u8) if truth else x
    if not groups:  # every element is its own group
        return pointwise(builder, E.substitute(after, [before]), x, output=output)
    dtype = numbers.type.dtype
    attrs = {
        "kind": kind,
        "axes": groups,
        "keepdims": keepdims,
        "prologue": retyped(before, dtype),
        "epilogue": retyped(after, dtype),
    }
    y = emit(builder, REDUCE, [numbers], attrs, None if truth else output)
    return cast(builder, y, boolean, output=output) if truth else y


def logsumexp(
    builder: GraphBuilder,
    x: Tensor,
    axes: Axes = None,
    *,
    keepdims: bool = False,
    output: str | None = None,
) -> Tensor:
    """log(sum of e^x), as max + log(sum(e^(x - max))), which does not overflow."""
    groups = axes_of(axes, x.type.rank)
    if not groups:
        return x
    attrs = {"kind": "sum", "axes": groups, "keepdims": keepdims, "prologue": E.unary("exp", X)}
    finite = E.clip(E.inp(1), -3e38, 3e38)  # an all -inf group must not give inf - inf
    top = emit(builder, REDUCE, [x], {"kind": "max", "axes": groups})
    moved = pointwise(builder, E.sub(X, finite), x, top)
    kept = [d for i, d in enumerate(x.shape) if i not in groups]
    beside = top if keepdims else reshape(builder, top, kept)
    epilogue = retyped(E.add(E.unary("log", X), finite), x.type.dtype)
    return emit(builder, REDUCE, [moved, beside], {**attrs, "epilogue": epilogue}, output)


def argmax(
    builder: GraphBuilder,
    x: Tensor,
    axis: int,
    *,
    keepdims: bool = False,
    last: bool = False,
    output: str | None = None,
) -> Tensor:
    """The first (or with `last` the last) position of the maximum along `axis`, as i64.

    ModelError for an axis of extent 0, but where another one is 0, so that nothing is to be found.  A maximum of NaN is found nowhere: the answer is then a
    position at an end of the axis.
    """
    return _found(builder, x, "max", axis, keepdims, last, output)


def argmin(
    builder: GraphBuilder,
    x: Tensor,
    axis: int,
    *,
    keepdims: bool = False,
    last: bool = False,
    output: str | None = None,
) -> Tensor:
    """The first (or with `last` the last) position of the minimum along `axis`, as in `argmax`."""
    return _found(builder, x, "min", axis, keepdims, last, output)


def hardmax(
    builder: GraphBuilder, x: Tensor, axis: int = -1, *, output: str | None = None
) -> Tensor:
    """1 at the first position of the maximum along `axis`, 0 elsewhere, in x's element type.

    Which position a maximum of NaN has: as in `argmax`.
    """
    axis = normal_axis(axis, x.type.rank)
    at = _place(builder, x, "max", axis, keepdims=True, last=False)
    places = iota(builder, x.shape[axis])
    places = reshape(builder, places, (x.shape[axis], *[1] * (x.type.rank - axis - 1)))
    stands = E.cast(E.binary("eq", X, E.inp(1)), x.type.dtype)
    return pointwise(builder, stands, places, at, output=output)


def _found(
    builder: GraphBuilder,
    x: Tensor,
    kind: str,
    axis: int,
    keepdims: bool,
    last: bool,
    output: str | None,
) -> Tensor:
    """As `_place`; an axis without elements has no extreme, unless there is none to be found either."""
    if not x.type.rank:
        raise ModelError(f"{x.type} has no axis")
    axis = normal_axis(axis, x.type.rank)
    results = math.prod(d for a, d in enumerate(x.shape) if a != axis)
    with builder.constraints.learning(f"node {builder.layer!r}"):
        empty = f"axis {axis} of {x.type} is empty, so that it has no extreme"
        require_at_least(x.shape[axis], smallest(1, results), empty)
    return _place(builder, x, kind, axis, keepdims, last, output)


def _place(
    builder: GraphBuilder,
    x: Tensor,
    kind: str,
    axis: int,
    keepdims: bool,
    last: bool,
    output: str | None = None,
) -> Tensor:
    """The first or last position of the extreme along `axis`, counted from 0."""
    count = x.shape[axis]
    extreme = emit(builder, REDUCE, [x], {"kind": kind, "axes": (axis,)})
    places = pointwise(builder, E.cast(X, i32), iota(builder, count))
    places = reshape(builder, places, (count, *[1] * (x.type.rank - axis - 1)))
    elsewhere = E.extent(0 if last else count - 1, i32)
    standing = E.select(E.binary("eq", X, E.inp(1)), E.inp(2), elsewhere)
    at = emit(builder, POINTWISE, [x, extreme, places], {"expr": standing})
    attrs = {
        "kind": "max" if last else "min",
        "axes": (axis,),
        "keepdims": keepdims,
        "epilogue": E.cast(X, i64),
    }
    return emit(builder, REDUCE, [at], attrs, output)


def softmax(
    builder: GraphBuilder, x: Tensor, axis: int = -1, *, output: str | None = None
) -> Tensor:
    """e^x over its sum along `axis`, after the maximum was subtracted; x is of a float type."""
    attrs = {"axis": normal_axis(axis, x.type.rank), "log": False}
    return emit(builder, SOFTMAX, [x], attrs, output)


def log_softmax(
    builder: GraphBuilder, x: Tensor, axis: int = -1, *, output: str | None = None
) -> Tensor:
    """The logarithm of `softmax`, computed as a difference, so that it cannot underflow."""
    attrs = {"axis": normal_axis(axis, x.type.rank), "log": True}
    return emit(builder, SOFTMAX, [x], attrs, output)
