"""Resize that shrinks smoothly: every element is a weighted mean of all source pixels it covers.

The filter of `sampling` is stretched by the factor by which the axis shrinks (as Pillow does, and ONNX's
attribute `antialias`), so that how many pixels weigh something depends on the extents.  One axis is a
product with a matrix [out, size], whose weights are constants, or are computed where extents are open.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent, ceil_div, largest
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import f32, f64
from camshaft.ops.functional.core import constant, emit
from camshaft.ops.functional.elementwise.arithmetic import pointwise
from camshaft.ops.functional.matmul import matmul
from camshaft.ops.functional.movement.counting import iota
from camshaft.ops.functional.movement.shape import reshape, transpose
from camshaft.ops.functional.movement.slicing import narrow
from camshaft.ops.functional.spatial.sampling import (
    TAP,
    Axis,
    Sampling,
    coordinates_of,
    keys,
    number,
)
from camshaft.ops.rowwise import REDUCE

_SUPPORT = {"linear": 1, "cubic": 2}
"""How far a filter reaches to either side, before it is stretched."""


def shrunk(
    builder: GraphBuilder, x: Tensor, at: int, axis: Axis, sampling: Sampling, output: str | None
) -> Tensor:
    """x f32 resampled along axis `at`."""
    weights = _matrix(builder, axis, sampling)
    if at == x.type.rank - 1:
        return matmul(builder, x, transpose(builder, weights), output=output)
    if at == x.type.rank - 2:
        return matmul(builder, weights, x, output=output)
    rows = reshape(builder, x, (*x.shape[: at + 1], -1))
    y = matmul(builder, weights, rows)
    shape = (*x.shape[:at], axis.out, *x.shape[at + 1 :])
    return reshape(builder, y, shape, output=output)


def _matrix(builder: GraphBuilder, axis: Axis, sampling: Sampling) -> Tensor:
    """Weights f32 [out, size]; each row adds up to 1.

    Pixels beyond the border count as the border's, or with `exclude_outside` not at all.
    """
    beyond: Extent = 0 if sampling.exclude_outside else _reach(axis, _SUPPORT[sampling.mode])
    length = axis.size + 2 * beyond
    position = reshape(builder, _numbers(builder, axis.out), (axis.out, 1))
    tap = E.sub(E.cast(E.inp(1), f64), number(beyond))
    weight = E.substitute(_filter(axis, sampling), [E.cast(E.inp(0), f64), tap])
    wide = pointwise(builder, E.cast(weight, f32), position, _numbers(builder, length))
    total = _sum(builder, wide)
    if sampling.exclude_outside:
        return pointwise(builder, E.div(E.inp(0), E.inp(1)), wide, total)
    before = _sum(builder, narrow(builder, wide, 1, 0, beyond))
    after = _sum(builder, narrow(builder, wide, 1, beyond + axis.size, beyond))
    inside = narrow(builder, wide, 1, beyond, axis.size)
    pixel, none = E.cast(E.inp(4), f64), E.const(0.0)
    first, last = (E.binary("eq", pixel, number(e)) for e in (0, axis.size - 1))
    border = E.add(E.select(first, E.inp(1), none), E.select(last, E.inp(2), none))
    expr = E.div(E.add(E.inp(0), border), E.inp(3))
    return pointwise(builder, expr, inside, before, after, total, _numbers(builder, axis.size))


def _filter(axis: Axis, sampling: Sampling) -> Expr:
    """The weight of pixel TAP for element POSITION, before rows are divided by what they add up to."""
    stretch = E.minimum(axis.factor, number(1))
    centre = coordinates_of(axis, sampling.coordinates)
    distance = E.mul(E.unary("abs", E.sub(TAP, centre)), stretch)
    if sampling.mode == "cubic":
        return keys(distance, sampling.cubic_coeff_a)
    return E.maximum(E.sub(number(1), distance), number(0))


def _reach(axis: Axis, support: int) -> Extent:
    """How many pixels beyond the border may weigh something (no result is shorter than 1)."""
    if isinstance(axis.scale, float):
        return ceil(support / min(axis.scale, 1.0)) + 1
    return largest(support, ceil_div(support * axis.size, largest(axis.out, 1))) + 1


def _numbers(builder: GraphBuilder, count: Extent) -> Tensor:
    """0, 1, 2, ...: a constant if it can be, so that weights are."""
    if isinstance(count, int):
        return constant(builder, np.arange(count, dtype=np.int64), "numbers")
    return iota(builder, count)


def _sum(builder: GraphBuilder, x: Tensor) -> Tensor:
    return emit(builder, REDUCE, [x], {"kind": "sum", "axes": (1,)})
