"""Pools over any number of spatial axes: MaxPool, AveragePool, LpPool, MaxUnpool, the global ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed
from camshaft.ops.hosted.spatial.windows import Window, per_axis, window_of, windows


def _pooled(call: Call, x: np.ndarray) -> tuple[Window, tuple[int, ...]]:
    """The window, and the axes of the view of `windows` that lie inside of one."""
    kernel = call.attr_ints("kernel_shape")
    if kernel is None:
        raise ModelError("attribute 'kernel_shape' is missing")
    rank = x.ndim - 2
    if rank < 1:
        raise ModelError(f"an input of rank {x.ndim} has no spatial axes")
    return window_of(call, x.shape[2:], tuple(kernel)), tuple(range(2 + rank, 2 + 2 * rank))


def max_pool(call: Call) -> Sequence[Value]:
    """MaxPool(X) -> Y, Indices: the maximum of each window, and where in the flat X it stands first."""
    x = call.array(0)
    window, inside = _pooled(call, x)
    low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    view = windows(x, window, low)
    y = view.max(inside)
    if not call.wants(1):
        return [y]
    flat = view.reshape(*y.shape, -1)
    real = windows(np.ones(x.shape, bool), window, 0).reshape(flat.shape)
    # The first of the greatest that is no padding: a window may hold nothing but -infinity.
    best = np.argmax((flat == y[..., None]) & real, axis=-1)
    within = np.unravel_index(best, window.kernel)
    order = range(x.ndim - 2)
    shape = x.shape[2:]
    step = [
        prod(shape[:i]) if call.attr_flag("storage_order") else prod(shape[i + 1 :]) for i in order
    ]
    at = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * len(shape)) * prod(shape)
    for i in order:
        start = np.arange(y.shape[2 + i]) * window.strides[i] - window.before[i]
        start = start.reshape(-1, *[1] * (len(shape) - 1 - i))
        at = at + (start + within[i] * window.dilations[i]) * step[i]
    return [y, at.astype(np.int64)]


def average_pool(call: Call) -> Sequence[Value]:
    """AveragePool: over the elements of a window in the image, or in its padding too if that counts.

    What a last window of ceil_mode reaches beyond the padding never counts.
    """
    x = call.array(0)
    window, inside = _pooled(call, x)
    wide = computed(x)
    total = windows(wide, window, 0).sum(inside)
    ones = np.ones((1, 1, *x.shape[2:]), wide.dtype)
    if call.attr_flag("count_include_pad"):
        sides = [(0, 0), (0, 0), *zip(window.before, window.after, strict=True)]
        ones = np.pad(ones, sides, constant_values=1)
        none = (0,) * len(window.before)
        window = Window(window.kernel, window.strides, window.dilations, none, none, window.out)
    count = windows(ones, window, 0).sum(inside)
    return [(total / count).astype(x.dtype)]


def lp_pool(call: Call) -> Sequence[Value]:
    """LpPool: the p-norm of each window; padding is 0."""
    x = call.array(0)
    window, inside = _pooled(call, x)
    return [_norm(windows(computed(x), window, 0), call.attr_int("p", 2), inside).astype(x.dtype)]


def _norm(x: np.ndarray, p: int, axes: tuple[int, ...], *, keepdims: bool = False) -> np.ndarray:
    if p < 1:
        raise ModelError(f"p={p} is below 1")
    if p == 2:
        return np.asarray(np.sqrt(np.square(x).sum(axes, keepdims=keepdims)))
    powers = np.power(np.abs(x), p).sum(axes, keepdims=keepdims)
    return np.asarray(np.power(powers, np.array(1 / p, x.dtype)))


def _spatial(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def global_lp_pool(call: Call) -> Sequence[Value]:
    """GlobalLpPool: the p-norm of each channel."""
    x = call.array(0)
    y = _norm(computed(x), call.attr_int("p", 2), _spatial(x), keepdims=True)
    return [y.astype(x.dtype)]


def global_average_pool(call: Call) -> Sequence[Value]:
    """GlobalAveragePool: the mean of each channel."""
    x = call.array(0)
    return [computed(x).mean(_spatial(x), keepdims=True).astype(x.dtype)]


def global_max_pool(call: Call) -> Sequence[Value]:
    """GlobalMaxPool: the maximum of each channel."""
    x = call.array(0)
    return [x.max(_spatial(x), keepdims=True)]


def max_unpool(call: Call) -> Sequence[Value]:
    """MaxUnpool(X, I, output_shape): each maximum where a MaxPool had found it, else 0.

    The indices count in the flat result, whose shape the attributes imply where it is not given: as in
    PyTorch and ONNX Runtime, so that MaxPool is undone.  (ONNX's example of an output_shape has them
    count in the shape that the attributes imply all the same.)
    """
    x, at = call.array(0), call.array(1)
    if at.shape != x.shape:
        raise ModelError(
            f"indices {list(at.shape)} do not have the shape {list(x.shape)} of the input"
        )
    kernel = call.attr_ints("kernel_shape")
    if kernel is None:
        raise ModelError("attribute 'kernel_shape' is missing")
    rank = x.ndim - 2
    strides, pads = per_axis(call, "strides", rank, 1), per_axis(call, "pads", 2 * rank, 0)
    spatial = [
        (x.shape[2 + i] - 1) * strides[i] + kernel[i] - pads[i] - pads[rank + i]
        for i in range(rank)
    ]
    shape: tuple[int, ...] = (*x.shape[:2], *spatial)
    given = call.given(2)
    if given is not None:
        shape = tuple(int(d) for d in given.reshape(-1))
    y = np.zeros(prod(shape), x.dtype)
    if at.size and not (at.min() >= 0 and at.max() < y.size):
        raise ModelError(f"an index lies outside the result of shape {list(shape)}")
    y[at.reshape(-1)] = x.reshape(-1)
    return [y.reshape(shape)]
