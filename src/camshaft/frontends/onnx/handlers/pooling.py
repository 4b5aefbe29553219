"""Pooling: windows over one or two spatial axes, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.windows import as_2d, window_of
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.op import Attr
from camshaft.ops import POOL, REDUCE


def max_pool(ctx: NodeContext) -> Results:
    """MaxPool; with the indices output it runs on the host."""
    return host_step(ctx) if ctx.wants(1) else _pool(ctx, "max")


def average_pool(ctx: NodeContext) -> Results:
    """AveragePool."""
    return _pool(ctx, "avg")


def _pool(ctx: NodeContext, kind: str) -> Results:
    x = ctx.arg(0)
    if x.type.rank not in (3, 4):
        return host_step(ctx)
    if not ctx.attr_ints("kernel_shape"):
        raise ModelError("attribute 'kernel_shape' is missing")
    window = window_of(ctx, x.shape[2:], ())
    attrs: dict[str, Attr] = {
        "kind": kind,
        "kernel": window.kernel,
        "strides": window.strides,
        "pads": window.pads,
        "dilations": window.dilations,
        "ceil_mode": bool(ctx.attr_int("ceil_mode")),
        "count_include_pad": bool(ctx.attr_int("count_include_pad")),
        "layout": "NCHW",
    }
    line = x.type.rank == 3
    y = ctx.emit(POOL, [as_2d(ctx, x)], attrs, last=not line)
    return ctx.reshape(y, (*y.shape[:2], y.shape[3]), last=True) if line else y


def global_average_pool(ctx: NodeContext) -> Results:
    """GlobalAveragePool: a window over all of H and W."""
    return _global(ctx, "avg")


def global_max_pool(ctx: NodeContext) -> Results:
    """GlobalMaxPool."""
    return _global(ctx, "max")


def _global(ctx: NodeContext, kind: str) -> Results:
    x = ctx.arg(0)
    if x.type.rank == 4 and x.type.dtype.bits <= 32:
        return ctx.result(POOL, [x], kind=kind, kernel=x.shape[2:], layout="NCHW")
    axes = tuple(range(2, x.type.rank))
    count = prod(x.shape[2:])
    if not axes:
        return x
    if kind == "max":
        return ctx.result(REDUCE, [x], kind="max", axes=axes)
    by = E.mul(E.inp(0), E.const(1.0 / max(count, 1), x.type.dtype))
    return ctx.result(REDUCE, [x], kind="sum", axes=axes, epilogue=by)


HANDLERS: Mapping[str, Handler] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
}
