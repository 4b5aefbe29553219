"""Attention: heads, scores, masks, rotary positions.

B is the batch, N the number of heads, S the length of queries, T that of keys, H the size of a head.
Masks are numbers added to scores, or rules of positions, of which no matrix is made.
"""

from __future__ import annotations

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import i64
from camshaft.ops.elementwise import POINTWISE
from camshaft.ops.functional.core import emit, require_same
from camshaft.ops.functional.elementwise.arithmetic import add, cast, mul, pointwise, sub
from camshaft.ops.functional.movement.counting import arange
from camshaft.ops.functional.movement.shape import (
    concat,
    reshape,
    stack,
    transpose,
    unsqueeze,
)
from camshaft.ops.functional.movement.slicing import narrow, slice, take

LOWEST = float(np.finfo(np.float32).min)
"""What a score becomes that must not count."""


def split_heads(
    builder: GraphBuilder, x: Tensor, heads: int, *, output: str | None = None
) -> Tensor:
    """[B,S,N*H] as [B,N,S,H]; ModelError where the last axis does not divide by `heads`."""
    if x.type.rank != 3 or heads < 1:
        raise ModelError(f"{x.type} cannot be split into {heads} heads; [batch, length, N*H] can")
    batch, length, width = x.shape
    misfit = f"the last axis of {x.type} does not divide into {heads} heads"
    require_same(builder, width % heads, 0, misfit)
    apart = reshape(builder, x, (batch, length, heads, width // heads))
    return transpose(builder, apart, (0, 2, 1, 3), output=output)


def merge_heads(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """[B,N,S,H] as [B,S,N*H]."""
    batch, heads, length, size = x.shape
    turned = transpose(builder, x, (0, 2, 1, 3))
    return reshape(builder, turned, (batch, length, heads * size), output=output)


def places(builder: GraphBuilder, first: Extent | Tensor, length: Extent) -> Tensor:
    """Places of `length` queries from `first` on: i64 [S], or [B,1,S] where each batch has a first one of its
    own, a tensor [B] of integers."""
    if not isinstance(first, Tensor):
        return arange(builder, first, first + length)
    rows = reshape(builder, cast(builder, first, i64), (first.type.size, 1, 1))
    return add(builder, rows, arange(builder, 0, length))


def length_bias(
    builder: GraphBuilder,
    length: Extent,
    ends: Tensor,
    starts: Tensor | None = None,
    value: float = LOWEST,
) -> Tensor:
    """A bias [B,1,1,T]: `value` for keys from ends[b] on and, where given, before starts[b]; else 0.

    ends, starts: [B], integers.
    """
    place = arange(builder, 0, length)
    rows = [
        cast(builder, reshape(builder, t, (t.type.size, 1, 1, 1)), i64)
        for t in (ends, starts)
        if t is not None
    ]
    inside = E.binary("lt", E.inp(0), E.inp(1))
    if starts is not None:
        inside = E.binary("and", inside, E.binary("le", E.inp(2), E.inp(0)))
    bias = E.select(inside, E.const(0.0), E.const(value))
    return emit(builder, POINTWISE, [place, *rows], {"expr": bias})


def mask_bias(builder: GraphBuilder, mask: Tensor, value: float = LOWEST) -> Tensor:
    """0 where the mask, of integers or bools, is above 0, else `value`."""
    above = E.binary("lt", E.const(0, mask.type.dtype), E.inp(0))
    if mask.type.dtype.kind == "b":
        above = E.inp(0)
    bias = E.select(above, E.const(0.0), E.const(value))
    return emit(builder, POINTWISE, [mask], {"expr": bias})


def rotary_embedding(
    builder: GraphBuilder,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    interleaved: bool = False,
    output: str | None = None,
) -> Tensor:
    """x [B,N,S,H] with pairs of elements turned by angles (Su et al. 2021); cos, sin: broadcast to
    [B,N,S,R/2].

    A pair are elements i and i + R/2, or with `interleaved` 2i and 2i + 1, of the first R elements;
    the others stay.
    """
    half, size = fixed_extent(cos.shape[-1], "the rotary size"), x.shape[-1]
    turned = narrow(builder, x, -1, 0, 2 * half)
    if interleaved:
        left, right = (slice(builder, turned, [i], [2 * half], [-1], [2]) for i in (0, 1))
    else:
        left, right = (narrow(builder, turned, -1, i * half, half) for i in (0, 1))
    real = sub(builder, mul(builder, left, cos), mul(builder, right, sin))
    imaginary = add(builder, mul(builder, right, cos), mul(builder, left, sin))
    whole = size == 2 * half
    if interleaved:
        pairs = stack(builder, [real, imaginary], x.type.rank)
        parts = [reshape(builder, pairs, turned.shape, output=output if whole else None)]
    else:
        parts = [real, imaginary]
    if not whole:
        parts.append(narrow(builder, x, -1, 2 * half, size - 2 * half))
    return concat(builder, parts, x.type.rank - 1, output=output)


def rotary_angles(builder: GraphBuilder, table: Tensor, positions: Tensor) -> Tensor:
    """Rows of a table [most positions, R/2] at positions [B,S], as [B,1,S,R/2]."""
    return unsqueeze(builder, take(builder, table, positions, 0), 1)


def rotary_positions(builder: GraphBuilder, first: Extent | Tensor, length: Extent) -> Tensor:
    """Positions [B,S] or [1,S] of `length` elements from `first` on, a number or a tensor [B]."""
    place = places(builder, first, length)
    return reshape(builder, place, (place.shape[0] if place.type.rank == 3 else 1, length))


def append_rows(
    builder: GraphBuilder,
    past: Tensor,
    new: Tensor,
    lengths: Tensor,
    total: Extent,
    *,
    output: str | None = None,
) -> Tensor:
    """A state [B,M,T,H]: of each batch the first lengths[b] rows of `past`, and behind them `new`.

    past: [B,M,P,H].  new: [B,M,S,H].  lengths: [B], integers.  total: T, at most P + S; rows that are
    left are those of `past`.
    """
    b, m, before, size = past.shape
    more = new.shape[2]
    both = reshape(builder, concat(builder, [past, new], 2), (b * m * (before + more), size))
    block = reshape(builder, arange(builder, 0, b * m), (b, m, 1))
    there = reshape(builder, cast(builder, lengths, i64), (b, 1, 1))
    row, length = E.inp(0), E.inp(1)
    behind = E.sub(row, length)
    is_new = E.binary(
        "and",
        E.binary("le", length, row),
        E.binary("lt", behind, E.extent(more, i64)),
    )
    local = E.select(is_new, E.add(behind, E.extent(before, i64)), row)
    flat = E.add(local, E.mul(E.inp(2), E.extent(before + more, i64)))
    index = pointwise(builder, flat, arange(builder, 0, total), there, block)
    return take(builder, both, index, 0, output=output)
