"""What layers of files show of nodes whose attributes are not their properties as they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.modes import (
    BoundingBoxFormat,
    GatherMode,
    InterpolationMode,
    ResizeCoordinateTransformation,
    ResizeRoundMode,
    ResizeSelector,
    SampleMode,
    ScaleMode,
    ScatterMode,
)
from camshaft.tensorrt.enums.operations import CumulativeOperation, FillOperation, TopKOperation
from camshaft.tensorrt.network.files.read import Read
from camshaft.tensorrt.network.record import Later, Record
from camshaft.tensorrt.weights import Weights

_INT64, _FLOAT = DataType.INT64, DataType.FLOAT
_STRICT, _FILL = SampleMode.STRICT_BOUNDS, SampleMode.FILL
_PADS = {"constant": _FILL, "reflect": SampleMode.REFLECT, "edge": SampleMode.CLAMP, "wrap": SampleMode.WRAP}  # fmt: skip
_OUTSIDE = {"zeros": _FILL, "border": SampleMode.CLAMP, "reflection": SampleMode.REFLECT}
_BETWEEN = {
    "nearest": InterpolationMode.NEAREST,
    "linear": InterpolationMode.LINEAR,
    "bilinear": InterpolationMode.LINEAR,
    "cubic": InterpolationMode.CUBIC,
    "bicubic": InterpolationMode.CUBIC,
}
_HALF_PIXEL = ResizeCoordinateTransformation.HALF_PIXEL
_PLACES = {
    "half_pixel": _HALF_PIXEL,
    "pytorch_half_pixel": _HALF_PIXEL,
    "asymmetric": ResizeCoordinateTransformation.ASYMMETRIC,
    "align_corners": ResizeCoordinateTransformation.ALIGN_CORNERS,
}
_ROUNDINGS = {
    "round_prefer_floor": ResizeRoundMode.HALF_DOWN,
    "round_prefer_ceil": ResizeRoundMode.HALF_UP,
    "floor": ResizeRoundMode.FLOOR,
    "ceil": ResizeRoundMode.CEIL,
}
_GATHERS = {
    "Gather": GatherMode.DEFAULT,
    "GatherElements": GatherMode.ELEMENT,
    "GatherND": GatherMode.ND,
}

# -- what hangs on shapes --------------------------------------------------------------------------


def axis_of(axis: int, *, more: int = 0) -> Any:
    """An axis, counted from the front.  more: axes that the layer adds to those of its input."""
    return axis if axis >= 0 else Later(lambda record: _from_end(record, axis + more))


def bits_of(axes: Sequence[int] | None) -> Any:
    """A bit for each axis.  None: all axes."""
    if axes is not None and all(axis >= 0 for axis in axes):
        return sum(1 << int(axis) for axis in axes)

    def late(record: Record) -> int | None:
        rank = _rank(record)
        if rank is None:
            return None
        return sum(1 << int(axis) % rank for axis in (range(rank) if axes is None else axes))

    return Later(late)


def bits_from(first: int) -> Later:
    """A bit for each axis from one on."""

    def late(record: Record) -> int | None:
        rank = _rank(record)
        return None if rank is None else sum(1 << axis for axis in range(first % rank, rank))

    return Later(late)


def _rank(record: Record) -> int | None:
    shape = _shape(record)
    return len(shape) if shape else None


def _shape(record: Record) -> tuple[int, ...] | None:
    source = record.inputs[0] if record.inputs else None
    return None if source is None else record.graph._shape_of(source)


def _from_end(record: Record, axis: int) -> int | None:
    rank = _rank(record)
    return None if rank is None else rank + axis


def _output_shape(record: Record) -> tuple[int, ...] | None:
    return record.graph._shape_of(record.outputs[0])


_OUTPUT_SHAPE = Later(_output_shape)
CHANNELS = Later(lambda record: (_output_shape(record) or (None, None))[1])
"""Of the output."""
_OUTPUT_TYPE = Later(lambda record: record.graph._type_of(record.outputs[0]))

# -- parts of tensors ------------------------------------------------------------------------------


def gather(read: Read) -> dict[str, Any]:
    """Of Gather, GatherElements and GatherND."""
    a = read.attributes
    return {
        "axis": axis_of(a.get("axis", 0)),
        "mode": _GATHERS[read.node.op_type],
        "num_elementwise_dims": a.get("batch_dims", 0),
    }


def scatter(read: Read) -> dict[str, Any]:
    """Of ScatterElements, Scatter and ScatterND."""
    is_nd = read.node.op_type == "ScatterND"
    axis = axis_of(read.attributes.get("axis", 0))
    return {"axis": axis, "mode": ScatterMode.ND if is_nd else ScatterMode.ELEMENT}


def part(read: Read) -> dict[str, Any]:
    """Of Slice."""
    made: dict[str, Any] = {"axes": (), "mode": _STRICT, "shape": _OUTPUT_SHAPE}
    a = read.attributes
    starts, axes = a.get("starts", read.constant(1)), a.get("axes", read.constant(3))
    steps = read.constant(4)
    lacks = [i for i in (1, 3, 4) if _is_given(read, i) and read.constant(i) is None]
    if starts is None or lacks:
        return made
    places = [*range(len(starts))] if axes is None else [int(axis) for axis in axes]
    taken = [1] * len(places) if steps is None else [int(step) for step in steps]
    made["start"] = Later(lambda record: _starts(record, places, [int(s) for s in starts], taken))
    made["stride"] = Later(lambda record: _spread(record, places, taken))
    return made


def _is_given(read: Read, index: int) -> bool:
    return index < len(read.node.input) and bool(read.node.input[index])


def _spread(record: Record, axes: Sequence[int], values: Sequence[int], rest: int = 1) -> Any:
    rank = _rank(record)
    if rank is None:
        return None
    made = [rest] * rank
    for axis, value in zip(axes, values, strict=True):
        made[axis] = value
    return tuple(made)


def _starts(
    record: Record, axes: Sequence[int], starts: Sequence[int], steps: Sequence[int]
) -> tuple[int, ...] | None:
    shape = _shape(record)
    if not shape:
        return None
    made = [0] * len(shape)
    for axis, start, step in zip(axes, starts, steps, strict=True):
        extent = shape[axis]
        if extent < 0 and (start < 0 or step < 0):
            return None
        counted = start + extent if start < 0 else start
        last = extent if step > 0 else extent - 1
        made[axis] = max(counted, 0) if extent < 0 else min(max(counted, 0), last)
    return tuple(made)


def pad(read: Read) -> dict[str, Any]:
    """Of Pad."""
    mode = read.attributes.get("mode", b"constant").decode()
    made: dict[str, Any] = {"axes": (), "mode": _PADS[mode], "shape": _OUTPUT_SHAPE}
    pads = read.attributes.get("pads", read.constant(1))
    axes = read.constant(3)
    if pads is None or (axes is None and _is_given(read, 3)):
        return made
    before = [-int(p) for p in pads[: len(pads) // 2]]
    places = [*range(len(before))] if axes is None else [int(axis) for axis in axes]
    made["start"] = Later(lambda record: _spread(record, places, before, 0))
    made["stride"] = Later(lambda record: _spread(record, (), ()))
    return made


def expand(read: Read) -> dict[str, Any]:
    """Of Expand: steps of 0 repeat."""

    def stride(record: Record) -> tuple[int, ...] | None:
        shape, wide = _shape(record), _output_shape(record)
        if shape is None or wide is None:
            return None
        own = (1,) * (len(wide) - len(shape)) + shape
        return tuple(int(extent != 1) for extent in own)

    start = Later(lambda r: None if (wide := _output_shape(r)) is None else (0,) * len(wide))
    return {
        "axes": (),
        "mode": _STRICT,
        "shape": _OUTPUT_SHAPE,
        "start": start,
        "stride": Later(stride),
    }


def one_hot(read: Read) -> dict[str, Any]:
    """Of OneHot."""
    return {"axis": axis_of(read.attributes.get("axis", -1), more=1)}


def reverse_sequence(read: Read) -> dict[str, Any]:
    """Of ReverseSequence."""
    a = read.attributes
    return {"batch_axis": a.get("batch_axis", 1), "sequence_axis": a.get("time_axis", 0)}


def boxes(read: Read) -> dict[str, Any]:
    """Of NonMaxSuppression."""
    is_center = read.attributes.get("center_point_box", 0)
    form = BoundingBoxFormat.CENTER_SIZES if is_center else BoundingBoxFormat.CORNER_PAIRS
    return {"bounding_box_format": form, "topk_box_limit": -1, "indices_type": _INT64}


# -- sums, normalizations, scales ------------------------------------------------------------------


def cumulative(read: Read) -> dict[str, Any]:
    """Of CumSum."""
    way = {name: bool(read.attributes.get(name, 0)) for name in ("exclusive", "reverse")}
    return {"op": CumulativeOperation.SUM, **way}


def top(read: Read) -> dict[str, Any]:
    """Of TopK, ArgMax and ArgMin."""
    a, kind = read.attributes, read.node.op_type
    is_top = kind == "TopK"
    is_max = a.get("largest", 1) if is_top else kind == "ArgMax"
    made = {
        "op": TopKOperation.MAX if is_max else TopKOperation.MIN,
        "axes": bits_of([a.get("axis", -1 if is_top else 0)]),
        "indices_type": _INT64,
    }
    count = a.get("k", read.constant(1)) if is_top else 1
    return made if count is None else {**made, "k": int(np.ravel(count)[0])}


def normalization(read: Read) -> dict[str, Any]:
    """Of InstanceNormalization, LayerNormalization and GroupNormalization."""
    a, kind = read.attributes, read.node.op_type
    groups = a.get("num_groups", 1)
    made = {
        "epsilon": a.get("epsilon", 1e-5),
        "axes": bits_from(a.get("axis", -1) if kind == "LayerNormalization" else 2),
        "num_groups": groups,
        "compute_precision": _FLOAT,
        "is_v2": False,
    }
    scale = read.constant(1)
    if kind == "GroupNormalization":
        made["is_v2"] = scale is None or scale.size != groups  # by channel, since opset 21
    return made


def batch_normalization(read: Read) -> dict[str, Any]:
    """Of BatchNormalization: what it does to a channel."""
    made: dict[str, Any] = {"mode": ScaleMode.CHANNEL, "channel_axis": 1}
    given = [read.constant(i) for i in range(1, 5)]
    held = [array.astype(np.float64) for array in given if array is not None]
    if len(held) < len(given):
        return made
    gamma, beta, mean, variance = held
    scale = gamma / np.sqrt(variance + read.attributes.get("epsilon", 1e-5))
    shift = beta - mean * scale
    # The node keeps its own four: these are no weights that a refit names.
    found = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
    made |= {name: _shown_weights(array) for name, array in found.items()}
    return {**made, "power": Later(lambda _: Weights())}


def _shown_weights(array: np.ndarray[Any, Any]) -> Later:
    return Later(lambda _: Weights(array))


def quantization(read: Read) -> dict[str, Any]:
    """Of QuantizeLinear and DequantizeLinear."""
    scale = read.constant(1)
    is_one = scale is not None and scale.size == 1
    axis = -1 if is_one else axis_of(read.attributes.get("axis", 1))
    return {"axis": axis, "block_shape": (), "to_type": _OUTPUT_TYPE}


# -- pictures --------------------------------------------------------------------------------------


def resize(read: Read) -> dict[str, Any]:
    """Of Resize and Upsample."""
    a, is_old = read.attributes, len(read.node.input) <= 2
    place = a.get("coordinate_transformation_mode", b"asymmetric" if is_old else b"half_pixel")
    rounding = a.get("nearest_mode", b"floor" if is_old else b"round_prefer_floor")
    scales = a.get("scales", read.constant(1 if is_old else 2))
    sizes = read.constant(3)
    is_upper = place == b"pytorch_half_pixel"
    made = {
        "shape": () if sizes is None else tuple(int(s) for s in sizes),
        "scales": () if scales is None else tuple(float(s) for s in scales),
        "resize_mode": _BETWEEN[a.get("mode", b"nearest").decode()],
        "selector_for_single_pixel": ResizeSelector.UPPER if is_upper else ResizeSelector.FORMULA,
        "nearest_rounding": _ROUNDINGS[rounding.decode()],
        "exclude_outside": bool(a.get("exclude_outside", 0)),
        "cubic_coeff": a.get("cubic_coeff_a", -0.75),
    }
    known = _PLACES.get(place.decode())
    return made if known is None else {**made, "coordinate_transformation": known}


def grid_sample(read: Read) -> dict[str, Any]:
    """Of GridSample."""
    a = read.attributes
    return {
        "interpolation_mode": _BETWEEN[a.get("mode", b"linear").decode()],
        "align_corners": bool(a.get("align_corners", 0)),
        "sample_mode": _OUTSIDE[a.get("padding_mode", b"zeros").decode()],
    }


def lrn(read: Read) -> dict[str, Any]:
    """Of LRN."""
    a = read.attributes
    factors = {"alpha": a.get("alpha", 1e-4), "beta": a.get("beta", 0.75), "k": a.get("bias", 1.0)}
    return {"window_size": a["size"], **factors}


# -- tensors out of nothing ------------------------------------------------------------------------

_RANDOM = {
    "Uniform": (FillOperation.RANDOM_UNIFORM, "low", "high", (0.0, 1.0)),
    "Normal": (FillOperation.RANDOM_NORMAL, "mean", "scale", (0.0, 1.0)),
}


def random(kind: str) -> Callable[[Read], dict[str, Any]]:
    """Of RandomUniform, RandomNormal and those like a tensor.  kind: Uniform or Normal."""
    operation, first, second, usual = _RANDOM[kind]

    def reads(read: Read) -> dict[str, Any]:
        a = read.attributes
        return _filled(operation, a.get(first, usual[0]), a.get(second, usual[1]))

    return reads


def span(read: Read) -> dict[str, Any]:
    """Of Range."""
    start, step = read.constant(0), read.constant(2)
    if start is None or step is None:
        return _filled(FillOperation.LINSPACE, 0.0, 1.0)
    return _filled(FillOperation.LINSPACE, start.item(), step.item())


def constant_of_shape(read: Read) -> dict[str, Any]:
    """Of ConstantOfShape."""
    value = read.value("value")
    return _filled(FillOperation.LINSPACE, 0.0 if value is None else value.item(), 0.0)


def _filled(operation: FillOperation, alpha: float, beta: float) -> dict[str, Any]:
    spans = {"alpha": alpha, "beta": beta}
    return {"shape": _OUTPUT_SHAPE, "operation": operation, "to_type": _OUTPUT_TYPE, **spans}
