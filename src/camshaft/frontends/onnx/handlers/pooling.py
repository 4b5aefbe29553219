"""Pooling: windows over one or two spatial axes, and over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results, retyped
from camshaft.frontends.onnx.handlers.windows import Window, as_2d, window_of
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ir.op import Attr
from camshaft.ops import PAD, POINTWISE, POOL, REDUCE, SLICE


def max_pool(ctx: NodeContext) -> Results:
    """MaxPool, with where the maxima were found if that is wanted."""
    x = ctx.arg(0)
    if not ctx.wants(1) or x.type.rank not in (3, 4):
        return _pool(ctx, "max")
    y = _pool(ctx, "max")
    assert isinstance(y, Tensor)
    return [y, _found_at(ctx, as_2d(ctx, x), as_2d(ctx, y), window_of(ctx, x.shape[2:], ()))]


def _found_at(ctx: NodeContext, x: Tensor, y: Tensor, window: Window) -> Tensor:
    """Positions in the flat x of the first element of each window that equals its maximum.

    One strided slice a window element, the first one compared last so that it wins.
    """
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.strides, window.dilations
    top, left = window.pads[:2]
    n, c, h, w = x.shape
    oh, ow = y.shape[2:]
    below = max(0, (oh - 1) * sh + (kh - 1) * dh + 1 - top - h)
    right = max(0, (ow - 1) * sw + (kw - 1) * dw + 1 - left - w)
    dtype = x.type.dtype
    low = float("-inf") if dtype.is_float else dtype.range[0]
    pads = {"before": (0, 0, top, left), "after": (0, 0, below, right)}
    padded = ctx.step(PAD, [x], **pads, value=low)
    rows, cols = np.arange(oh) * sh - top, np.arange(ow) * sw - left
    plane = np.arange(n * c).reshape(n, c, 1, 1) * (h * w)
    by_row, by_col = (1, h) if ctx.attr_int("storage_order") else (w, 1)
    best: Tensor | None = None
    for r, s in reversed([(r, s) for r in range(kh) for s in range(kw)]):
        where = plane + (rows + r * dh)[:, None] * by_row + (cols + s * dw) * by_col
        index = ctx.constant(where.astype(np.int64), "index")
        starts = (0, 0, r * dh, s * dw)
        part = ctx.step(SLICE, [padded], starts=starts, sizes=(n, c, oh, ow), steps=(1, 1, sh, sw))
        expr = E.select(E.binary("eq", E.inp(0), E.inp(1)), E.inp(2), E.inp(3))
        best = index if best is None else ctx.step(POINTWISE, [part, y, index, best], expr=expr)
    assert best is not None
    shape = y.shape if ctx.arg(0).type.rank == 4 else (n, c, ow)
    return ctx.reshape(best, shape)


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


def lp_pool(ctx: NodeContext) -> Results:
    """LpPool: the p-norm of each window, as an average pool of |x|^p times the window's size.

    With ceil_mode, where windows differ in size, it runs on the host.
    """
    x, p = ctx.arg(0), ctx.attr_int("p", 2)
    if x.type.rank not in (3, 4) or ctx.attr_int("ceil_mode") or p < 1:
        return host_step(ctx)
    window = window_of(ctx, x.shape[2:], ())
    powers = ctx.pointwise(_power(p), x, last=False)
    means = ctx.step(
        POOL,
        [as_2d(ctx, powers)],
        kind="avg",
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        count_include_pad=True,
        layout="NCHW",
    )
    if x.type.rank == 3:
        means = ctx.reshape(means, (*means.shape[:2], means.shape[3]))
    total = E.mul(E.inp(0), E.const(prod(window.kernel)))
    return ctx.pointwise(_root(total, p), means)


def global_lp_pool(ctx: NodeContext) -> Results:
    """GlobalLpPool: the p-norm over all spatial axes."""
    x, p = ctx.arg(0), ctx.attr_int("p", 2)
    axes = tuple(range(2, x.type.rank))
    if not axes or p < 1:
        raise ModelError(f"input {x.type} has no spatial axes, or p={p} is below 1")
    dtype = x.type.dtype
    return ctx.result(
        REDUCE,
        [x],
        kind="sum",
        axes=axes,
        prologue=retyped(_power(p), dtype),
        epilogue=retyped(_root(E.inp(0), p), dtype),
    )


def _power(p: int) -> Expr:
    """|i0|^p."""
    x = E.inp(0)
    if p == 2:
        return E.mul(x, x)
    return E.binary("pow", E.unary("abs", x), E.const(p)) if p > 1 else E.unary("abs", x)


def _root(x: Expr, p: int) -> Expr:
    """x^(1/p)."""
    if p == 2:
        return E.unary("sqrt", x)
    return E.binary("pow", x, E.const(1.0 / p)) if p > 1 else x


HANDLERS: Mapping[str, Handler] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
