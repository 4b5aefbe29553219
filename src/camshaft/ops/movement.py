"""Ops that only move elements.  Most become views: a kernel with other strides, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.constraints import require_at_least, require_equal
from camshaft.ir.extent import Extent
from camshaft.ir.op import REQUIRED, OpDef
from camshaft.ir.types import TensorType, broadcast_shapes
from camshaft.ops.common import FOLD, normal_axis

Attrs = Mapping[str, Any]
MOVES = FOLD | {"movement"}


def _reshape_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    misfit = f"{x} cannot take shape {attrs['shape']}"
    for d in attrs["shape"]:
        require_at_least(d, 0, misfit)
    require_equal(prod(attrs["shape"]), x.size, misfit)
    return [TensorType(x.dtype, tuple(attrs["shape"]))]


RESHAPE = OpDef(
    "reshape",  # shape: explicit extents, no -1 or 0 shorthands
    _reshape_infer,
    lambda arrays, attrs: [arrays[0].reshape(attrs["shape"])],
    {"shape": REQUIRED},
    traits=MOVES,
)


def _transpose_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    if sorted(attrs["perm"]) != list(range(x.rank)):
        raise ModelError(f"{attrs['perm']} is no permutation of the axes of {x}")
    return [TensorType(x.dtype, tuple(x.shape[p] for p in attrs["perm"]))]


TRANSPOSE = OpDef(
    "transpose",
    _transpose_infer,
    lambda arrays, attrs: [np.asarray(arrays[0].transpose(attrs["perm"]), order="C")],
    {"perm": REQUIRED},
    traits=MOVES,
)


def _concat_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    first = types[0]
    axis = normal_axis(attrs["axis"], first.rank)
    shape: list[Extent] = list(first.shape)
    for t in types[1:]:
        misfit = f"{t} and {first} cannot be concatenated along axis {axis}"
        if t.rank != first.rank or t.dtype != first.dtype:
            raise ModelError(misfit)
        for i, (a, b) in enumerate(zip(shape, t.shape, strict=True)):
            if i != axis:
                shape[i] = require_equal(a, b, misfit)
    shape[axis] = sum(t.shape[axis] for t in types)
    return [TensorType(first.dtype, tuple(shape))]  # type: ignore[arg-type]


CONCAT = OpDef(
    "concat",
    _concat_infer,
    lambda arrays, attrs: [np.concatenate(arrays, axis=attrs["axis"])],
    {"axis": REQUIRED},
    traits=MOVES,
)


def _slice_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    if not len(attrs["starts"]) == len(attrs["sizes"]) == len(attrs["steps"]) == x.rank:
        raise ModelError(f"slice needs starts, sizes and steps for all {x.rank} axes")
    for d, start, size, step in zip(
        x.shape, attrs["starts"], attrs["sizes"], attrs["steps"], strict=True
    ):
        if step < 1:
            raise ModelError(f"slice has step {step}; a backward slice is a gather")
        last = start + (size - 1) * step
        if size != 0:
            misfit = f"slice {start}..{last} step {step} leaves the extent {d}"
            for at in (start, last):
                require_at_least(at, 0, misfit)
                require_at_least(d - at, 1, misfit)
    return [TensorType(x.dtype, tuple(attrs["sizes"]))]


def _slice_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    y = arrays[0]
    for axis, (start, size, step) in enumerate(
        zip(attrs["starts"], attrs["sizes"], attrs["steps"], strict=True)
    ):
        y = np.take(y, start + step * np.arange(size), axis)
    return [np.asarray(y, order="C")]


SLICE = OpDef(
    "slice",  # for every axis: first index, extent, step of at least 1
    _slice_infer,
    _slice_reference,
    {"starts": REQUIRED, "sizes": REQUIRED, "steps": REQUIRED},
    traits=MOVES,
)


def _pad_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    if len(attrs["before"]) != x.rank or len(attrs["after"]) != x.rank:
        raise ModelError(f"pad needs amounts for all {x.rank} axes")
    shape = tuple(
        b + d + a for b, d, a in zip(attrs["before"], x.shape, attrs["after"], strict=True)
    )
    for amount in (*attrs["before"], *attrs["after"]):
        require_at_least(amount, 0, "pad amounts must not be negative (a negative pad is a slice)")
    return [TensorType(x.dtype, shape)]


def _pad_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    widths = list(zip(attrs["before"], attrs["after"], strict=True))
    if attrs["mode"] == "constant":
        fill = np.asarray(attrs["value"]).astype(arrays[0].dtype)
        return [np.pad(arrays[0], widths, constant_values=fill)]
    return [np.pad(arrays[0], widths, mode=attrs["mode"])]


PAD = OpDef(
    "pad",
    _pad_infer,
    _pad_reference,
    {"before": REQUIRED, "after": REQUIRED, "mode": "constant", "value": 0.0},
    traits=MOVES,  # mode: constant | reflect | edge | wrap
)


def _broadcast_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    misfit = f"{x} does not broadcast to {attrs['shape']}"
    if len(attrs["shape"]) < x.rank:
        raise ModelError(misfit)
    for a, b in zip(broadcast_shapes(x.shape, attrs["shape"]), attrs["shape"], strict=True):
        require_equal(a, b, misfit)
    return [TensorType(x.dtype, tuple(attrs["shape"]))]


BROADCAST = OpDef(
    "broadcast",
    _broadcast_infer,
    lambda arrays, attrs: [np.asarray(np.broadcast_to(arrays[0], attrs["shape"]), order="C")],
    {"shape": REQUIRED},
    traits=MOVES,
)


def _gather_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x, index = types
    axis = normal_axis(attrs["axis"], x.rank)
    if not index.dtype.is_int:
        raise ModelError(f"gather indices are {index}, not integers")
    return [TensorType(x.dtype, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))]


def _gather_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, index = arrays
    extent = x.shape[attrs["axis"]]
    if index.size and not (index.min() >= -extent and index.max() < extent):
        raise ModelError(f"gather index outside -{extent}..{extent - 1}")
    return [np.take(x, index, axis=attrs["axis"])]


GATHER = OpDef("gather", _gather_infer, _gather_reference, {"axis": 0}, traits=MOVES)


def _interleave_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    by_h, by_w = attrs["blocks"]
    if len(types) != by_h * by_w or any(t != types[0] for t in types) or types[0].rank != 4:
        raise ModelError(f"interleave of {by_h}x{by_w} wants as many equal rank-4 tensors")
    n, h, w, c = types[0].shape
    return [TensorType(types[0].dtype, (n, h * by_h, w * by_w, c))]


def _interleave_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    by_h, by_w = attrs["blocks"]
    n, h, w, c = arrays[0].shape
    y = np.empty((n, h * by_h, w * by_w, c), arrays[0].dtype)
    for i, part in enumerate(arrays):
        y[:, i // by_w :: by_h, i % by_w :: by_w] = part
    return [y]


INTERLEAVE = OpDef(
    # NHWC parts (i,j) become the pixels (h*by_h + i, w*by_w + j): the inverse of strided slices.
    "interleave",
    _interleave_infer,
    _interleave_reference,
    {"blocks": REQUIRED},
    traits=MOVES,
)

OPS = (RESHAPE, TRANSPOSE, CONCAT, SLICE, PAD, BROADCAST, GATHER, INTERLEAVE)
