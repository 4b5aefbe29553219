"""Conv, ConvTranspose, Gemm, MatMul and their integer forms."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.windows import padding_of, per_axis
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F


def conv(ctx: NodeContext) -> Results:
    """Conv."""
    x, w = ctx.arg(0), ctx.arg(1)
    return conv_node(ctx, x, w, ctx.arg(2) if ctx.has(2) else None, output=ctx.output)


def conv_node(
    ctx: NodeContext, x: Tensor, w: Tensor, bias: Tensor | None, output: str | None = None
) -> Tensor:
    """A convolution with the node's window, strides and groups."""
    check_kernel_shape(ctx, w)
    rank = x.type.rank - 2
    return F.conv(
        ctx.builder,
        x,
        w,
        bias,
        stride=per_axis(ctx, "strides", rank, 1),
        padding=padding_of(ctx, rank),
        dilation=per_axis(ctx, "dilations", rank, 1),
        groups=ctx.attr_int("group", 1),
        output=output,
    )


def check_kernel_shape(ctx: NodeContext, w: Tensor) -> None:
    """Refuse a declared kernel_shape that the weights do not have."""
    declared = ctx.attr_ints("kernel_shape")
    if declared and declared != w.shape[2:]:
        raise ModelError(f"kernel_shape {list(declared)} is not that of the weights {w.type}")


def conv_integer(ctx: NodeContext) -> Results:
    """ConvInteger."""
    check_kernel_shape(ctx, ctx.arg(1))
    rank = ctx.arg(0).type.rank - 2
    return F.conv_integer(
        ctx.builder,
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2) if ctx.has(2) else None,
        ctx.arg(3) if ctx.has(3) else None,
        stride=per_axis(ctx, "strides", rank, 1),
        padding=padding_of(ctx, rank),
        dilation=per_axis(ctx, "dilations", rank, 1),
        groups=ctx.attr_int("group", 1),
        output=ctx.output,
    )


def conv_transpose(ctx: NodeContext) -> Results:
    """ConvTranspose; the output's extents, where given, may follow those of batch and channels."""
    x = ctx.arg(0)
    rank = x.type.rank - 2
    wanted = ctx.attr_ints("output_shape")
    return F.conv_transpose(
        ctx.builder,
        x,
        ctx.arg(1),
        ctx.arg(2) if ctx.has(2) else None,
        stride=per_axis(ctx, "strides", rank, 1),
        padding=padding_of(ctx, rank),
        output_padding=per_axis(ctx, "output_padding", rank, 0),
        dilation=per_axis(ctx, "dilations", rank, 1),
        groups=ctx.attr_int("group", 1),
        output_size=wanted[-rank:] if wanted else None,
        output=ctx.output,
    )


def gemm(ctx: NodeContext) -> Results:
    """Gemm."""
    return F.gemm(
        ctx.builder,
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2) if ctx.has(2) else None,
        alpha=ctx.attr_float("alpha", 1.0),
        beta=ctx.attr_float("beta", 1.0),
        trans_a=bool(ctx.attr_int("transA")),
        trans_b=bool(ctx.attr_int("transB")),
        output=ctx.output,
    )


def matmul(ctx: NodeContext) -> Results:
    """MatMul."""
    return F.matmul(ctx.builder, ctx.arg(0), ctx.arg(1), output=ctx.output)


def matmul_integer(ctx: NodeContext) -> Results:
    """MatMulInteger."""
    return F.matmul_integer(
        ctx.builder,
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2) if ctx.has(2) else None,
        ctx.arg(3) if ctx.has(3) else None,
        output=ctx.output,
    )


def einsum(ctx: NodeContext) -> Results:
    """Einsum."""
    operands = [t for t in ctx.inputs if t is not None]
    return F.einsum(ctx.builder, ctx.attr_str("equation"), *operands, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "Conv": conv,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul_integer,
}
