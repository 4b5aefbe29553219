"""Convolutions over any number of spatial axes, transposed and deformable ones, and Col2Im."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed
from camshaft.ops.hosted.spatial.windows import Ints, per_axis, window_of, windows

_ALL: tuple[Any, ...] = (slice(None), slice(None))
"""Batch and channels."""


def _kernel_of(call: Call, w: np.ndarray) -> Ints:
    declared = call.attr_ints("kernel_shape")
    if declared is not None and tuple(declared) != w.shape[2:]:
        raise ModelError(f"kernel_shape={declared} is not that of the weights {list(w.shape)}")
    return w.shape[2:]


def _groups(call: Call, x: np.ndarray, per_group: int, outputs: int) -> int:
    groups = call.attr_int("group", 1)
    if groups < 1 or per_group * groups != x.shape[1] or outputs % groups:
        raise ModelError(
            f"group={groups} does not fit {x.shape[1]} channels, weights for {per_group} of them and "
            f"{outputs} outputs"
        )
    return groups


def convolved(call: Call, x: np.ndarray, w: np.ndarray, pad: float = 0) -> np.ndarray:
    """x [N,C,...] convolved with w [M,C/group,...] by the node's window, in their own type."""
    if x.ndim != w.ndim or x.ndim < 3:
        raise ModelError(f"input {list(x.shape)} and weights {list(w.shape)} do not fit")
    groups = _groups(call, x, w.shape[1], w.shape[0])
    window = window_of(call, x.shape[2:], _kernel_of(call, w))
    view = windows(x, window, pad)
    rank = x.ndim - 2
    inside = tuple(range(2 + rank, 2 + 2 * rank))
    parts = []
    for part, weights in zip(np.split(view, groups, 1), np.split(w, groups), strict=True):
        y = np.tensordot(part, weights, ((1, *inside), tuple(range(1, weights.ndim))))
        parts.append(np.moveaxis(y, -1, 1))
    return np.concatenate(parts, axis=1)


def with_bias(y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """y [N,M,...] plus bias [M]."""
    if bias is None:
        return y
    if bias.shape != y.shape[1:2]:
        raise ModelError(
            f"bias {list(bias.shape)} has not one number for each of {y.shape[1]} outputs"
        )
    return np.asarray(y + bias.reshape(-1, *[1] * (y.ndim - 2)))


def conv(call: Call) -> Sequence[Value]:
    """Conv(X, W, B)."""
    x, w, b = call.array(0), call.array(1), call.given(2)
    y = convolved(call, computed(x), computed(w))
    return [with_bias(y, None if b is None else computed(b)).astype(x.dtype)]


def integer_sums(call: Call, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A convolution of whole numbers of at most 9 bits: f64 sums them exactly."""
    return convolved(call, x.astype(np.float64), w.astype(np.float64))


def conv_transpose(call: Call) -> Sequence[Value]:
    """ConvTranspose(X, W, B): each input element spreads its weights over the result."""
    x, w, b = call.array(0), call.array(1), call.given(2)
    rank = x.ndim - 2
    if x.ndim != w.ndim or rank < 1:
        raise ModelError(f"input {list(x.shape)} and weights {list(w.shape)} do not fit")
    groups = call.attr_int("group", 1)
    if w.shape[0] != x.shape[1] or groups < 1 or x.shape[1] % groups:
        raise ModelError(f"weights {list(w.shape)} in {groups} groups do not fit {list(x.shape)}")
    kernel = _kernel_of(call, w)
    strides, dilations = per_axis(call, "strides", rank, 1), per_axis(call, "dilations", rank, 1)
    before, out = _transposed_window(call, x.shape[2:], kernel)
    parts = []
    for part, weights in zip(
        np.split(computed(x), groups, 1), np.split(computed(w), groups), strict=True
    ):
        spread = np.tensordot(part, weights, ((1,), (0,)))  # [N, in..., M/g, kernel...]
        parts.append(np.moveaxis(spread, 1 + rank, 1))
    spread = np.concatenate(parts, axis=1)
    y = np.zeros((*spread.shape[:2], *out), spread.dtype)
    for offset in product(*map(range, kernel)):
        target, source = [], []
        for i, k in enumerate(offset):
            start, step = k * dilations[i] - before[i], strides[i]
            first = max(0, -(start // step))  # the first element that lands inside
            count = max(0, min(x.shape[2 + i], -((start - out[i]) // step)) - first)
            source.append(slice(first, first + count))
            target.append(slice(start + first * step, start + (first + count) * step, step))
        if all(s.start < s.stop for s in source):
            y[(*_ALL, *target)] += spread[(*_ALL, *source, *offset)]
    return [with_bias(y, None if b is None else computed(b)).astype(x.dtype)]


def _transposed_window(call: Call, spatial: Ints, kernel: Ints) -> tuple[Ints, Ints]:
    """What is cut off in front of each axis, and the extents of the result."""
    rank = len(spatial)
    strides, dilations = per_axis(call, "strides", rank, 1), per_axis(call, "dilations", rank, 1)
    extra, pads = per_axis(call, "output_padding", rank, 0), per_axis(call, "pads", 2 * rank, 0)
    auto = call.choice("auto_pad", "NOTSET", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""))
    wanted = call.attr_ints("output_shape")
    before, out = [], []
    for i, (size, k) in enumerate(zip(spatial, kernel, strict=True)):
        full = strides[i] * (size - 1) + extra[i] + (k - 1) * dilations[i] + 1
        if wanted is None and not auto.startswith("SAME"):
            cut = (pads[i], pads[rank + i]) if auto in ("NOTSET", "") else (0, 0)
            before.append(cut[0])
            out.append(full - sum(cut))
            continue
        extent = size * strides[i] if wanted is None else wanted[-rank:][i]
        total = max(0, full - extent)
        before.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
        out.append(extent)
    if any(n < 1 for n in out):
        raise ModelError(f"the result would have the extents {out}")
    return tuple(before), tuple(out)


def col2im(call: Call) -> Sequence[Value]:
    """Col2Im(input [N, C*prod(block), L], image_shape, block_shape) -> [N, C, image]: sums of blocks."""
    x = call.array(0)
    image, block = (tuple(int(v) for v in call.array(i).reshape(-1)) for i in (1, 2))
    rank = len(image)
    if len(block) != rank or x.ndim != 3 or x.shape[1] % prod(block):
        raise ModelError(f"input {list(x.shape)}, image {image} and block {block} do not fit")
    strides, dilations = per_axis(call, "strides", rank, 1), per_axis(call, "dilations", rank, 1)
    pads = per_axis(call, "pads", 2 * rank, 0)
    padded = [n + pads[i] + pads[rank + i] for i, n in enumerate(image)]
    count = [
        (n - (b - 1) * d - 1) // s + 1
        for n, b, d, s in zip(padded, block, dilations, strides, strict=True)
    ]
    if prod(count) != x.shape[2]:
        raise ModelError(f"{x.shape[2]} blocks are given, {prod(count)} fit the image")
    columns = x.reshape(x.shape[0], -1, *block, *count)
    y = np.zeros((*columns.shape[:2], *padded), x.dtype)
    for offset in product(*map(range, block)):
        place = [
            slice(k * d, k * d + (n - 1) * s + 1, s)
            for k, d, n, s in zip(offset, dilations, count, strides, strict=True)
        ]
        y[(*_ALL, *place)] += columns[(*_ALL, *offset)]
    inner = [slice(pads[i], pads[i] + n) for i, n in enumerate(image)]
    return [y[(*_ALL, *inner)]]


def deform_conv(call: Call) -> Sequence[Value]:
    """DeformConv(X, W, offset, B, mask): a convolution whose taps are displaced and weighted.

    Dai et al. 2017, Zhu et al. 2018.  offset: [N, G * taps * axes, out...], mask: [N, G * taps, out...].
    Between elements it interpolates linearly; outside of the image is 0.
    """
    x, w, offset = computed(call.array(0)), computed(call.array(1)), computed(call.array(2))
    b, mask = call.given(3), call.given(4)
    kernel, rank = _kernel_of(call, w), x.ndim - 2
    window = window_of(call, x.shape[2:], kernel)
    groups, taps = _groups(call, x, w.shape[1], w.shape[0]), prod(kernel)
    parts = call.attr_int("offset_group", 1)
    if x.shape[1] % parts or offset.shape[1:] != (parts * taps * rank, *window.out):
        raise ModelError(f"offsets {list(offset.shape)} do not fit {parts} groups of channels")
    offset = offset.reshape(x.shape[0], parts, taps, rank, *window.out)
    weights = np.ones((x.shape[0], parts, taps, *window.out), x.dtype)
    if mask is not None:
        weights = computed(mask).reshape(weights.shape)
    grids = np.meshgrid(*map(np.arange, window.out), indexing="ij")
    columns = np.zeros((*x.shape[:2], taps, *window.out), x.dtype)
    width = x.shape[1] // parts
    for t, tap in enumerate(product(*map(range, kernel))):
        for p, n in product(range(parts), range(x.shape[0])):
            at = [
                grids[i] * window.strides[i] - window.before[i] + tap[i] * window.dilations[i]
                + offset[n, p, t, i]
                for i in range(rank)
            ]  # fmt: skip
            channels = slice(p * width, (p + 1) * width)
            columns[n, channels, t] = _sampled(x[n, channels], at) * weights[n, p, t]
    made = [
        np.einsum("nck...,mck->nm...", part, v.reshape(v.shape[0], v.shape[1], taps))
        for part, v in zip(np.split(columns, groups, 1), np.split(w, groups), strict=True)
    ]
    y = with_bias(np.concatenate(made, axis=1), None if b is None else computed(b))
    return [y.astype(call.array(0).dtype)]


def _sampled(x: np.ndarray, at: list[np.ndarray]) -> np.ndarray:
    """x [C,...] at fractional places, one array of coordinates an axis: linear, 0 outside."""
    low = [np.floor(a) for a in at]
    y = np.zeros((x.shape[0], *at[0].shape), x.dtype)
    for corner in product((0, 1), repeat=len(at)):
        share, inside, index = np.ones(at[0].shape, x.dtype), np.ones(at[0].shape, bool), []
        for a, first, step, size in zip(at, low, corner, x.shape[1:], strict=True):
            place = first + step
            share = share * np.where(step, a - first, 1 - (a - first))
            inside &= (place >= 0) & (place < size)
            index.append(np.clip(place, 0, size - 1).astype(np.int64))
        y += np.where(inside, x[(slice(None), *index)] * share, 0)
    return y
