"""Operators whose results are chosen by value: TopK, NonMaxSuppression, Unique, NonZero, ArgMax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import NUMPY_TYPES, Call, Value, computed

Array = np.ndarray
_FEW = 8
"""Of so many elements for each wanted TopK sorts only the best."""
_BLOCK = 128
"""Boxes that NonMaxSuppression compares at once."""


def top_k(call: Call) -> Sequence[Value]:
    """TopK(X, K) -> values, indices; of equal elements the one of the lower index comes first.

    K was an attribute before opset 10; `largest` and `sorted` came with 11.  What need not be sorted
    is sorted all the same.
    """
    x = call.array(0)
    axis = call.axis(x.ndim, -1)
    k = call.attr_int("k") if call.opset < 10 else call.number(1, "k")
    if not 0 <= k <= x.shape[axis]:
        raise ModelError(f"k={k} is not from 0 to the {x.shape[axis]} elements of axis {axis}")
    if 0 < k * _FEW <= x.shape[axis] and x.dtype.kind != "O" and not _has_nan(x):
        at = _few(np.moveaxis(x, axis, -1), k, call.attr_flag("largest", True))
        at = np.moveaxis(at, -1, axis)
        return [np.take_along_axis(x, at, axis), at.astype(np.int64)]
    if call.attr_flag("largest", True):
        backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    at = np.take(order, range(k), axis)
    return [np.take_along_axis(x, at, axis), at.astype(np.int64)]


def _has_nan(x: Array) -> bool:
    return x.dtype.kind == "f" and bool(np.isnan(x).any())


def _few(x: Array, k: int, largest: bool) -> Array:
    """Places of the k largest (smallest) along the last axis, few among many: int [..., k]."""
    rows = x.reshape(-1, x.shape[-1])
    found = np.empty((len(rows), k), np.intp)
    for row, out in zip(rows, found, strict=True):
        count = len(row)
        last = np.partition(row, count - k if largest else k - 1)[count - k if largest else k - 1]
        # All that reach the last of them, in order of their places; equal ones of lower places come first.
        places = np.flatnonzero(row >= last if largest else row <= last)
        values = row[places]
        if largest:  # stable, by descending value: also of unsigned and of the smallest integers
            order = len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
        else:
            order = np.argsort(values, kind="stable")
        out[:] = places[order[:k]]
    return found.reshape(*x.shape[:-1], k)


def arg_extreme(call: Call) -> Sequence[Value]:
    """ArgMax and ArgMin: the first, or with select_last_index the last, of equal elements."""
    x = call.array(0)
    axis = call.axis(x.ndim)
    find = np.argmax if call.op_type == "ArgMax" else np.argmin
    if call.attr_flag("select_last_index"):
        at = x.shape[axis] - 1 - find(np.flip(x, axis), axis)
    else:
        at = find(x, axis)
    y = np.expand_dims(at, axis) if call.attr_flag("keepdims", True) else at
    return [np.asarray(y, np.int64)]


def non_zero(call: Call) -> Sequence[Value]:
    """NonZero: the places of what is not 0, [rank, count]."""
    x = np.atleast_1d(call.array(0))  # a scalar counts as a list of one, as in ONNX Runtime
    return [np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)]


def unique(call: Call) -> Sequence[Value]:
    """Unique -> values, first places, places of each element's value, counts; sorted, or as they come."""
    x = call.array(0)
    axis = call.axis(x.ndim) if "axis" in call.attrs else None
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not call.attr_flag("sorted", True):
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        values = np.take(values, order, 0 if axis is None else axis)
        first, inverse, counts = first[order], rank[inverse], counts[order]
    return [values, *(v.astype(np.int64) for v in (first, inverse, counts))]


def non_max_suppression(call: Call) -> Sequence[Value]:
    """NonMaxSuppression -> [count, 3] of batch, class, box; the best scores first in each class.

    A box is dropped if its overlap with a chosen one is over iou_threshold; without
    max_output_boxes_per_class nothing is chosen.
    """
    boxes, scores = computed(call.array(0)), call.array(1)
    if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[::2] != (scores.shape[0], 4) or (
        boxes.shape[1] != scores.shape[2]
    ):  # fmt: skip
        raise ModelError(f"boxes {list(boxes.shape)} and scores {list(scores.shape)} do not fit")
    most = call.number(2, "max_output_boxes_per_class") if call.has(2) else 0
    overlap = float(call.array(3).reshape(-1)[0]) if call.has(3) else 0.0
    least = float(call.array(4).reshape(-1)[0]) if call.has(4) else -np.inf
    if not 0 <= overlap <= 1:
        raise ModelError(f"iou_threshold {overlap} is not from 0 to 1")
    centred = call.attr_flag("center_point_box")
    chosen = [np.empty((0, 3), np.int64)]
    for n in range(scores.shape[0]):
        corners = _corners(boxes[n], centred)
        for c in range(scores.shape[1]):
            kept = _chosen(corners, scores[n, c], most, overlap, least)
            chosen.append(np.array([(n, c, box) for box in kept], np.int64).reshape(-1, 3))
    return [np.concatenate(chosen)]


def _corners(boxes: Array, centred: bool) -> Array:
    """[5, count]: y0, x0, y1, x1 and the area, of boxes given as y0, x0, y1, x1 in any order of ends, or as
    x, y, width, height."""
    if centred:
        x, y, w, h = boxes.T
        ends = np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    else:
        pairs = boxes.reshape(-1, 2, 2)
        ends = np.concatenate([pairs.min(1), pairs.max(1)], 1).T
    return np.concatenate([ends, ((ends[2] - ends[0]) * (ends[3] - ends[1]))[None]])


def _chosen(corners: Array, scores: Array, most: int, overlap: float, least: float) -> list[int]:
    """Places of the boxes that are kept, the best scores first.  corners: as `_corners` gives them.

    A block of boxes at a time is compared with those kept before, then among itself.
    """
    left = np.flatnonzero(scores > least)
    left = left[np.argsort(-scores[left], kind="stable")]
    rows = np.take(corners, left, 1)
    limit = corners.dtype.type(overlap)
    kept: list[int] = []  # among those left
    for start in range(0, len(left), _BLOCK):
        if len(kept) >= most:
            break
        places = np.arange(start, min(start + _BLOCK, len(left)))
        if kept:
            places = places[~_near(rows[:, kept], rows[:, places], limit).any(0)]
        near = _near(rows[:, places], rows[:, places], limit)
        dropped = np.zeros(len(places), bool)
        for i, place in enumerate(places.tolist()):
            if not dropped[i] and len(kept) < most:
                kept.append(place)
                dropped |= near[i]
    return left[kept].tolist() if kept else []


def _near(first: Array, second: Array, limit: float) -> Array:
    """Whether each of the first boxes overlaps each of the second by more than `limit`: bool [first, second]."""
    a, b = first[:, :, None], second[:, None, :]
    height = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    width = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    common = np.maximum(height, 0) * np.maximum(width, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = common / (a[4] + b[4] - common)
    near: Array = (share > limit) & (a[4] > 0) & (b[4] > 0)
    return near


def multinomial(call: Call) -> Sequence[Value]:
    """Multinomial: classes drawn by their logarithmic weights, [batch, sample_size]; with a seed, always the
    same ones."""
    x = call.array(0).astype(np.float64)
    count = call.attr_int("sample_size", 1)
    seed = call.attrs.get("seed")
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    ends = np.cumsum(weights, axis=1)
    generator = np.random.default_rng(None if seed is None else abs(int(seed * 2**16)))
    drawn = generator.random((len(x), count)) * ends[:, -1:]
    classes = (drawn[:, :, None] >= ends[:, None, :]).sum(axis=2)
    dtype = NUMPY_TYPES[call.attr_int("dtype", 6)]
    return [np.minimum(classes, x.shape[1] - 1).astype(dtype)]
