"""What layers show of ONNX's operators that compute: resizes, norms, quantizers, fills."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.modes import (
    InterpolationMode,
    ResizeCoordinateTransformation,
    ResizeRoundMode,
    ResizeSelector,
    SampleMode,
    ScaleMode,
)
from camshaft.tensorrt.enums.operations import CumulativeOperation, FillOperation
from camshaft.tensorrt.network.files.node import (
    Read,
    bits_from,
    made_shape,
    made_type,
    shape_of,
    weights,
)
from camshaft.tensorrt.network.record import Late, Record
from camshaft.tensorrt.weights import Weights

_AT, _ROUND = ResizeCoordinateTransformation, ResizeRoundMode
_COORDINATES = {
    "half_pixel": _AT.HALF_PIXEL,
    "pytorch_half_pixel": _AT.HALF_PIXEL,
    "asymmetric": _AT.ASYMMETRIC,
    "align_corners": _AT.ALIGN_CORNERS,
}
_ROUNDINGS = {
    "round_prefer_floor": _ROUND.HALF_DOWN,
    "round_prefer_ceil": _ROUND.HALF_UP,
    "floor": _ROUND.FLOOR,
    "ceil": _ROUND.CEIL,
}
_MODES = {
    "nearest": InterpolationMode.NEAREST,
    "linear": InterpolationMode.LINEAR,
    "bilinear": InterpolationMode.LINEAR,
    "cubic": InterpolationMode.CUBIC,
    "bicubic": InterpolationMode.CUBIC,
}
_OUTSIDE = {
    "zeros": SampleMode.FILL,
    "border": SampleMode.CLAMP,
    "reflection": SampleMode.REFLECT,
}
_LINSPACE = FillOperation.LINSPACE


def resizes(read: Read) -> dict[str, Any]:
    """Resize and Upsample; sizes and scales are empty where inputs say them that are no constants."""
    is_old = read.node.op_type == "Upsample" or read.opset < 11
    at = read.word("coordinate_transformation_mode", "asymmetric" if is_old else "half_pixel")
    upper = at == "pytorch_half_pixel"
    return {
        "shape": () if is_old else tuple(read.listed("", 3) or ()),
        "scales": tuple(read.listed("scales", 1 if is_old else 2) or ()),
        "resize_mode": _MODES[read.word("mode", "nearest")],
        "coordinate_transformation": _COORDINATES[at],
        "selector_for_single_pixel": ResizeSelector.UPPER if upper else ResizeSelector.FORMULA,
        "nearest_rounding": _ROUNDINGS[
            read.word("nearest_mode", "floor" if is_old else "round_prefer_floor")
        ],
        "exclude_outside": bool(read.attributes.get("exclude_outside", 0)),
        "cubic_coeff": read.attributes.get("cubic_coeff_a", -0.75),
    }


def grids(read: Read) -> dict[str, Any]:
    """GridSample."""
    return {
        "interpolation_mode": _MODES[read.word("mode", "linear")],
        "align_corners": bool(read.attributes.get("align_corners", 0)),
        "sample_mode": _OUTSIDE[read.word("padding_mode", "zeros")],
    }


def across_channels(read: Read) -> dict[str, Any]:
    """LRN."""
    a = read.attributes
    numbers = {"alpha": a.get("alpha", 1e-4), "beta": a.get("beta", 0.75), "k": a.get("bias", 1.0)}
    return {"window_size": a["size"], **numbers}


def norms(read: Read) -> dict[str, Any]:
    """InstanceNormalization, LayerNormalization, GroupNormalization."""
    a, kind = read.attributes, read.node.op_type
    return {
        "epsilon": a.get("epsilon", 1e-5),
        "axes": bits_from(a.get("axis", -1) if kind == "LayerNormalization" else 2),
        "num_groups": a.get("num_groups", 1),
        "compute_precision": DataType.FLOAT,
        "is_v2": kind == "GroupNormalization" and read.opset >= 21,
    }


def batch_norm(read: Read) -> dict[str, Any]:
    """A scale and a shift for each channel, into which mean and variance are folded."""
    scale, bias, mean, variance = (read.constant(i) for i in range(1, 5))
    epsilon = read.attributes.get("epsilon", 1e-5)

    def factor(record: Record) -> Weights:
        if scale is None or variance is None:
            return Weights()
        return weights((scale / np.sqrt(variance + epsilon)).astype(scale.dtype))

    def shift(record: Record) -> Weights:
        factors = factor(record)
        if bias is None or mean is None or not factors.size:
            return Weights()
        return weights((bias - mean * factors.numpy()).astype(bias.dtype))

    held = {"scale": Late(factor), "shift": Late(shift), "power": Weights()}
    return {"mode": ScaleMode.CHANNEL, "channel_axis": 1, **held}


def sums(read: Read) -> dict[str, Any]:
    """CumSum."""
    a = read.attributes
    flags = {name: bool(a.get(name, 0)) for name in ("exclusive", "reverse")}
    return {"op": CumulativeOperation.SUM, **flags}


def einsum(read: Read) -> dict[str, Any]:
    """Einsum."""
    return {"equation": read.word("equation", "")}


def quantizers(read: Read) -> dict[str, Any]:
    """QuantizeLinear and DequantizeLinear; axis -1: one scale for all."""
    said, block = read.attributes.get("axis", 1), read.attributes.get("block_size", 0)

    def by_index(record: Record) -> int:
        scales = shape_of(record, 1)
        return -1 if scales in ((), (1,)) else int(said) % len(shape_of(record))

    def blocks(record: Record) -> tuple[int, ...]:
        rank = len(shape_of(record))
        return tuple(block if a == said % rank else 1 for a in range(rank)) if block else ()

    return {"axis": Late(by_index), "block_shape": Late(blocks), "to_type": made_type()}


def fills(read: Read) -> dict[str, Any]:
    """ConstantOfShape, Range, and random numbers."""
    a, kind = read.attributes, read.node.op_type
    if kind.startswith("Random"):
        is_uniform = "Uniform" in kind
        names = (("low", 0.0), ("high", 1.0)) if is_uniform else (("mean", 0.0), ("scale", 1.0))
        alpha, beta = (a.get(name, default) for name, default in names)
        operation = FillOperation.RANDOM_UNIFORM if is_uniform else FillOperation.RANDOM_NORMAL
    elif kind == "Range":
        operation = _LINSPACE
        start, step = ((read.listed("", i) or [d])[0] for i, d in ((0, 0), (2, 1)))
        alpha, beta = start, step
    else:
        value = a.get("value")
        operation, beta = _LINSPACE, 0
        alpha = 0.0 if value is None else numpy_helper.to_array(value).reshape(-1)[0].item()
    return {
        "shape": Late(made_shape),
        "operation": operation,
        "alpha": alpha,
        "beta": beta,
        "to_type": made_type(),
    }
