"""Pooling: windows over one or two spatial axes, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.windows import padding_of, per_axis
from camshaft.ops import functional as F


def _rank(ctx: NodeContext) -> int:
    if not ctx.attr_ints("kernel_shape"):
        raise ModelError("attribute 'kernel_shape' is missing")
    return ctx.arg(0).type.rank - 2


def max_pool(ctx: NodeContext) -> Results:
    """MaxPool, with where the maxima were found if that is wanted."""
    x, rank = ctx.arg(0), _rank(ctx)
    kernel = per_axis(ctx, "kernel_shape", rank, 1)
    stride, dilation = per_axis(ctx, "strides", rank, 1), per_axis(ctx, "dilations", rank, 1)
    padding, ceil_mode = padding_of(ctx, rank), bool(ctx.attr_int("ceil_mode"))
    if not ctx.wants(1):
        return F.max_pool(
            ctx.builder, x, kernel, stride=stride, padding=padding, dilation=dilation,
            ceil_mode=ceil_mode, output=ctx.output,
        )  # fmt: skip
    return F.max_pool_with_indices(
        ctx.builder, x, kernel, stride=stride, padding=padding, dilation=dilation,
        ceil_mode=ceil_mode, column_major=bool(ctx.attr_int("storage_order")), output=ctx.output,
    )  # fmt: skip


def average_pool(ctx: NodeContext) -> Results:
    """AveragePool."""
    rank = _rank(ctx)
    return F.avg_pool(
        ctx.builder,
        ctx.arg(0),
        per_axis(ctx, "kernel_shape", rank, 1),
        stride=per_axis(ctx, "strides", rank, 1),
        padding=padding_of(ctx, rank),
        dilation=per_axis(ctx, "dilations", rank, 1),
        ceil_mode=bool(ctx.attr_int("ceil_mode")),
        count_include_pad=bool(ctx.attr_int("count_include_pad")),
        output=ctx.output,
    )


def global_average_pool(ctx: NodeContext) -> Results:
    """GlobalAveragePool."""
    return F.global_avg_pool(ctx.builder, ctx.arg(0), output=ctx.output)


def global_max_pool(ctx: NodeContext) -> Results:
    """GlobalMaxPool."""
    return F.global_max_pool(ctx.builder, ctx.arg(0), output=ctx.output)


def lp_pool(ctx: NodeContext) -> Results:
    """LpPool.  With ceil_mode, where windows differ in size, it runs on the host."""
    if ctx.attr_int("ceil_mode"):
        raise F.NoCanonicalForm("windows differ in size")
    rank = ctx.arg(0).type.rank - 2
    return F.lp_pool(
        ctx.builder,
        ctx.arg(0),
        ctx.attr_int("p", 2),
        per_axis(ctx, "kernel_shape", rank, 1),
        stride=per_axis(ctx, "strides", rank, 1),
        padding=padding_of(ctx, rank),
        dilation=per_axis(ctx, "dilations", rank, 1),
        output=ctx.output,
    )


def global_lp_pool(ctx: NodeContext) -> Results:
    """GlobalLpPool."""
    return F.global_lp_pool(ctx.builder, ctx.arg(0), ctx.attr_int("p", 2), output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
