"""QuantizeLinear and DequantizeLinear, and the operators that carry their own scales.

QLinearConv and QLinearMatMul become dequantize, float op, quantize: the one form that the INT8
lowering knows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import NARROW_RANGE, inner_dtype
from camshaft.frontends.onnx.handlers.contraction import BIAS, conv_node
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType, f32, i32, u8
from camshaft.ops import DEQUANTIZE, GATHER, MATMUL, QUANTIZE
from camshaft.ops.common import IDENTITY, normal_axis


def quantize_linear(ctx: NodeContext) -> Results:
    """QuantizeLinear: per tensor and per axis as `quantize`, blocked as an expression."""
    x = ctx.cast(ctx.arg(0), f32)
    scale = ctx.cast(ctx.arg(1), f32)
    to = ctx.attr_int("output_dtype") or ctx.narrow.get(_name(ctx, 2), TensorProto.UNDEFINED)
    if ctx.has(2):
        dtype = ctx.arg(2).type.dtype
    else:
        dtype = inner_dtype(to) if to else u8
    zero = ctx.arg(2) if ctx.has(2) else zero_points(ctx, scale, dtype)
    if not dtype.is_int or dtype.bits > 16:
        raise ModelError(f"quantizing to {dtype.name} is not supported")
    if to in NARROW_RANGE:
        ctx.narrow[ctx.proto.output[0]] = to
    axis = ctx.attr_int("axis", 1)
    if not _blocked(scale) and to not in NARROW_RANGE:
        scale, zero = _per_tensor(ctx, scale), _per_tensor(ctx, zero)
        return ctx.result(QUANTIZE, [x, scale, zero], axis=axis)
    scale, zero = (_spread(ctx, t, x, axis) for t in (scale, zero))
    q = E.add(E.unary("round", E.div(E.inp(0), E.inp(1))), E.cast(E.inp(2), f32))
    if to in NARROW_RANGE:
        q = E.clip(q, *NARROW_RANGE[to])
    return ctx.pointwise(E.cast(q, dtype), x, scale, zero)


def dequantize_linear(ctx: NodeContext) -> Results:
    """DequantizeLinear: per tensor and per axis as `dequantize`, blocked as an expression."""
    x, scale = ctx.arg(0), ctx.cast(ctx.arg(1), f32)
    zero = ctx.arg(2) if ctx.has(2) else zero_points(ctx, scale, x.type.dtype)
    if not x.type.dtype.is_int:
        raise ModelError(f"input {x.type} is not quantized")
    axis = ctx.attr_int("axis", 1)
    if not _blocked(scale):
        return dequantized(ctx, x, scale, zero, axis, last=True)
    scale, zero = (_spread(ctx, t, x, axis) for t in (scale, zero))
    wide = E.sub(E.cast(E.inp(0), f32), E.cast(E.inp(2), f32))
    return ctx.pointwise(E.mul(wide, E.inp(1)), x, scale, zero)


def dequantized(
    ctx: NodeContext, x: Tensor, scale: Tensor, zero: Tensor, axis: int, *, last: bool = False
) -> Tensor:
    """A canonical dequantize; scales of one element count for the whole tensor."""
    operands = [x, _per_tensor(ctx, scale), _per_tensor(ctx, zero)]
    return ctx.emit(DEQUANTIZE, operands, {"axis": axis}, last=last)


def _name(ctx: NodeContext, index: int) -> str:
    return ctx.proto.input[index] if index < len(ctx.proto.input) else ""


def zero_points(ctx: NodeContext, scale: Tensor, dtype: DType) -> Tensor:
    """Zero points of 0, as many as there are scales."""
    return ctx.constant(np.zeros(scale.shape, dtype.numpy), "zero_point")


def _per_tensor(ctx: NodeContext, t: Tensor) -> Tensor:
    return ctx.reshape(t, ()) if t.type.size == 1 else t


def _blocked(scale: Tensor) -> bool:
    return scale.type.rank > 1 and scale.type.size > 1


def _spread(ctx: NodeContext, t: Tensor, x: Tensor, axis: int) -> Tensor:
    """Scales of any granularity so that they broadcast to x."""
    if t.type.size == 1:
        return ctx.reshape(t, ())
    axis = normal_axis(axis, x.type.rank)
    if t.type.rank == 1:
        return ctx.reshape(t, (t.type.size, *([1] * (x.type.rank - 1 - axis))))
    size, blocks = x.shape[axis], t.shape[axis]
    block = ctx.attr_int("block_size") or -(-size // max(blocks, 1))
    if t.type.rank != x.type.rank or -(-size // block) != blocks:
        raise ModelError(f"scales {t.type} in blocks of {block} do not fit {x.type}")
    index = ctx.constant(np.arange(size, dtype=np.int64) // block, "block")
    return ctx.step(GATHER, [t, index], axis=axis)


def qlinear_conv(ctx: NodeContext) -> Results:
    """QLinearConv(x, xs, xz, w, ws, wz, ys, yz, bias) as dequantize, conv, quantize."""
    x, xs, xz, w, ws, wz, ys, yz = (ctx.arg(i) for i in range(8))
    if x.type.rank not in (3, 4):
        return host_step(ctx)
    left = dequantized(ctx, x, xs, xz, 1)
    right = dequantized(ctx, w, ws, wz, 0)
    operands = []
    if ctx.has(8):
        bias = ctx.reshape(ctx.arg(8), (ctx.arg(8).type.size, 1, 1))
        scale = ctx.pointwise(E.mul(E.inp(0), E.inp(1)), xs, ws, last=False)
        operands = [dequantized(ctx, bias, scale, zero_points(ctx, scale, i32), 0)]
    epilogue = BIAS if operands else IDENTITY
    y = conv_node(ctx, left, right, operands, {"epilogue": epilogue}, last=False)
    return ctx.result(QUANTIZE, [y, _per_tensor(ctx, ys), _per_tensor(ctx, yz)], axis=1)


def qlinear_matmul(ctx: NodeContext) -> Results:
    """QLinearMatMul(a, as, az, b, bs, bz, ys, yz) as dequantize, matmul, quantize."""
    a, a_scale, az, b, bs, bz, ys, yz = (ctx.arg(i) for i in range(8))
    if max(t.type.rank for t in (a_scale, bs, ys)) > 1 or min(a.type.rank, b.type.rank) < 2:
        return host_step(ctx)
    left = dequantized(ctx, a, a_scale, az, a.type.rank - 2)
    right = dequantized(ctx, b, bs, bz, b.type.rank - 1)
    y = ctx.step(MATMUL, [left, right])
    return ctx.result(
        QUANTIZE, [y, _per_tensor(ctx, ys), _per_tensor(ctx, yz)], axis=y.type.rank - 2
    )


HANDLERS: Mapping[str, Handler] = {
    "DequantizeLinear": dequantize_linear,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}

MICROSOFT = ("DequantizeLinear", "QuantizeLinear")
"""Operators that ONNX Runtime writes in its own domain with the standard meaning."""
