"""Products with quantized weights whose results are floats, and integer arithmetic beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.microsoft.spelling import Spelling
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import Tensor
from camshaft.ir.types import i32, u8, u32
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis

_LEVEL_OF_BYTES = 4
"""The accuracy_level that lets activations be quantized."""
_CODEBOOKS = ("fp4", "nf4")


def _optional(ctx: NodeContext, index: int) -> Tensor | None:
    return ctx.arg(index) if ctx.has(index) else None


def matmul_nbits(ctx: NodeContext) -> Results:
    """MatMulNBits(a, b, scales, zero points, group indices, bias): a times weights of 2, 4 or 8 bits.

    Constant weights stay packed.  Activations become 8 bits where accuracy_level is 4.
    """
    if ctx.attr_int("weight_prepacked"):
        raise ModelError(
            "weight_prepacked: its weights are packed for one kind of GPU; export it again"
        )
    bits, block, width = ctx.attr_int("bits", 4), ctx.attr_int("block_size"), ctx.attr_int("K")
    packed, scale, zero, groups = ctx.arg(1), ctx.arg(2), _optional(ctx, 3), _optional(ctx, 4)
    F.check_blocked(ctx.builder, packed, width, bits=bits, block=block)
    matrix = _packed_matrix([packed, scale, zero, groups], width, bits, block)
    if matrix is not None:
        int8 = ctx.attr_int("accuracy_level") == _LEVEL_OF_BYTES
        bias = _optional(ctx, 5)
        return F.linear_nbits(ctx.builder, ctx.arg(0), matrix, bias, int8=int8, output=ctx.output)
    weights = F.blocked_weights(
        ctx.builder, packed, scale, zero, width, bits=bits, block=block, groups=groups
    )
    return F.linear(ctx.builder, ctx.arg(0), weights, _optional(ctx, 5), output=ctx.output)


def _packed_matrix(
    operands: Sequence[Tensor | None], width: int, bits: int, block: int
) -> F.NbitsMatrix | None:
    """Constant packed weights, scales, zero points and group indices as a matrix; None where one is
    computed, or groups have other sizes than blocks."""
    data = [None if t is None else t.data for t in operands]
    if any(t is not None and not t.is_const for t in operands) or bits not in (2, 4, 8):
        return None
    packed, scale, zero, groups = data
    assert packed is not None and scale is not None
    rows, blocks = len(packed), -(-width // block)
    if zero is not None and zero.dtype == np.uint8:
        zero = zero.reshape(rows, -1)
        zero = np.stack([zero >> s & (1 << bits) - 1 for s in range(0, 8, bits)], axis=-1)
        zero = zero.reshape(rows, -1)[:, :blocks]
    w, order = packed.reshape(rows, -1), None
    if groups is not None:
        found = F.by_groups(w, width, groups, bits=bits, block=block)
        if found is None:
            return None
        w, order = found
    zero = None if zero is None else zero.reshape(rows, blocks)
    return F.NbitsMatrix.of(
        w, scale.reshape(rows, blocks), zero, width, bits=bits, block=block, order=order
    )


def matmul_bnb4(ctx: NodeContext) -> Results:
    """MatMulBnb4(a, b, largest magnitudes): a times weights of 4-bit floats or normal floats."""
    kind = ctx.attr_int("quant_type")
    if kind not in range(len(_CODEBOOKS)):
        raise ModelError(f"quant_type={kind} is neither 0 (FP4) nor 1 (NF4)")
    weights = F.codebook_weights(
        ctx.builder,
        ctx.arg(1),
        ctx.arg(2),
        (ctx.attr_int("N"), ctx.attr_int("K")),
        codebook=_CODEBOOKS[kind],
        block=ctx.attr_int("block_size"),
    )
    if ctx.attr_int("transB", 1):
        return F.linear(ctx.builder, ctx.arg(0), weights, output=ctx.output)
    return F.matmul(ctx.builder, ctx.arg(0), weights, output=ctx.output)


def gather_block_quantized(ctx: NodeContext) -> Results:
    """GatherBlockQuantized(data, indices, scales, zero points): rows are gathered, then dequantized.

    Data of u8 hold integers of `bits` bits along their last axis; narrower types one to a byte.
    """
    b, data, indices, scales = ctx.builder, ctx.arg(0), ctx.arg(1), ctx.arg(2)
    bits = ctx.attr_int("bits", 4)
    packed = data.type.dtype is u8 and ctx.proto.input[0] not in ctx.narrow
    rank = data.type.rank
    gather = normal_axis(ctx.attr_int("gather_axis"), rank)
    along = normal_axis(ctx.attr_int("quantize_axis", 1), rank)
    if gather == along or (packed and bits < 8 and gather == rank - 1):
        raise ModelError(f"gather_axis={gather} is the axis of blocks, or of packed bytes")
    zero: Tensor | float = float(1 << bits - 1) if packed else 0.0

    def rows(table: Tensor, most: int | None = None) -> Tensor:
        """Rows of a table, unpacked, of which the last axis is `most` long."""
        picked = F.take(b, table, indices, gather)
        if not packed or most is None or bits == 8:
            return picked
        whole = F.unpack_bits(b, picked, bits)
        return F.narrow(b, whole, -1, 0, most)

    extents = [fixed_extent(d, "an extent of quantized data") for d in data.shape]
    if packed:
        extents[-1] *= 8 // bits
    if ctx.has(3):
        zero = rows(ctx.arg(3), fixed_extent(scales.shape[-1], "the extent of scales"))
    axis = along if along < gather else along + indices.type.rank - 1
    return F.dequantize_groups(
        b,
        rows(data, extents[-1]),
        rows(scales),
        zero,
        F.blocks_of(b, extents[along], ctx.attr_int("block_size", 128)),
        axis=axis,
        output=ctx.output,
    )


# --- products of bytes ----------------------------------------------------------------------


def matmul_integer_to_float(ctx: NodeContext) -> Results:
    """MatMulIntegerToFloat(a, b, a scale, b scale, a zero point, b zero point, bias)."""
    s = Spelling(ctx)
    sums = s.node("MatMulInteger", [s.name(i) for i in (0, 1, 4, 5)], "sums")
    scale = F.mul(ctx.builder, ctx.arg(2), ctx.arg(3))
    return _scaled(s, sums, s.bind("scale", scale), s.name(6))


def dynamic_quantize_matmul(ctx: NodeContext) -> Results:
    """DynamicQuantizeMatMul(a, b, b scale, b zero point, bias): a is quantized to u8 by its own range."""
    s = Spelling(ctx)
    whole = s.node_of("DynamicQuantizeLinear", [s.name(0)], ["bytes", "a_scale", "a_zero"])
    sums = s.node("MatMulInteger", [whole[0], s.name(1), whole[2], s.name(3)], "sums")
    scale = s.node("Mul", [whole[1], s.name(2)], "scale")
    return _scaled(s, sums, scale, s.name(4))


def _scaled(s: Spelling, sums: str, scale: str, bias: str) -> Tensor:
    """Sums of products as floats, scaled, plus a bias where there is one."""
    real = s.node("Cast", [sums], "real", to=TensorProto.FLOAT)
    y = s.node("Mul", [real, scale], "scaled")
    return s.imported(s.node("Add", [y, bias], "sum") if bias else y)


def matmul_integer16(ctx: NodeContext) -> Results:
    """MatMulInteger16(a, b): products of 16-bit integers, as i32 that wrap."""
    b = ctx.builder
    unsigned = all(ctx.arg(i).type.dtype.kind == "u" for i in (0, 1))
    operands = [F.cast(b, ctx.arg(i), u32 if unsigned else i32) for i in (0, 1)]
    return F.matmul(b, *operands, output=ctx.output)


def mul_integer(ctx: NodeContext) -> Results:
    """MulInteger(a, a zero point, b, b zero point): the product of what is above the zero points, as i32."""
    b = ctx.builder
    factors = []
    for i in (0, 2):
        wide = F.cast(b, ctx.arg(i), i32)
        factors.append(F.sub(b, wide, F.cast(b, ctx.arg(i + 1), i32)) if ctx.has(i + 1) else wide)
    return F.mul(b, *factors, output=ctx.output)


def reduce_sum_integer(ctx: NodeContext) -> Results:
    """ReduceSumInteger: sums of 8-bit integers in 32 bits, signed as they are."""
    x = ctx.arg(0)
    axes, keepdims = ctx.attr_ints("axes") or None, bool(ctx.attr_int("keepdims", 1))
    wide = F.cast(ctx.builder, x, u32 if x.type.dtype.kind == "u" else i32)
    return F.sum(ctx.builder, wide, axes, keepdims=keepdims, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "GatherBlockQuantized": gather_block_quantized,
    "MatMulBnb4": matmul_bnb4,
    "MatMulInteger16": matmul_integer16,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "MatMulNBits": matmul_nbits,
    "MulInteger": mul_integer,
    "ReduceSumInteger": reduce_sum_integer,
}
