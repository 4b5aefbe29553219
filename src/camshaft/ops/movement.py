"""Ops that only move elements.  Most become views: a kernel with other strides, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import require_at_least, require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.op import (
    Attribute,
    Commutes,
    Integers,
    OpDef,
    Operands,
    Perm,
    Reordering,
    Role,
    Rounding,
    Types,
    ValueRange,
)
from camshaft.ir.strides import V
from camshaft.ir.types import Shape, TensorType, broadcast_shapes
from camshaft.ops.common import axis_follows, entries_follow, normal_axis

Attrs = Mapping[str, Any]


def _exact(types: Types, attrs: Attrs) -> Rounding:
    return Rounding.EXACT


def _range_of_input(operands: Operands, attrs: Attrs) -> ValueRange:
    return operands.range_of(0)


def _range_of_all(operands: Operands, attrs: Attrs) -> ValueRange:
    found = [operands.range_of(i) for i in range(len(operands.types))]
    return min(f[0] for f in found), max(f[1] for f in found)


def _reshape_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    misfit = f"{x} cannot take shape {attrs['shape']}"
    for d in attrs["shape"]:
        require_at_least(d, 0, misfit)
    require_equal(prod(attrs["shape"]), x.size, misfit)
    return [TensorType(x.dtype, tuple(attrs["shape"]))]


def _axis_after_reshape(axis: int, x: TensorType, out: TensorType, attrs: Attrs) -> int | None:
    """Where an axis of `x` lies in `out`, if the reshape keeps it."""
    for place, extent in enumerate(out.shape):
        if extent == x.shape[axis] and prod(out.shape[:place]) == prod(x.shape[:axis]):
            return place
    return None


def _reshaped_view(source: V, shape: Shape, attrs: Attrs) -> V | None:
    return source.reshaped(shape)


RESHAPE = OpDef(
    "reshape",
    "The same elements in row-major order, as another shape.",
    _reshape_infer,
    lambda arrays, attrs: [arrays[0].reshape(attrs["shape"])],
    {"shape": Attribute("the extents, without ONNX's -1 and 0")},
    commutes=Commutes(axis=_axis_after_reshape),
    value_range=_range_of_input,
    family="movement",
    moves=True,
    view=_reshaped_view,
    inverse=_reshaped_view,
    rounding=_exact,
)


def _transpose_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    if sorted(attrs["perm"]) != list(range(x.rank)):
        raise ModelError(f"{attrs['perm']} is no permutation of the axes of {x}")
    return [TensorType(x.dtype, tuple(x.shape[p] for p in attrs["perm"]))]


def _transposed_view(source: V, shape: Shape, attrs: Attrs) -> V | None:
    return source.transposed(attrs["perm"])


def _turned_back(source: V, shape: Shape, attrs: Attrs) -> V | None:
    perm = attrs["perm"]
    return source.transposed([perm.index(axis) for axis in range(len(perm))])


TRANSPOSE = OpDef(
    "transpose",
    "Axes in another order.",
    _transpose_infer,
    lambda arrays, attrs: [np.asarray(arrays[0].transpose(attrs["perm"]), order="C")],
    {"perm": Attribute("axis i of the result is axis perm[i] of x")},
    commutes=Commutes(axis=lambda axis, x, out, attrs: attrs["perm"].index(axis)),
    value_range=_range_of_input,
    family="movement",
    moves=True,
    view=_transposed_view,
    inverse=_turned_back,
    rounding=_exact,
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
    return [TensorType(first.dtype, tuple(shape))]


def _concat_parts(whole: V, shapes: Sequence[Shape], attrs: Attrs) -> list[V]:
    rank = len(shapes[0])
    axis = normal_axis(attrs["axis"], rank)
    starts: list[Extent] = [0] * rank
    parts = []
    for shape in shapes:
        parts.append(whole.sliced(starts, (1,) * rank, shape))
        starts[axis] += shape[axis]
    return parts


CONCAT = OpDef(
    "concat",
    "The inputs behind each other along an axis.",
    _concat_infer,
    lambda arrays, attrs: [np.concatenate(arrays, axis=attrs["axis"])],
    {"axis": Attribute("along which they lie behind each other")},
    reordering=Reordering((Role.ALIGNED,), axis_follows),
    commutes=Commutes(data=None),
    value_range=_range_of_all,
    family="movement",
    moves=True,
    parts=_concat_parts,
    rounding=_exact,
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
        if size != 0 and (start, size, step) != (0, d, 1):
            misfit = f"slice {start}..{last} step {step} leaves the extent {d}"
            require_at_least(start, 0, misfit)
            require_at_least(d - last, 1, misfit)
            if bounds(size)[0] < 1:  # of no elements, behind the last
                require_at_least(d - start, 0, misfit)
    return [TensorType(x.dtype, tuple(attrs["sizes"]))]


def _slice_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    y = arrays[0]
    for axis, (start, size, step) in enumerate(
        zip(attrs["starts"], attrs["sizes"], attrs["steps"], strict=True)
    ):
        y = np.take(y, start + step * np.arange(size), axis)
    return [np.asarray(y, order="C")]


def _sliced_view(source: V, shape: Shape, attrs: Attrs) -> V | None:
    return source.sliced(attrs["starts"], attrs["steps"], shape)


SLICE = OpDef(
    "slice",
    "Every step-th element of each axis, from a first one on.",
    _slice_infer,
    _slice_reference,
    {
        "starts": Attribute("first index, for each axis"),
        "sizes": Attribute("extent of the result, for each axis"),
        "steps": Attribute("distance of the elements taken, at least 1, for each axis"),
    },
    reordering=Reordering((Role.ALIGNED,), entries_follow("starts", "sizes", "steps")),
    commutes=Commutes(),
    value_range=_range_of_input,
    family="movement",
    moves=True,
    view=_sliced_view,
    rounding=_exact,
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
    for axis, (size, (before, after)) in enumerate(zip(arrays[0].shape, widths, strict=True)):
        if not size and (before > 0 or after > 0):
            raise ModelError(f"pads axis {axis} by its own elements, of which there are none")
    return [np.pad(arrays[0], widths, mode=attrs["mode"])]


def _pad_commutes(types: Types, attrs: Attrs) -> bool:
    return bool(attrs["mode"] != "constant" or attrs["value"] == 0)


def _pad_range(operands: Operands, attrs: Attrs) -> ValueRange:
    low, high = operands.range_of(0)
    value = float(attrs["value"])
    return (low, high) if attrs["mode"] != "constant" else (min(low, value), max(high, value))


PAD = OpDef(
    "pad",
    "x with elements added at both ends of its axes.",
    _pad_infer,
    _pad_reference,
    {
        "before": Attribute("how many at the beginning of each axis, at least 0"),
        "after": Attribute("how many at its end, at least 0"),
        "mode": Attribute('"constant", "reflect", "edge" or "wrap", as numpy.pad', "constant"),
        "value": Attribute("what a constant pad adds", 0.0),
    },
    reordering=Reordering((Role.ALIGNED,), entries_follow("before", "after")),
    commutes=Commutes(_pad_commutes, "if it adds zeros or copies elements", values=("value",)),
    value_range=_pad_range,
    family="movement",
    moves=True,
    rounding=_exact,
)


def _broadcast_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    misfit = f"{x} does not broadcast to {attrs['shape']}"
    if len(attrs["shape"]) < x.rank:
        raise ModelError(misfit)
    for a, b in zip(broadcast_shapes(x.shape, attrs["shape"]), attrs["shape"], strict=True):
        require_equal(a, b, misfit)
    return [TensorType(x.dtype, tuple(attrs["shape"]))]


def _broadcast_view(source: V, shape: Shape, attrs: Attrs) -> V | None:
    return source.broadcast(shape)


BROADCAST = OpDef(
    "broadcast",
    "x repeated to a shape, as NumPy broadcasts.",
    _broadcast_infer,
    lambda arrays, attrs: [np.asarray(np.broadcast_to(arrays[0], attrs["shape"]), order="C")],
    {"shape": Attribute("the extents of the result")},
    reordering=Reordering((Role.BROADCAST,), entries_follow("shape")),
    commutes=Commutes(),
    value_range=_range_of_input,
    family="movement",
    moves=True,
    view=_broadcast_view,
    rounding=_exact,
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


def _gather_integers(types: Types, attrs: Attrs) -> dict[int, Integers]:
    extent = types[0].shape[attrs["axis"]]
    return {1: (-extent, extent - 1)}


def _gathered_order(perm: Perm, types: Types, attrs: Attrs) -> Perm:
    """The axis that is indexed is replaced by the axes of the indices."""
    axis, new = attrs["axis"] % len(perm), types[1].rank
    order: list[int] = []
    for a in perm:
        if a == axis:
            order += range(axis, axis + new)
        else:
            order.append(a if a < axis else a + new - 1)
    return tuple(order)


GATHER = OpDef(
    "gather",
    "Elements of x [.., N, ..] at integer indices along an axis.  Negative ones count from the end.",
    _gather_infer,
    _gather_reference,
    {"axis": Attribute("the axis that is indexed", 0)},
    reordering=Reordering((Role.ALIGNED, Role.OWN), axis_follows, _gathered_order),
    commutes=Commutes(),
    integers=_gather_integers,
    value_range=_range_of_input,
    family="movement",
    moves=True,
    rounding=_exact,
)


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


def _interleave_parts(whole: V, shapes: Sequence[Shape], attrs: Attrs) -> list[V]:
    by_h, by_w = attrs["blocks"]
    return [
        whole.sliced((0, i // by_w, i % by_w, 0), (1, by_h, by_w, 1), shape)
        for i, shape in enumerate(shapes)
    ]


INTERLEAVE = OpDef(
    "interleave",
    "Images [N, H, W, C] whose pixels lie between each other's: pixel (h, w) of part (i, j), which is "
    "input i*by_w + j, becomes (h*by_h + i, w*by_w + j).  The inverse of strided slices.",
    _interleave_infer,
    _interleave_reference,
    {"blocks": Attribute("(by_h, by_w): how many parts there are along height and width")},
    commutes=Commutes(data=None),
    value_range=_range_of_all,
    family="movement",
    moves=True,
    parts=_interleave_parts,
    rounding=_exact,
)

OPS = (RESHAPE, TRANSPOSE, CONCAT, SLICE, PAD, BROADCAST, GATHER, INTERLEAVE)
