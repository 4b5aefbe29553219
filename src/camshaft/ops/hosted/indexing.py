"""Picking and placing elements by index: Gather and Scatter in their forms, OneHot, Compress, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of, checked_indices

Array = np.ndarray


def gather(call: Call) -> Sequence[Value]:
    """Gather: slices along an axis."""
    x, indices = call.array(0), call.array(1)
    axis = call.axis(x.ndim)
    return [np.take(x, checked_indices(indices, x.shape[axis], f"axis {axis}"), axis)]


def _along(x: Array, indices: Array, axis: int) -> Array:
    """The places in the flat x of `indices`, each of whose own place says the rest: of their shape."""
    if indices.ndim != x.ndim:
        raise ModelError(f"data of rank {x.ndim} takes indices of that rank, not {indices.ndim}")
    for a, (n, size) in enumerate(zip(indices.shape, x.shape, strict=True)):
        if a != axis and n > size:
            raise ModelError(
                f"indices {list(indices.shape)} are longer than data {list(x.shape)} along axis {a}"
            )
    place = checked_indices(indices, x.shape[axis], f"axis {axis}") * prod(x.shape[axis + 1 :])
    for a, n in enumerate(indices.shape):
        if a != axis and n > 1:
            steps = np.arange(n) * prod(x.shape[a + 1 :])
            place = place + steps.reshape(-1, *[1] * (x.ndim - a - 1))
    return place


def gather_elements(call: Call) -> Sequence[Value]:
    """GatherElements: along an axis; on other axes the indices may be shorter than the data."""
    x, indices = call.array(0), call.array(1)
    return [np.take(x.reshape(-1), _along(x, indices, call.axis(x.ndim)))]


def gather_nd(call: Call) -> Sequence[Value]:
    """GatherND: each row of indices picks a slice; the first `batch_dims` axes go in step."""
    x, indices = call.array(0), call.array(1)
    batch = call.attr_int("batch_dims")
    if not 0 <= batch < min(x.ndim, indices.ndim) or x.shape[:batch] != indices.shape[:batch]:
        raise ModelError(
            f"data {list(x.shape)} and indices {list(indices.shape)} do not agree on {batch} batch axes"
        )
    depth = indices.shape[-1]
    if depth < 1 or depth > x.ndim - batch:
        raise ModelError(f"rows of {depth} indices do not fit data of rank {x.ndim}")
    place = _rows(x, indices, batch)
    if batch:
        outer = np.arange(prod(x.shape[:batch])) * prod(x.shape[batch : batch + depth])
        place = place + outer.reshape(*x.shape[:batch], *[1] * (place.ndim - batch))
    inner = x.shape[batch + depth :]
    rows = x.reshape(prod(x.shape[: batch + depth]), prod(inner))
    return [np.take(rows, place, 0).reshape((*place.shape, *inner))]


def _rows(x: Array, indices: Array, first: int = 0) -> Array:
    """Which of the slices behind the indexed axes of x, from `first` on, each row of indices [..., depth]
    means: [...], counted from the start of those axes."""
    depth = indices.shape[-1]
    place: Array = np.zeros((), np.int64)
    for i in range(depth):
        at = checked_indices(indices[..., i], x.shape[first + i], f"axis {first + i}")
        step = prod(x.shape[first + i + 1 : first + depth])
        place = place + (at if step == 1 else at * step)
    return place


_SET = "none"
_REDUCTIONS: Mapping[str, tuple[np.ufunc, np.ufunc]] = {
    "add": (np.add, np.logical_or),
    "mul": (np.multiply, np.logical_and),
    "min": (np.minimum, np.minimum),
    "max": (np.maximum, np.maximum),
}
"""What reduces numbers, and bools."""


def _reduction(call: Call) -> str:
    known = [_SET, *_REDUCTIONS][: 1 if call.opset < 16 else 3 if call.opset < 18 else 5]
    return call.choice("reduction", _SET, known)


def _scattered(x: Array, place: Array, updates: Array, reduction: str) -> Array:
    """x with updates [n, size] at rows `place` [n] of its flat form in rows of that size."""
    y = np.array(x, order="C")
    if not updates.size:
        return y
    rows = y.reshape(-1, updates.shape[1])
    if reduction == _SET:
        rows[place] = updates
        return y
    # A ufunc's `at` is quick where indices and values have one axis.
    size = updates.shape[1]
    flat = place if size == 1 else (place[:, None] * size + np.arange(size)).reshape(-1)
    reduce = _REDUCTIONS[reduction][y.dtype == bool]
    reduce.at(y.reshape(-1), flat, updates.reshape(-1))
    return y


def scatter_elements(call: Call) -> Sequence[Value]:
    """ScatterElements, and Scatter: updates go where indices along an axis say."""
    x, indices, updates = (call.array(i) for i in range(3))
    if updates.shape != indices.shape:
        raise ModelError(f"updates {list(updates.shape)} are not as many as {list(indices.shape)}")
    reduction = _reduction(call)
    place = _along(x, indices, call.axis(x.ndim))
    return [_scattered(x, place.reshape(-1), updates.reshape(-1, 1), reduction)]


def scatter_nd(call: Call) -> Sequence[Value]:
    """ScatterND: each row of indices says where a slice of updates goes."""
    x, indices, updates = (call.array(i) for i in range(3))
    depth = indices.shape[-1] if indices.ndim else 0
    if depth < 1 or depth > x.ndim:
        raise ModelError(f"rows of {depth} indices do not fit data of rank {x.ndim}")
    expected = (*indices.shape[:-1], *x.shape[depth:])
    if updates.shape != expected:
        raise ModelError(f"updates {list(updates.shape)} do not have the shape {list(expected)}")
    place = _rows(x, indices).reshape(-1)
    return [
        _scattered(x, place, updates.reshape(len(place), prod(x.shape[depth:])), _reduction(call))
    ]


def tensor_scatter(call: Call) -> Sequence[Value]:
    """TensorScatter(past, update, write_indices): a cache with new elements along one axis.

    mode "linear" writes within the cache, "circular" goes on at its beginning.
    """
    x, update, given = call.array(0), call.array(1), call.given(2)
    axis = call.axis(x.ndim, -2)
    if axis == 0:
        raise ModelError("axis 0, the batch, cannot be the one that is written along")
    mode = call.choice("mode", "linear", ("linear", "circular"))
    starts = np.zeros(x.shape[0], np.int64) if given is None else given.reshape(-1)
    count, size = update.shape[axis], x.shape[axis]
    y = x.copy()
    for n, start in enumerate(starts):
        at = int(start) + np.arange(count)
        if mode == "circular":
            at = at % size
        elif at.size and not (at[0] >= 0 and at[-1] < size):
            raise ModelError(f"writing {count} elements from {start} on goes beyond {size}")
        np.moveaxis(y[n], axis - 1, 0)[at] = np.moveaxis(update[n], axis - 1, 0)
    return [y]


def one_hot(call: Call) -> Sequence[Value]:
    """OneHot(indices, depth, values [off, on]): depth is a scalar or one element."""
    indices, values = call.array(0), call.array(2)
    depth = call.number(1, "depth")
    if values.shape != (2,) or depth < 1:
        raise ModelError(
            f"depth {depth} and values {list(values.shape)} are not at least 1 and [2]"
        )
    axis = axis_of(call.attr_int("axis", -1), indices.ndim + 1)
    whole = indices.astype(np.int64)
    whole = np.where((whole < 0) & (whole >= -depth), whole + depth, whole)
    steps = np.arange(depth).reshape(-1, *[1] * (indices.ndim - axis))
    return [np.where(np.expand_dims(whole, axis) == steps, values[1], values[0])]


def compress(call: Call) -> Sequence[Value]:
    """Compress: what a condition marks, along an axis or of the flat data; the rest is dropped."""
    x, condition = call.array(0), call.array(1).reshape(-1).astype(bool)
    flat = "axis" not in call.attrs
    axis = 0 if flat else call.axis(x.ndim)
    x = x.reshape(-1) if flat else x
    if len(condition) > x.shape[axis]:
        raise ModelError(f"{len(condition)} conditions are more than the {x.shape[axis]} elements")
    return [np.compress(condition, x, axis)]


def reverse_sequence(call: Call) -> Sequence[Value]:
    """ReverseSequence: the first `sequence_lens` elements of each batch item in reverse."""
    x, lengths = call.array(0), call.array(1)
    time, batch = call.axis(x.ndim, 0, "time_axis"), call.axis(x.ndim, 1, "batch_axis")
    if {time, batch} != {0, 1}:
        raise ModelError("time_axis and batch_axis must be 0 and 1, in either order")
    steps = x.shape[time]
    if lengths.shape != (x.shape[batch],) or ((lengths < 0) | (lengths > steps)).any():
        raise ModelError(
            f"sequence_lens {lengths.tolist()} are not {x.shape[batch]} numbers from 0 to {steps}"
        )
    at = np.arange(steps)[:, None]
    source = np.where(at < lengths, lengths - 1 - at, at)
    if time == 0:
        return [x[source, np.arange(x.shape[1])]]
    return [x[np.arange(x.shape[0])[:, None], source.T]]


def centre_crop_pad(call: Call) -> Sequence[Value]:
    """CenterCropPad(X, shape): axes are cropped or padded with 0 around their middle."""
    x, wanted = call.array(0), [int(n) for n in call.array(1).reshape(-1)]
    axes = [axis_of(a, x.ndim) for a in call.attr_ints("axes") or range(x.ndim)]
    if len(wanted) != len(axes):
        raise ModelError(f"shape {wanted} is not one number for each of the axes {axes}")
    for axis, n in zip(axes, wanted, strict=True):
        size = x.shape[axis]
        if n < size:
            start = (size - n) // 2
            x = np.take(x, range(start, start + n), axis)
        elif n > size:
            widths = [(0, 0)] * x.ndim
            widths[axis] = ((n - size) // 2, n - size - (n - size) // 2)
            x = np.pad(x, widths)
    return [x]


def depth_to_space(call: Call) -> Sequence[Value]:
    """DepthToSpace; before opset 11 always by depth, column, row."""
    x, block = call.array(0), call.attr_int("blocksize")
    mode = call.choice("mode", "DCR", ("DCR", "CRD"))
    n, c, *spatial = x.shape
    rank = len(spatial)
    if block < 1 or c % block**rank:
        raise ModelError(f"{c} channels do not divide into blocks of {block}")
    depth = c // block**rank
    blocks = (block,) * rank
    if mode == "DCR":
        y = np.moveaxis(x.reshape(n, *blocks, depth, *spatial), 1 + rank, 1)
    else:
        y = x.reshape(n, depth, *blocks, *spatial)
    order = [a for i in range(rank) for a in (2 + rank + i, 2 + i)]
    return [y.transpose(0, 1, *order).reshape(n, depth, *(s * block for s in spatial))]


def space_to_depth(call: Call) -> Sequence[Value]:
    """SpaceToDepth."""
    x, block = call.array(0), call.attr_int("blocksize")
    mode = call.choice("mode", "DCR", ("DCR", "CRD"))
    n, c, *spatial = x.shape
    rank = len(spatial)
    if block < 1 or any(s % block for s in spatial):
        raise ModelError(f"the extents {spatial} do not divide into blocks of {block}")
    cut = x.reshape(n, c, *(d for s in spatial for d in (s // block, block)))
    outer, inner = [2 + 2 * i for i in range(rank)], [3 + 2 * i for i in range(rank)]
    order = [0, *inner, 1, *outer] if mode == "DCR" else [0, 1, *inner, *outer]
    return [cut.transpose(order).reshape(n, c * block**rank, *(s // block for s in spatial))]
