"""QuantizeLinear and DequantizeLinear, and the operators that carry their own scales.

QLinearConv and QLinearMatMul become dequantize, float op, quantize: the one form that the INT8
lowering knows.  ConvInteger and MatMulInteger stay integer, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import NARROW_RANGE, inner_dtype
from camshaft.frontends.onnx.handlers.contraction import BIAS, conv_node, matmul_node
from camshaft.frontends.onnx.handlers.windows import as_2d, window_of
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType, f32, i8, i32, u8
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


def _centred(ctx: NodeContext, index: int, zero_index: int) -> Tensor | None:
    """Constant weights with their zero point subtracted, when the result fits i8; else None."""
    w = ctx.arg(index)
    zero = ctx.arg(zero_index) if ctx.has(zero_index) else None
    if zero is not None and zero.data is None:
        return None
    at_zero = zero is None or not np.any(zero.data)
    if at_zero and w.type.dtype is i8:
        return w
    if w.data is None:
        return None
    wide = w.data.astype(np.int32)
    if zero is not None and zero.data is not None and not at_zero:
        point = zero.data.astype(np.int32)
        across = index == 1 and ctx.proto.op_type == "ConvInteger" and point.size > 1
        wide = wide - (point.reshape(-1, *([1] * (w.type.rank - 1))) if across else point)
    if wide.size and (wide.min() < -128 or wide.max() > 127):
        return None
    return ctx.constant(wide.astype(np.int8), "centred")


def conv_integer(ctx: NodeContext) -> Results:
    """ConvInteger: i32 sums of (x - zero point) * w, exactly.

    A zero point of x that is only known at run time is subtracted behind the convolution, times
    what the weights under each output position sum to.
    """
    x, w = ctx.arg(0), _centred(ctx, 1, 3)
    zero = ctx.arg(2) if ctx.has(2) else None
    if x.type.rank not in (3, 4) or w is None or (zero is not None and zero.type.size != 1):
        return host_step(ctx)
    if zero is None or zero.data is not None:
        point = 0 if zero is None else int(zero.array.reshape(-1)[0])
        return conv_node(ctx, x, w, [], {"x_zero_point": point})
    if any(window_of(ctx, x.shape[2:], w.shape[2:]).pads) or w.data is None:
        ones = ctx.constant(np.ones((1, *x.shape[1:]), np.int8), "ones")
        total = as_2d(ctx, conv_node(ctx, ones, w, [], {}, last=False))
    else:
        sums = w.data.astype(np.int32).reshape(w.shape[0], -1).sum(axis=1, dtype=np.int32)
        total = ctx.constant(sums.reshape(-1, 1, 1), "sums")
    operands = [ctx.reshape(ctx.cast(zero, i32), ()), total]
    epilogue = E.sub(E.inp(0), E.mul(E.inp(1), E.inp(2)))
    return conv_node(ctx, x, w, operands, {"epilogue": epilogue})


def matmul_integer(ctx: NodeContext) -> Results:
    """MatMulInteger: i32 sums of (a - zero point) * b, exactly; see `conv_integer`."""
    a, b = ctx.arg(0), _centred(ctx, 1, 3)
    zero = ctx.arg(2) if ctx.has(2) else None
    if b is None or min(a.type.rank, b.type.rank) < 2 or (zero is not None and zero.type.size != 1):
        return host_step(ctx)
    if zero is None or zero.data is not None:
        point = 0 if zero is None else int(zero.array.reshape(-1)[0])
        return matmul_node(ctx, a, b, [], {"a_zero_point": point})
    if b.data is None or b.type.rank != 2:
        return host_step(ctx)
    sums = ctx.constant(b.data.astype(np.int32).sum(axis=0, dtype=np.int32), "sums")
    operands = [ctx.reshape(ctx.cast(zero, i32), ()), sums]
    epilogue = E.sub(E.inp(0), E.mul(E.inp(1), E.inp(2)))
    return matmul_node(ctx, a, b, operands, {"epilogue": epilogue})


HANDLERS: Mapping[str, Handler] = {
    "ConvInteger": conv_integer,
    "DequantizeLinear": dequantize_linear,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}

MICROSOFT = ("DequantizeLinear", "QuantizeLinear")
"""Operators that ONNX Runtime writes in its own domain with the standard meaning."""
