"""Operators whose results are chosen by value: TopK, NonMaxSuppression, Unique, NonZero, ArgMax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed

Array = np.ndarray


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
    if call.attr_flag("largest", True):
        backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    at = np.take(order, range(k), axis)
    return [np.take_along_axis(x, at, axis), at.astype(np.int64)]


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
    return [np.array(np.nonzero(call.array(0)), np.int64).reshape(call.array(0).ndim, -1)]


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
    chosen = [
        (n, c, box)
        for n in range(scores.shape[0])
        for c in range(scores.shape[1])
        for box in _chosen(
            _corners(boxes[n], call.attr_flag("center_point_box")),
            scores[n, c],
            most,
            overlap,
            least,
        )
    ]
    return [np.array(chosen, np.int64).reshape(-1, 3)]


def _corners(boxes: Array, centred: bool) -> Array:
    """[count, 4] as low and high ends: y0, x0, y1, x1 in any order of ends, or x, y, width, height."""
    if centred:
        x, y, w, h = boxes.T
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 1)
    ends = boxes.reshape(-1, 2, 2)
    return np.concatenate([ends.min(1), ends.max(1)], 1)


def _chosen(boxes: Array, scores: Array, most: int, overlap: float, least: float) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    left = order[scores[order] > least]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    while left.size and len(kept) < most:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = np.maximum(high - low, 0).prod(1)
        union = areas[best] + areas[left] - common
        real = (areas[best] > 0) & (areas[left] > 0) & (union > 0)
        share = np.divide(common, union, out=np.zeros_like(common), where=real)
        left = left[~(share > np.float32(overlap))]
    return kept
