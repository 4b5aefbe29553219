"""Functions that make numbers from extents alone: rows of numbers, identity matrices."""

from __future__ import annotations

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, ceil_div, largest
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import DType, boolean, f32, i64
from camshaft.ops.elementwise import POINTWISE
from camshaft.ops.functional.core import emit
from camshaft.ops.functional.movement.shape import reshape
from camshaft.ops.shapes import IOTA


def iota(builder: GraphBuilder, count: Extent, *, output: str | None = None) -> Tensor:
    """The i64 numbers 0 to count - 1; a constant where `count` is an int."""
    if isinstance(count, int):
        array = np.arange(count, dtype=np.int64)
        return builder.constant(array, output or builder.local("iota"))
    return emit(builder, IOTA, [], {"count": count}, output)


def arange(
    builder: GraphBuilder,
    start: Extent,
    limit: Extent,
    step: int = 1,
    dtype: DType = i64,
    *,
    output: str | None = None,
) -> Tensor:
    """start, start + step, ... up to, not including, `limit`; ModelError for a step of 0."""
    step = fixed_extent(step, "the step of a range")
    if step == 0:
        raise ModelError("a step other than 0 is needed")
    distance = limit - start if step > 0 else start - limit
    count = largest(0, ceil_div(distance, abs(step)))
    number = E.mul(E.inp(0), E.const(step, i64))
    expr = E.cast(E.add(number, E.extent(start, i64)), dtype) if dtype != i64 else E.add(
        number, E.extent(start, i64))  # fmt: skip
    if expr == E.inp(0):
        return iota(builder, count, output=output)
    return emit(builder, POINTWISE, [iota(builder, count)], {"expr": expr}, output)


def eye(
    builder: GraphBuilder,
    rows: Extent,
    columns: Extent,
    diagonal: int = 0,
    dtype: DType = f32,
    *,
    output: str | None = None,
) -> Tensor:
    """[rows, columns] with 1 where column - row is `diagonal`, else 0."""
    row = reshape(builder, iota(builder, rows), (rows, 1))
    column = iota(builder, columns)
    there = E.binary("eq", E.inp(1), E.add(E.inp(0), E.const(diagonal, i64)))
    expr = there if dtype == boolean else E.cast(there, dtype)
    return emit(builder, POINTWISE, [row, column], {"expr": expr}, output)
