"""Weights of few bits: integers packed into bytes, with scales and zero points for groups of them."""

from __future__ import annotations

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import f32, u8
from camshaft.ops.elementwise import POINTWISE
from camshaft.ops.functional.core import constant, emit, require_same
from camshaft.ops.functional.elementwise.arithmetic import mul, pointwise
from camshaft.ops.functional.movement.shape import reshape, stack
from camshaft.ops.functional.movement.slicing import narrow, take

_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
_FP4 = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 0.5, 1 / 6, 0.25)
CODEBOOKS = {"nf4": _NF4, "fp4": (*_FP4, *(-v for v in _FP4))}
"""What the codes 0 to 15 stand for: NormalFloat (Dettmers et al. 2023) and a float of sign, two bits of
exponent and one of fraction, as the library bitsandbytes has them."""


def unpack_bits(
    builder: GraphBuilder, x: Tensor, bits: int, *, output: str | None = None
) -> Tensor:
    """The integers of `bits` bits in the bytes x [..., C], lowest bits first: u8 [..., C * 8 / bits].

    bits: 1, 2, 4 or 8.  ModelError for others and where x is not u8.
    """
    if bits not in (1, 2, 4, 8) or x.type.dtype != u8 or not x.type.rank:
        raise ModelError(f"{x.type} is not made of bytes, or {bits} bits do not divide one")
    if bits == 8:
        return x
    parts = []
    for shift in range(0, 8, bits):
        high = E.div(E.inp(0), E.const(1 << shift, u8))
        parts.append(pointwise(builder, E.binary("mod", high, E.const(1 << bits, u8)), x))
    whole = stack(builder, parts, x.type.rank)
    return reshape(builder, whole, (*x.shape[:-1], x.shape[-1] * (8 // bits)), output=output)


def dequantize_groups(
    builder: GraphBuilder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | float,
    groups: Tensor,
    *,
    axis: int = -1,
    output: str | None = None,
) -> Tensor:
    """(x - zero_point) * scale in f32, of the scale and zero point that groups[i] says for index i of `axis`.

    x: integers.  scale, zero_point: x's shape, but for `axis`; zero points are integers, floats, or one
    number for all.  groups: [extent of the axis], integers.
    """
    operands = [x, take(builder, scale, groups, axis)]
    if isinstance(zero_point, Tensor):
        operands.append(take(builder, zero_point, groups, axis))
        zero = E.cast(E.inp(2), f32)
    else:
        zero = E.const(zero_point)
    expr = E.mul(E.sub(E.cast(E.inp(0), f32), zero), E.inp(1))
    return emit(builder, POINTWISE, operands, {"expr": expr}, output)


def blocks_of(builder: GraphBuilder, extent: int, block: int) -> Tensor:
    """The block that each index of an axis lies in: i // block, as constant i64."""
    return constant(builder, np.arange(extent, dtype=np.int64) // block, "blocks")


def check_blocked(builder: GraphBuilder, x: Tensor, width: int, *, bits: int, block: int) -> None:
    """ModelError unless packed integers x are [N, blocks, block * bits / 8] for rows of `width`."""
    count = -(-width // block)
    misfit = f"packed weights {x.type} are not [rows, {count}, {block * bits // 8}]"
    if x.type.rank != 3:
        raise ModelError(misfit)
    for given, wanted in zip(x.shape[1:], (count, block * bits // 8), strict=True):
        require_same(builder, given, wanted, misfit)


def blocked_weights(
    builder: GraphBuilder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    width: int,
    *,
    bits: int,
    block: int,
    groups: Tensor | None = None,
) -> Tensor:
    """A matrix [N, width] of packed integers, a scale and a zero point for each block of a row.

    x: u8 [N, blocks, block * bits / 8].  scale: [N, blocks], in any shape.  zero_point: as scale, of
    floats, or u8 packed as x is, [N, bytes]; 2**(bits - 1) where None.  groups: [width], the block that
    counts for each column, instead of the one it lies in.
    """
    check_blocked(builder, x, width, bits=bits, block=block)
    rows, count = fixed_extent(x.shape[0], "the rows of packed weights"), -(-width // block)
    whole = reshape(builder, unpack_bits(builder, x, bits), (rows, count * block))
    zero: Tensor | float = float(1 << bits - 1)
    if zero_point is not None:
        zero = zero_point
        if zero.type.dtype == u8:
            packed = reshape(builder, zero, (rows, -1))
            zero = narrow(builder, unpack_bits(builder, packed, bits), 1, 0, count)
        zero = reshape(builder, zero, (rows, count))
    return dequantize_groups(
        builder,
        narrow(builder, whole, 1, 0, width),
        reshape(builder, scale, (rows, count)),
        zero,
        blocks_of(builder, width, block) if groups is None else groups,
        axis=1,
    )


def codebook_weights(
    builder: GraphBuilder,
    x: Tensor,
    largest: Tensor,
    shape: tuple[int, int],
    *,
    codebook: str,
    block: int,
) -> Tensor:
    """A matrix of 4-bit codes, packed row by row, the first of a pair in the high bits.

    x: u8 [bytes].  largest: the largest magnitude of each block of `block` elements, across rows.
    codebook: a name of CODEBOOKS.
    """
    count = shape[0] * shape[1]
    low_first = reshape(builder, unpack_bits(builder, x, 4), (-1, 2))
    order = constant(builder, np.array([1, 0], np.int64), "order")
    codes = reshape(builder, take(builder, low_first, order, 1), (-1,))
    table = constant(builder, np.array(CODEBOOKS[codebook], np.float32), codebook)
    values = take(builder, table, narrow(builder, codes, 0, 0, count), 0)
    scales = take(builder, largest, blocks_of(builder, count, block), 0)
    return reshape(builder, mul(builder, values, scales), shape)
