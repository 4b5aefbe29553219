"""Operators of TensorFlow whose form in ONNX tf2onnx gets wrong, in one place: `HANDLERS` gives those that have a right one, for
tf2onnx; `stays` says which stay in TensorFlow, and why."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from onnx import TensorProto
from tf2onnx.onnx_opset.tensor import ScatterND
from tf2onnx.utils import map_onnx_to_numpy_type

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)

Value = Callable[[int], np.ndarray | None]
"""A node's input by its number, where it hangs on nothing."""


def stays(node: Any, value: Value) -> str:
    """Why a node cannot be in an engine although tf2onnx has a form for it; nothing where it can."""
    rule = _RULES.get(node.op)
    return "" if rule is None else rule(node, value)


def _division(node: Any, value: Value) -> str:
    divisor = value(1)
    if not tf.as_dtype(node.attr["T"].type).is_integer:
        return ""
    if divisor is not None and np.all(divisor):
        return ""
    return "a whole number is divided by what may be 0, which is an error in TensorFlow"


def _bicubic(node: Any, _: Value) -> str:
    if node.attr["half_pixel_centers"].b:
        return ""
    return "resize_bicubic without half-pixel centers has other coefficients than ONNX' Resize"


def _area(_: Any, __: Value) -> str:
    return "ONNX' Resize does not average areas"


def _segments(node: Any, value: Value) -> str:
    """Segments are fine where their numbers are known and none is empty."""
    ids = value(2 if node.op.startswith("Sparse") else 1)
    count = value(2) if node.op.startswith("Unsorted") else None
    if ids is not None and ids.ndim == 1 and ids.size:
        last = int(ids.max()) + 1 if count is None else int(count)
        if set(ids.tolist()) == set(range(last)):
            return ""
    return "segments may be empty or left out, which tf2onnx computes otherwise"


def _scatter(node: Any, _: Value) -> str:
    return "ONNX' ScatterND adds numbers only" if node.attr["T"].type == tf.bool else ""


_SEGMENTS = (
    *("SegmentMean", "SegmentMin", "SegmentMax", "SparseSegmentMean", "SparseSegmentSqrtN"),
    *(f"UnsortedSegment{kind}" for kind in ("Sum", "Prod", "Min", "Max")),
)

_RULES: Mapping[str, Callable[[Any, Value], str]] = {
    **dict.fromkeys(
        ("FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod", "Div", "Mod"), _division
    ),
    **dict.fromkeys(_SEGMENTS, _segments),
    "ResizeBicubic": _bicubic,
    "ResizeArea": _area,
    "ScatterNd": _scatter,
}


# -- what tf2onnx says instead -----------------------------------------------------------------------


class _Place:
    """A node that is being replaced: makes nodes, the last of which takes its outputs."""

    def __init__(self, context: Any, node: Any) -> None:
        self.context, self.name, self.inputs = context, node.name, list(node.input)
        self._outputs, self._count = node.output, itertools.count()
        self._shapes, self._dtypes = node.output_shapes, node.output_dtypes
        context.remove_node(node.name)

    def step(self, op: str, inputs: list[str], dtype: int, **attributes: Any) -> str:
        """A node within; what it gives."""
        made = self.context.make_node(
            op, inputs, attr=attributes, dtypes=[dtype], op_name_scope=self.name
        )
        result: str = made.output[0]
        return result

    def last(self, op: str, inputs: list[str], **attributes: Any) -> None:
        """The node that gives the result."""
        self.context.make_node(
            op,
            inputs,
            attr=attributes,
            name=self.name,
            outputs=self._outputs,
            shapes=self._shapes,
            dtypes=self._dtypes,
        )

    def number(self, value: Any, dtype: int) -> str:
        """A constant."""
        array = np.asarray(value, map_onnx_to_numpy_type(dtype))
        result: str = self.context.make_const(
            f"{self.name}/number_{next(self._count)}", array
        ).output[0]
        return result


def _floored(context: Any, node: Any, _: str, __: Any) -> None:
    """FloorMod: what is left of a division that rounds down.  tf2onnx takes x - y * (x / y), of whole numbers rounded to 0."""
    dtype = context.get_dtype(node.input[0])
    at = _Place(context, node)
    x, y = at.inputs
    if dtype not in _FLOATS:
        at.last("Mod", [x, y])
        return
    left, zero = at.step("Mod", [x, y], dtype, fmod=1), at.number(0, dtype)
    signs = [at.step("Less", [v, zero], TensorProto.BOOL) for v in (left, y)]
    differs = at.step("Xor", signs, TensorProto.BOOL)
    none = at.step("Equal", [left, zero], TensorProto.BOOL)
    some = at.step("Not", [none], TensorProto.BOOL)
    moved = at.step("And", [differs, some], TensorProto.BOOL)
    at.last("Where", [moved, at.step("Add", [left, y], dtype), left])


def _divided(context: Any, node: Any, _: str, __: Any) -> None:
    """FloorDiv, rounded down for whole numbers too."""
    dtype = context.get_dtype(node.input[0])
    at = _Place(context, node)
    x, y = at.inputs
    if dtype in _FLOATS:
        at.last("Floor", [at.step("Div", [x, y], dtype)])
        return
    whole = at.step("Sub", [x, at.step("Mod", [x, y], dtype)], dtype)
    at.last("Div", [whole, y])


def _chosen(context: Any, node: Any, _: str, __: Any) -> None:
    """Select and SelectV2.  tf2onnx multiplies by 0 and 1, which makes nan of infinities that are not chosen."""
    shape = context.get_shape(node.input[0])
    rank = context.get_rank(node.output[0])
    rows = node.type == "Select" and shape is not None and len(shape) == 1
    if rows and rank is None:
        raise ValueError("the rank of what Select chooses of is not known")
    at = _Place(context, node)
    flag, x, y = at.inputs
    if rows and rank > 1:
        axes = at.number(np.arange(1, rank), TensorProto.INT64)
        flag = at.step("Unsqueeze", [flag, axes], TensorProto.BOOL)
    at.last("Where", [flag, x, y])


def _one_hot(context: Any, node: Any, _: str, __: Any) -> None:
    """OneHot by comparing, since ONNX' own counts negative indices from the end."""
    rank = context.get_rank(node.input[0])
    if rank is None:
        raise ValueError("the rank of OneHot's indices is not known")
    axis = node.get_attr_value("axis", -1)
    axis = rank if axis == -1 else axis
    at = _Place(context, node)
    indices, depth, on, off = at.inputs
    int64 = TensorProto.INT64
    indices = at.step("Cast", [indices], int64, to=int64)
    indices = at.step("Unsqueeze", [indices, at.number([axis], int64)], int64)
    depth = at.step("Cast", [depth], int64, to=int64)
    levels = at.step("Range", [at.number(0, int64), depth, at.number(1, int64)], int64)
    if axis < rank:
        levels = at.step(
            "Unsqueeze", [levels, at.number(np.arange(1, rank - axis + 1), int64)], int64
        )
    hit = at.step("Equal", [indices, levels], TensorProto.BOOL)
    at.last("Where", [hit, on, off])


def _scattered(context: Any, node: Any, _: str, __: Any) -> None:
    """ScatterNd adds what goes to one place."""
    ScatterND.version_11(context, node)
    node.set_attr("reduction", "add")


HANDLERS: Mapping[str, Any] = {
    "FloorMod": (_floored, []),
    "FloorDiv": (_divided, []),
    "Select": (_chosen, []),
    "SelectV2": (_chosen, []),
    "OneHot": (_one_hot, []),
    "ScatterNd": (_scattered, ["ScatterND"]),
}
"""For tf2onnx."""
