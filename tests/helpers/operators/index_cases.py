"""Cases of operators that pick, place and choose elements."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from operator_case import Case, Generate, Rng, extents, floats, given, maybe, pick, trimmed


def gather(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 1, 2, 3)))
    axis = int(rng.integers(-x.ndim, x.ndim))
    low = -x.shape[axis] if opset >= 11 else 0
    at = rng.integers(low, x.shape[axis], extents(rng, pick(rng, 0, 1, 2)))
    return Case("Gather", opset, [x, np.asarray(at)], given(axis=axis))


def _shorter(rng: Rng, x: np.ndarray, axis: int, count: int) -> np.ndarray:
    shape = [int(rng.integers(1, n + 1)) for n in x.shape]
    shape[axis] = count
    return rng.integers(-x.shape[axis], x.shape[axis], shape)


def gather_elements(rng: Rng, opset: int) -> Case:
    shape = extents(rng, pick(rng, 1, 2, 3))
    axis = int(rng.integers(-len(shape), len(shape)))
    if rng.random() < 0.3:
        shape[axis] = 100
    x = floats(rng, *shape)
    at = _shorter(rng, x, axis, int(rng.integers(1, 80)))
    return Case("GatherElements", opset, [x, at], given(axis=axis))


def gather_nd(rng: Rng, opset: int) -> Case:
    batch = pick(rng, 0, 0, 1, 2) if opset >= 12 else 0
    x = floats(rng, *extents(rng, batch + pick(rng, 1, 2, 3)))
    depth = int(rng.integers(1, x.ndim - batch + 1))
    shape = (*x.shape[:batch], *extents(rng, pick(rng, 0, 1, 2), 1, 3))
    at = [rng.integers(-n, n, shape) for n in x.shape[batch : batch + depth]]
    return Case("GatherND", opset, [x, np.stack(at, -1)], given(batch_dims=batch or None))


def _reductions(opset: int) -> tuple[str | None, ...]:
    return (None, "none", "add", "mul", "min", "max")[: 1 if opset < 16 else 4 if opset < 18 else 6]


def scatter_elements(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        x = pick(rng, floats(rng, 3, 4, 2), rng.integers(-9, 9, (4, 3)), floats(rng, 6))
        axis = int(rng.integers(-x.ndim if opset >= 11 else 0, x.ndim))
        reduction = pick(rng, *_reductions(opset))
        at = _shorter(rng, x, axis, int(rng.integers(1, x.shape[axis] + 1)))
        if reduction in (None, "none"):  # else the order of equal indices would matter
            order = [rng.permutation(x.shape[axis])[: at.shape[axis]] for _ in range(at.size)]
            at = np.moveaxis(np.stack(order)[: at.size // at.shape[axis]].reshape(
                *np.moveaxis(at, axis, -1).shape), -1, axis)  # fmt: skip
        if opset < 11:
            at = np.mod(at, x.shape[axis])
        updates = rng.standard_normal(at.shape) * 5
        inputs = [x, at, updates.astype(x.dtype)]
        return Case(op_type, opset, inputs, given(axis=axis, reduction=reduction))

    return generate


def scatter_nd(rng: Rng, opset: int) -> Case:
    x = pick(rng, floats(rng, 3, 4, 2), rng.integers(-9, 9, (4, 3)), floats(rng, 6))
    depth = int(rng.integers(1, x.ndim + 1))
    reduction = pick(rng, *_reductions(opset))
    places = np.stack(
        np.unravel_index(rng.permutation(np.prod(x.shape[:depth])), x.shape[:depth]), -1
    )
    at = places[: int(rng.integers(1, len(places) + 1))]
    if reduction not in (None, "none"):
        at = np.concatenate([at, at[:2]])
    at = np.where(rng.random(at.shape) < 0.3, at - x.shape[:depth], at)
    updates = rng.standard_normal((len(at), *x.shape[depth:])) * 5
    return Case("ScatterND", opset, [x, at, updates.astype(x.dtype)], given(reduction=reduction))


def tensor_scatter(rng: Rng, opset: int) -> Case:
    batch, steps, width = extents(rng, 3, 1, 4)
    new = int(rng.integers(1, steps + 1))
    mode = pick(rng, None, "linear", "circular")
    most = steps - new + 1 if mode != "circular" else steps
    starts = rng.integers(0, most, batch)
    shape = pick(rng, (2,), ())
    inputs = [
        floats(rng, batch, *shape, steps, width),
        floats(rng, batch, *shape, new, width),
        maybe(rng, starts) if mode != "circular" else starts,
    ]
    return Case("TensorScatter", opset, trimmed(inputs), given(mode=mode))


def one_hot(rng: Rng, opset: int) -> Case:
    depth = int(rng.integers(1, 6))
    shape = extents(rng, pick(rng, 1, 2))
    at = np.asarray(rng.integers(-depth - 2 if opset >= 11 else 0, depth + 2, shape), np.int64)
    said = np.array(depth, np.int64) if rng.random() < 0.5 else np.array([depth], np.int64)
    values = floats(rng, 2)
    axis = maybe(rng, int(rng.integers(-at.ndim - 1, at.ndim + 1)))
    return Case("OneHot", opset, [at, said, values], given(axis=axis))


def compress(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 1, 2, 3)))
    low = -x.ndim if opset >= 11 else 0
    axis = maybe(rng, int(rng.integers(low, x.ndim)), 0.7)
    most = x.size if axis is None else x.shape[axis]
    condition = rng.random(int(rng.integers(1, most + 1))) < 0.5
    return Case("Compress", opset, [x, condition], given(axis=axis))


def reverse_sequence(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 2, 3), 2, 5))
    time = pick(rng, 0, 1)
    lengths = rng.integers(1, x.shape[time] + 1, x.shape[1 - time])
    attrs = {"time_axis": time, "batch_axis": 1 - time}
    return Case(
        "ReverseSequence", opset, [x, lengths], {} if time == 0 and rng.random() < 0.5 else attrs
    )


def centre_crop_pad(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, 3, 1, 6))
    axes = maybe(rng, [int(a) for a in rng.permutation(3)[: pick(rng, 1, 2)]])
    wanted = np.array(extents(rng, 3 if axes is None else len(axes), 1, 7))
    return Case("CenterCropPad", opset, [x, wanted], given(axes=axes))


def depth_and_space(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        block = pick(rng, 1, 2, 3)
        if op_type == "DepthToSpace":
            x = floats(rng, 2, block * block * pick(rng, 1, 2), 2, 3)
            mode = maybe(rng, pick(rng, "DCR", "CRD")) if opset >= 11 else None
        else:
            x, mode = floats(rng, 2, pick(rng, 1, 2), 2 * block, 3 * block), None
        return Case(op_type, opset, [x], given(blocksize=block, mode=mode))

    return generate


def top_k(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 1, 2, 3), 2, 6))
    if rng.random() < 0.6:
        x = np.round(x)  # ties
    if opset >= 11 and rng.random() < 0.4:
        x = (x * 3).astype(np.int64)
    axis = int(rng.integers(-x.ndim if opset >= 11 else 0, x.ndim))
    k = int(rng.integers(1, x.shape[axis] + 1))
    attrs = given(axis=axis)
    if opset < 10:
        return Case("TopK", opset, [x], attrs | {"k": k}, ("y", "i"))
    if opset >= 11:
        attrs |= given(largest=maybe(rng, pick(rng, 0, 1)))
    return Case("TopK", opset, [x, np.array([k])], attrs, ("y", "i"))


def arg_extreme(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        x = np.round(floats(rng, *extents(rng, pick(rng, 1, 2, 3), 1, 6)))
        attrs = given(
            axis=maybe(rng, int(rng.integers(-x.ndim if opset >= 11 else 0, x.ndim))),
            keepdims=maybe(rng, pick(rng, 0, 1)),
            select_last_index=maybe(rng, pick(rng, 0, 1)) if opset >= 12 else None,
        )
        return Case(op_type, opset, [x], attrs)

    return generate


def non_zero(rng: Rng, opset: int) -> Case:
    shape = extents(rng, pick(rng, 1, 2, 3), 0, 4)
    x = np.round(floats(rng, *shape))
    return Case("NonZero", opset, [pick(rng, x, x.astype(np.int64), x.astype(bool))])


def unique(rng: Rng, opset: int) -> Case:
    x = np.round(floats(rng, *extents(rng, pick(rng, 1, 2, 3), 1, 4)))
    x = pick(rng, x, x.astype(np.int64))
    axis = maybe(rng, int(rng.integers(-x.ndim, x.ndim)))
    return Case("Unique", opset, [x], given(axis=axis, sorted=maybe(rng, pick(rng, 0, 1))), "yfic")


def non_max_suppression(rng: Rng, opset: int) -> Case:
    batch, classes, count = extents(rng, 3, 1, 3)
    count += 5
    centred = int(rng.integers(2))
    corners = rng.uniform(0, 4, (batch, count, 2, 2))
    if centred:
        boxes = np.concatenate([corners[:, :, 0], 0.5 + corners[:, :, 1]], -1)
    else:
        boxes = corners.reshape(batch, count, 4)  # either end may come first
    scores = np.round(rng.random((batch, classes, count)), pick(rng, 1, 3))
    inputs = [
        boxes.astype(np.float32),
        scores.astype(np.float32),
        maybe(rng, np.array([int(rng.integers(0, 6))]), 0.9),
        maybe(rng, np.array([rng.random()], np.float32), 0.8),
        maybe(rng, np.array([rng.random() * 0.6], np.float32)),
    ]
    attrs = given(center_point_box=centred or maybe(rng, 0))
    return Case("NonMaxSuppression", opset, trimmed(inputs), attrs)


INDICES: Mapping[str, Generate] = {
    "ArgMax": arg_extreme("ArgMax"),
    "ArgMin": arg_extreme("ArgMin"),
    "CenterCropPad": centre_crop_pad,
    "Compress": compress,
    "DepthToSpace": depth_and_space("DepthToSpace"),
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonMaxSuppression": non_max_suppression,
    "NonZero": non_zero,
    "OneHot": one_hot,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements("Scatter"),
    "ScatterElements": scatter_elements("ScatterElements"),
    "ScatterND": scatter_nd,
    "SpaceToDepth": depth_and_space("SpaceToDepth"),
    "TensorScatter": tensor_scatter,
    "TopK": top_k,
    "Unique": unique,
}
