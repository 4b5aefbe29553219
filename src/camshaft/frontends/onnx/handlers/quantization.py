"""QuantizeLinear and DequantizeLinear, and the operators that carry their own scales.

QLinearConv and QLinearMatMul become dequantize, float op, quantize: the one form that the INT8
lowering knows.
"""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import boundary_dtype, is_half, is_narrow
from camshaft.frontends.onnx.handlers.contraction import conv_node
from camshaft.ops import functional as F


def quantize_linear(ctx: NodeContext) -> Results:
    """QuantizeLinear; the result's type is that of the zero point, the attribute's, or u8."""
    to = ctx.attr_int("output_dtype") or ctx.narrow_type(2)
    if is_narrow(to):
        ctx.makes_narrow(to)
    return F.quantize(
        ctx.builder,
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2) if ctx.has(2) else None,
        dtype=boundary_dtype(to) if to else None,
        axis=ctx.attr_int("axis", 1),
        block_size=ctx.attr_int("block_size") or None,
        saturate=bool(ctx.attr_int("saturate", 1)),
        output=ctx.output,
    )


def dequantize_linear(ctx: NodeContext) -> Results:
    """DequantizeLinear."""
    to = ctx.attr_int("output_dtype") or ctx.narrow_type(1)
    if is_half(to):
        ctx.makes_narrow(to)
    return F.dequantize(
        ctx.builder,
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2) if ctx.has(2) else None,
        axis=ctx.attr_int("axis", 1),
        block_size=ctx.attr_int("block_size") or None,
        output=ctx.output,
    )


def qlinear_conv(ctx: NodeContext) -> Results:
    """QLinearConv(x, xs, xz, w, ws, wz, ys, yz, bias) as dequantize, conv, quantize."""
    b = ctx.builder
    x, xs, xz, w, ws, wz, ys, yz = (ctx.arg(i) for i in range(8))
    if x.type.rank not in (3, 4):
        raise F.NoCanonicalForm(f"convolves one or two spatial axes; input {x.type} has others")
    left = F.dequantize(b, x, xs, xz, axis=1)
    right = F.dequantize(b, w, ws, wz, axis=0)
    bias = None
    if ctx.has(8):
        stored = F.reshape(b, ctx.arg(8), (-1, 1, 1))
        bias = F.dequantize(b, stored, F.mul(b, xs, ws), axis=0)
    y = conv_node(ctx, left, right, bias)
    return F.quantize(b, y, ys, yz, axis=1, output=ctx.output)


def qlinear_matmul(ctx: NodeContext) -> Results:
    """QLinearMatMul(a, as, az, b, bs, bz, ys, yz) as dequantize, matmul, quantize."""
    a, a_scale, az, b, bs, bz, ys, yz = (ctx.arg(i) for i in range(8))
    if max(t.type.rank for t in (a_scale, bs, ys)) > 1 or min(a.type.rank, b.type.rank) < 2:
        raise F.NoCanonicalForm("takes matrices, with one scale or one for each row or column")
    left = F.dequantize(ctx.builder, a, a_scale, az, axis=a.type.rank - 2)
    right = F.dequantize(ctx.builder, b, bs, bz, axis=b.type.rank - 1)
    y = F.matmul(ctx.builder, left, right)
    return F.quantize(ctx.builder, y, ys, yz, axis=y.type.rank - 2, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "DequantizeLinear": dequantize_linear,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}

MICROSOFT = ("DequantizeLinear", "QuantizeLinear")
"""Operators that ONNX Runtime writes in its own domain with the standard meaning."""
