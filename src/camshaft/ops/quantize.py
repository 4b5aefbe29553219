"""QuantizeLinear and DequantizeLinear: the one semantics of quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import ceil_div
from camshaft.ir.op import Attr, Attribute, OpDef, Perm, Reordering, Role, Types
from camshaft.ir.types import TensorType, f32
from camshaft.ops.common import axis_follows, normal_axis

Attrs = Mapping[str, Any]


def _check(types: Sequence[TensorType], attrs: Attrs) -> None:
    x, scale, zero = types
    misfit = f"scale {scale} must be f32 and shaped as zero point {zero}"
    if scale.dtype != f32 or scale.rank != zero.rank:
        raise ModelError(misfit)
    if attrs.get("block"):
        axis = normal_axis(attrs["axis"], x.rank)
        blocks = ceil_div(x.shape[axis], attrs["block"])
        if scale.shape != (*x.shape[:axis], blocks, *x.shape[axis + 1 :]):
            raise ModelError(f"scale {scale} is not one for each {attrs['block']} of {x}")
        return
    if scale.rank > 1:
        raise ModelError(f"scale {scale} has several axes, and nothing says what blocks it is of")
    if scale.rank == 1:
        require_equal(scale.shape[0], zero.shape[0], misfit)
        along = x.shape[normal_axis(attrs["axis"], x.rank)]
        require_equal(
            along, scale.shape[0], f"scale {scale} does not fit axis {attrs['axis']} of {x}"
        )


def along_axis(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A per-channel vector shaped to broadcast along `axis`; scalars are returned as they are."""
    if values.ndim == 0:
        return values
    shape = [1] * rank
    shape[normal_axis(axis, rank)] = -1
    return values.reshape(shape)


def _quantize_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    _check(types, attrs)
    if types[0].dtype != f32:
        raise ModelError(f"only f32 is quantized, not {types[0]}")
    return [TensorType(types[2].dtype, types[0].shape)]


def _quantize_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, scale, zero = arrays
    low, high = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
    with np.errstate(divide="ignore", invalid="ignore"):  # a scale of 0 is legal
        q = np.rint(x / along_axis(scale, attrs["axis"], x.ndim))
    q = q + along_axis(zero, attrs["axis"], x.ndim).astype(np.float32)
    return [np.clip(np.where(np.isnan(q), low, q), low, high).astype(zero.dtype)]


def _scale_axis(perm: Perm, types: Types, attrs: Attrs) -> Mapping[str, Attr]:
    return axis_follows(perm, types, attrs) if types[1].rank else {"axis": 0}


_AXIS = Attribute("along which a scale with several elements runs", 1)
_REORDERING = Reordering((Role.ALIGNED, Role.OWN), _scale_axis)

QUANTIZE = OpDef(
    "quantize",
    "Integers of floats: saturate(round_half_even(x / scale) + zero).  Inputs: x f32, scale f32 [] or "
    "[K], zero point of the result's type and of the scale's shape.",
    _quantize_infer,
    _quantize_reference,
    {"axis": _AXIS},
    "quantization",
    reordering=_REORDERING,
)


def _dequantize_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    _check(types, attrs)
    if types[0].dtype != types[2].dtype:
        raise ModelError(f"zero point {types[2]} is not of the type of {types[0]}")
    return [TensorType(f32, types[0].shape)]


def _dequantize_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, scale, zero = arrays
    if attrs.get("block"):
        axis = normal_axis(attrs["axis"], x.ndim)
        index = np.arange(x.shape[axis]) // attrs["block"]
        scale, zero = scale.take(index, axis), zero.take(index, axis)
    else:
        scale, zero = (along_axis(a, attrs["axis"], x.ndim) for a in (scale, zero))
    wide = x.astype(np.int32 if x.dtype.itemsize < 4 else np.int64) - zero.astype(np.int64)
    return [wide.astype(np.float32) * scale]


DEQUANTIZE = OpDef(
    "dequantize",
    "Floats of integers: (x - zero) scale, inputs as of quantize; or scales and zero points for blocks "
    "along `axis`, in tensors of x's rank.  Never folded: a dequantized weight stays recognisable as INT8.",
    _dequantize_infer,
    _dequantize_reference,
    {
        "axis": _AXIS,
        "block": Attribute("how many neighbours along the axis share a scale; 0: no blocks", 0),
    },
    "quantization",
    folds=False,
    reordering=_REORDERING,
)

OPS = (QUANTIZE, DEQUANTIZE)
