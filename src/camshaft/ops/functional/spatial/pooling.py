"""Pooling: windows over one to three spatial axes, and over all of them; channels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import largest
from camshaft.ir.extents.sizes import fixed, is_static
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import i64
from camshaft.ops.elementwise import POINTWISE, retyped
from camshaft.ops.functional.core import NoCanonicalForm, constant, emit, per_axis
from camshaft.ops.functional.elementwise.arithmetic import pointwise, reciprocal_of
from camshaft.ops.functional.movement.shape import full
from camshaft.ops.functional.spatial.volumes import (
    along_depth,
    frames_of,
    frames_of_images,
    images_of,
    reduced,
    volumes_of,
)
from camshaft.ops.functional.spatial.windows import (
    Padding,
    Window,
    as_1d,
    as_2d,
    sides_of,
    window_of,
    with_fixed_pads,
)
from camshaft.ops.movement import PAD, SLICE
from camshaft.ops.pooling import POOL
from camshaft.ops.rowwise import REDUCE

Ints = int | Sequence[int]


def max_pool(
    builder: GraphBuilder,
    x: Tensor,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    output: str | None = None,
) -> Tensor:
    """The maximum of each window of x [N,C,L], [N,C,H,W] or [N,C,D,H,W]; what pads the image does not count.

    stride: kernel_size where None.  padding: see `windows.Padding`.  ceil_mode: a last window that
    reaches beyond the padded image counts too, if it starts inside.
    Raises ModelError where attributes do not fit, NoCanonicalForm for other ranks, and with ceil_mode for [N,C,D,H,W].
    """
    if x.type.rank == 5 and not ceil_mode:
        return _pool_of_volumes(
            builder, x, max_pool, kernel_size, stride, padding, dilation, output
        )
    window = _window(x, kernel_size, stride, padding, dilation)
    return _pool(builder, x, "max", window, {"ceil_mode": ceil_mode}, output)


def max_pool_with_indices(
    builder: GraphBuilder,
    x: Tensor,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    column_major: bool = False,
    output: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and where in the flat x each maximum stands first, as i64.

    column_major: whether positions inside an image count down the columns.
    """
    window = _window(x, kernel_size, stride, padding, dilation)
    y = _pool(builder, x, "max", window, {"ceil_mode": ceil_mode}, output)
    at = _found_at(builder, as_2d(builder, x), as_2d(builder, y), window, column_major)
    return y, as_1d(builder, at) if window.line else at


def _found_at(
    builder: GraphBuilder, x: Tensor, y: Tensor, window: Window, column_major: bool
) -> Tensor:
    """Positions in the flat x of the first element of each window that equals its maximum.

    One strided slice a window element, the first one compared last so that it wins.  Padding, whose
    index is -1 here, may equal the maximum too, but never has it alone.
    """
    kh, kw = fixed(window.kernel, "the window")
    (sh, sw), (dh, dw) = window.stride, window.dilation
    top, left = fixed(window.padding[:2], "the padding")
    n, c, h, w = fixed(x.shape, "extents of an input whose maxima are to be found")
    oh, ow = fixed(y.shape[2:], "extents")
    below = max(0, (oh - 1) * sh + (kh - 1) * dh + 1 - top - h)
    right = max(0, (ow - 1) * sw + (kw - 1) * dw + 1 - left - w)
    dtype = x.type.dtype
    low = float("-inf") if dtype.is_float else dtype.range[0]
    pads = {"before": (0, 0, top, left), "after": (0, 0, below, right), "value": low}
    padded = emit(builder, PAD, [x], pads)
    rows, cols = np.arange(oh) * sh - top, np.arange(ow) * sw - left
    plane = np.arange(n * c).reshape(n, c, 1, 1) * (h * w)
    by_row, by_col = (1, h) if column_major else (w, 1)
    best: Tensor | None = None
    for r, s in reversed([(r, s) for r in range(kh) for s in range(kw)]):
        where = plane + (rows + r * dh)[:, None] * by_row + (cols + s * dw) * by_col
        real = _within(rows + r * dh, h)[:, None] & _within(cols + s * dw, w)
        index = constant(builder, np.where(real, where, -1).astype(np.int64), "index")
        starts = (0, 0, r * dh, s * dw)
        part = {"starts": starts, "sizes": (n, c, oh, ow), "steps": (1, 1, sh, sw)}
        element = emit(builder, SLICE, [padded], part)
        found = E.inp(2)
        if not real.all():
            found = E.select(E.binary("lt", found, E.const(0, i64)), E.inp(3), found)
        expr = E.select(E.binary("eq", E.inp(0), E.inp(1)), found, E.inp(3))
        operands = [element, y, index, index if best is None else best]
        best = index if best is None else emit(builder, POINTWISE, operands, {"expr": expr})
    assert best is not None
    return best


def _within(at: np.ndarray, size: int) -> np.ndarray:
    """Which places lie among `size` elements."""
    return (at >= 0) & (at < size)


def avg_pool(
    builder: GraphBuilder,
    x: Tensor,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    output: str | None = None,
) -> Tensor:
    """The mean of each window of x [N,C,L], [N,C,H,W] or [N,C,D,H,W]; integers give f32.

    count_include_pad: whether padding counts, as zeros; else NoCanonicalForm where the depth is padded.  The rest is as in `max_pool`.
    """
    if x.type.rank == 5 and not ceil_mode:
        return _pool_of_volumes(
            builder, x, avg_pool, kernel_size, stride, padding, dilation, output, count_include_pad
        )
    window = _window(x, kernel_size, stride, padding, dilation)
    attrs = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _pool(builder, x, "avg", window, attrs, output)


def lp_pool(
    builder: GraphBuilder,
    x: Tensor,
    norm_type: int,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    output: str | None = None,
) -> Tensor:
    """The p-norm of each window, p = norm_type: an average pool of |x|^p times the window's size."""
    if norm_type < 1:
        raise NoCanonicalForm(f"norm_type={norm_type} is below 1")
    window = _window(x, kernel_size, stride, padding, dilation)
    powers = pointwise(builder, _power(norm_type), x)
    means = _pool(builder, powers, "avg", window, {"count_include_pad": True}, None)
    total = E.mul(E.inp(0), E.const(prod(fixed(window.kernel, "the window"))))
    return pointwise(builder, _root(total, norm_type), means, output=output)


def _pool_of_volumes(
    builder: GraphBuilder,
    x: Tensor,
    pool: Callable[..., Tensor],
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
    dilation: Ints,
    output: str | None,
    count_pad: bool = True,
) -> Tensor:
    """`max_pool` or `avg_pool` of x [N,C,D,H,W]: of each image, and of what that leaves along the depth."""
    kernel = per_axis(kernel_size, 3, "kernel_size", 1)
    strides = kernel if stride is None else per_axis(stride, 3, "stride", 1)
    dilations = per_axis(dilation, 3, "dilation", 1)
    sides = sides_of(x.shape[2:], kernel, strides, padding, dilations)
    if not count_pad and any(p != 0 for s in sides for p in s):
        raise NoCanonicalForm("averages volumes with padding that does not count")
    frames = frames_of(builder, x)
    depth = frames.shape[1]
    if (
        not x.type.dtype.is_float
        or kernel[1:] != (1, 1)
        or strides[1:] != (1, 1)
        or any(p != 0 for s in sides[1:] for p in s)
    ):
        images = pool(
            builder, images_of(builder, frames), kernel[1:], stride=strides[1:], padding=sides[1:], dilation=dilations[1:]
        )  # fmt: skip
        frames = frames_of_images(builder, images, x.shape[0], depth)
    kind = "max" if pool is max_pool else "mean"
    dtype = frames.type.dtype
    least = float("-inf") if dtype.is_float else dtype.range[0]
    value = least if kind == "max" else 0.0
    parts = along_depth(builder, frames, kernel[0], strides[0], dilations[0], sides[0], value)
    made = reduced(builder, parts, kind) if len(parts) > 1 else parts[0]
    return volumes_of(builder, made, output)


def _window(
    x: Tensor, kernel_size: Ints, stride: Ints | None, padding: Padding, dilation: Ints
) -> Window:
    if x.type.rank not in (3, 4):
        raise NoCanonicalForm(f"pools one or two spatial axes; input {x.type} has others")
    kernel = per_axis(kernel_size, x.type.rank - 2, "kernel_size", 1)
    return window_of(x.shape[2:], kernel, kernel if stride is None else stride, padding, dilation)


def _pool(
    builder: GraphBuilder,
    x: Tensor,
    kind: str,
    window: Window,
    attrs: dict[str, bool],
    output: str | None,
) -> Tensor:
    image = as_2d(builder, x)
    if kind == "avg" and not attrs["count_include_pad"] and not is_static(window.padding):
        return _mean_of_image(builder, image, window, attrs, output)
    dtype = x.type.dtype
    least = float("-inf") if dtype.is_float else dtype.range[0]
    image, window = with_fixed_pads(builder, image, window, 0.0 if kind == "avg" else least)
    given = {
        "kind": kind,
        "kernel": window.kernel,
        "strides": window.stride,
        "pads": window.padding,
        "dilations": window.dilation,
        "layout": "NCHW",
        **attrs,
    }
    y = emit(builder, POOL, [image], given, None if window.line else output)
    return as_1d(builder, y, output) if window.line else y


def _mean_of_image(
    builder: GraphBuilder,
    image: Tensor,
    window: Window,
    attrs: dict[str, bool],
    output: str | None,
) -> Tensor:
    """An average pool whose padding varies with sizes and does not count: the mean with it, over
    the share of the window that is image."""
    counting = {**attrs, "count_include_pad": True}
    flat = replace(window, line=False)
    ones = full(builder, (1, 1, *image.shape[2:]), 1.0)
    means, shares = (_pool(builder, t, "avg", flat, counting, None) for t in (image, ones))
    share = E.binary("div", E.inp(0), E.inp(1))
    y = pointwise(builder, share, means, shares, output=None if window.line else output)
    return as_1d(builder, y, output) if window.line else y


def global_avg_pool(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The mean over all axes behind the channels of x [N,C,...]: [N,C,1,...]."""
    return _global(builder, x, "avg", output)


def global_max_pool(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The maximum over all axes behind the channels of x [N,C,...]: [N,C,1,...]."""
    return _global(builder, x, "max", output)


def _global(builder: GraphBuilder, x: Tensor, kind: str, output: str | None) -> Tensor:
    """A window over all of H and W, or for other ranks and wide types a reduction."""
    if x.type.rank == 4 and x.type.dtype.bits <= 32:
        attrs = {"kind": kind, "kernel": x.shape[2:], "layout": "NCHW"}
        return emit(builder, POOL, [x], attrs, output)
    axes = tuple(range(2, x.type.rank))
    if not axes:
        return x
    if kind == "max":
        return emit(builder, REDUCE, [x], {"kind": "max", "axes": axes}, output)
    by = E.mul(E.inp(0), reciprocal_of(largest(1, prod(x.shape[2:])), x.type.dtype))
    return emit(builder, REDUCE, [x], {"kind": "sum", "axes": axes, "epilogue": by}, output)


def global_lp_pool(
    builder: GraphBuilder, x: Tensor, norm_type: int, *, output: str | None = None
) -> Tensor:
    """The p-norm over all axes behind the channels of x [N,C,...], p = norm_type: [N,C,1,...]."""
    axes = tuple(range(2, x.type.rank))
    if not axes or norm_type < 1:
        raise ModelError(f"input {x.type} has no spatial axes, or norm_type={norm_type} is below 1")
    attrs = {
        "kind": "sum",
        "axes": axes,
        "prologue": retyped(_power(norm_type), x.type.dtype),
        "epilogue": retyped(_root(E.inp(0), norm_type), x.type.dtype),
    }
    return emit(builder, REDUCE, [x], attrs, output)


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
