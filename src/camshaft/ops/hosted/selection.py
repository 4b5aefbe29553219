"""Operators whose results are chosen by value: TopK, NonMaxSuppression, Unique, NonZero, ArgMax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import NUMPY_TYPES, Call, Value, computed

Array = np.ndarray
_HALF_WORD = 4
"""Bytes of an element that leaves room for its place in a key of 64 bits."""
_BLOCK = 128
"""Boxes that NonMaxSuppression compares at once, in order."""
_PAIRS = 1 << 15
"""Pairs of boxes that it compares at once in no order: as many as a cache holds."""


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
    largest = call.attr_flag("largest", True)
    if x.dtype.itemsize <= _HALF_WORD and x.dtype.kind in "fiu":
        at = np.moveaxis(_best(np.moveaxis(x, axis, -1), k, largest), -1, axis)
        return [np.take_along_axis(x, at, axis), at]
    if largest:
        backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    at = np.take(order, range(k), axis)
    return [np.take_along_axis(x, at, axis), at.astype(np.int64)]


def _best(x: Array, k: int, largest: bool) -> Array:
    """Places of the k best along the last axis, the best first: int64 [..., k].

    Elements of at most 32 bits are the upper half of keys whose lower half are their places: sorted,
    keys of equal elements come in the order of places.
    """
    keys = _ordered(x)
    keys = np.bitwise_or((~keys if largest else keys) << 32, np.arange(x.shape[-1]))
    if k < x.shape[-1]:
        keys = np.partition(keys, k, axis=-1)[..., :k] if k else keys[..., :0]
    return np.sort(keys, axis=-1) & 0xFFFFFFFF


def _ordered(x: Array) -> Array:
    """Signed numbers of 32 bits, as int64, in the order of x; NaN is above all, as when NumPy sorts."""
    if x.dtype.kind != "f":
        return x.astype(np.int64) - (1 << 31 if x.dtype.kind == "u" else 0)
    wide = x.astype(np.float32) + np.float32(0)  # also a copy in which -0 is 0
    wide[np.isnan(wide)] = np.nan  # of one sign
    bits = wide.view(np.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)


def arg_extreme(call: Call) -> Sequence[Value]:
    """ArgMax and ArgMin: the first, or with select_last_index the last, of equal elements."""
    x = call.array(0)
    axis = call.axis(x.ndim)
    find = np.argmax if call.op_type == "ArgMax" else np.argmin
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    if 0 in shape:
        at = np.zeros(shape, np.int64)
    elif call.attr_flag("select_last_index"):
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
    if axis is None:
        values, first, inverse, counts = np.unique(
            x, return_index=True, return_inverse=True, return_counts=True
        )
        inverse = inverse.reshape(-1)
    else:
        first, inverse, counts = _unique_slices(x, axis)
        values = np.take(x, first, axis)
    if not call.attr_flag("sorted", True):
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        values = np.take(values, order, 0 if axis is None else axis)
        first, inverse, counts = first[order], rank[inverse], counts[order]
    return [values, *(v.astype(np.int64) for v in (first, inverse, counts))]


def _unique_slices(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """First places, in ascending order of the slices along an axis, places of each slice's equal, counts."""
    count = x.shape[axis]
    rows = np.moveaxis(x, axis, 0).reshape(count, x.size // max(count, 1))
    order = np.lexsort(rows.T[::-1]) if rows.size else np.arange(count)
    lying = rows[order]
    starts = np.ones(count, bool)
    starts[1:] = (lying[1:] != lying[:-1]).any(1)
    group = np.cumsum(starts) - 1
    inverse = np.empty(count, np.int64)
    inverse[order] = group
    at = np.flatnonzero(starts)
    return order[at], inverse, np.diff(at, append=count)


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
        orders = [_best_first(scores[n, c], least) for c in range(scores.shape[1])]
        for c, kept in enumerate(_chosen(corners, orders, most, overlap)):
            rows = np.empty((len(kept), 3), np.int64)
            rows[:, 0], rows[:, 1], rows[:, 2] = n, c, kept
            chosen.append(rows)
    return [np.concatenate(chosen)]


def _best_first(scores: Array, least: float) -> Array:
    """Places of the scores above `least`, the best first; of equal ones the one of the lower place."""
    left = np.flatnonzero(scores > least)
    values = scores[left]
    if values.dtype.itemsize <= _HALF_WORD:
        return np.take(left, _best(values, len(values), True))
    return np.take(left, np.argsort(-values, kind="stable"))


def _corners(boxes: Array, centred: bool) -> Array:
    """[5, count]: y0, x0, y1, x1 and the area, of boxes given as y0, x0, y1, x1 in any order of ends, or as
    x, y, width, height.  The area of a box without one is infinite, so that it overlaps no other."""
    if centred:
        x, y, w, h = boxes.T
        ends = np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    else:
        one, other = boxes[:, :2], boxes[:, 2:]
        ends = np.concatenate([np.minimum(one, other), np.maximum(one, other)], 1).T
    area = (ends[2] - ends[0]) * (ends[3] - ends[1])
    return np.concatenate([ends, np.where(area > 0, area, area.dtype.type(np.inf))[None]])


def _chosen(
    corners: Array, orders: Sequence[Array], most: int, overlap: float
) -> list[Sequence[int]]:
    """For each class the places of the boxes that are kept.

    corners: as `_corners` gives them.  orders: for each class its boxes, the best first.
    """
    limit = corners.dtype.type(overlap)
    alone = sum(len(order) * (_BLOCK + min(most, len(order))) for order in orders)
    asked = np.zeros(corners.shape[1], bool)
    for order in orders:
        asked[order] = True
    wanted = np.flatnonzero(asked)
    if len(wanted) ** 2 > alone or not most:
        return [_kept_of(corners, order, most, limit) for order in orders]
    near = _bits(_all_near(np.take(corners, wanted, 1), limit))
    place = np.cumsum(asked) - 1
    return [wanted[_greedy(place[order].tolist(), near, most)].tolist() for order in orders]


def _all_near(boxes: Array, limit: np.floating) -> Array:
    """`_near` of all pairs: boxes overlap whatever their class is, so that each pair is compared once."""
    count = boxes.shape[1]
    near = np.empty((count, count), bool)
    step = max(1, _PAIRS // count) if count else 1
    for start in range(0, count, step):
        block = _near(boxes[:, start : start + step], boxes[:, start:], limit)
        near[start : start + step, start:] = block
        near[start:, start : start + step] = block.T
    return near


def _kept_of(corners: Array, order: Array, most: int, limit: np.floating) -> Sequence[int]:
    """The boxes of `order` that are kept.

    A block of boxes at a time is compared with those kept before, then among itself.
    """
    rows = np.take(corners, order, 1)
    kept: list[int] = []  # places in `order`
    for start in range(0, len(order), _BLOCK):
        if len(kept) >= most:
            break
        places = np.arange(start, min(start + _BLOCK, len(order)))
        if kept:
            places = places[~_near(rows[:, kept], rows[:, places], limit).any(0)]
        block = rows[:, places]
        near = _bits(_near(block, block, limit))
        kept += places[_greedy(range(len(places)), near, most - len(kept))].tolist()
    found: list[int] = order[kept].tolist() if kept else []
    return found


def _greedy(order: Sequence[int], near: Sequence[int], most: int) -> list[int]:
    """Those of `order` that none kept before is near to, at most so many.  near: bits, as `_bits` gives."""
    kept: list[int] = []
    dropped = 0
    for i in order:
        if not dropped >> i & 1:
            kept.append(i)
            if len(kept) == most:
                break
            dropped |= near[i]
    return kept


def _bits(flags: Array) -> list[int]:
    """Each row of bools as one number: bit i is its element i."""
    packed = np.packbits(flags, axis=1, bitorder="little")
    width, data = packed.shape[1], packed.tobytes()
    return [
        int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width or 1)
    ]


def _near(first: Array, second: Array, limit: np.floating) -> Array:
    """Whether each of the first boxes overlaps each of the second by more than `limit`: bool [first, second]."""
    a, b = first[:, :, None], second[:, None, :]
    common = np.minimum(a[2], b[2])
    common -= np.maximum(a[0], b[0])
    np.maximum(common, 0, out=common)
    width = np.minimum(a[3], b[3])
    width -= np.maximum(a[1], b[1])
    common *= np.maximum(width, 0, out=width)
    joint = np.add(a[4], b[4], out=width)
    joint -= common
    common /= joint
    near: Array = common > limit
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
