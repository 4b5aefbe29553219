"""Operators that quantize: fake ones of training, and those that PyTorch's own tools (pt2e) put into exported programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType, i8, i16, u8
from camshaft.ops import functional as F

_HELD = (u8, i8, i16)
"""Types of levels, the first that has all of a range is taken."""


@handles("camshaft::fake_quantize")
def fake_quantize(c: Call) -> Tensor:
    """Fake quantization of `camshaft.torch.qat`."""
    return _faked(c, c.tensor("x"), int(c["low"]), int(c["high"]), int(c["axis"]))


@handles("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine")
@handles("fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask")
@handles("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams")
def torch_fake_quantize(c: Call) -> Tensor | list[Tensor | None]:
    """PyTorch's own fake quantization."""
    axis = int(c.get("axis", 0))
    y = _faked(c, c.tensor("self"), int(c["quant_min"]), int(c["quant_max"]), axis)
    return [y, None] if len(c.results) > 1 else y


def _faked(c: Call, x: Tensor, low: int, high: int, axis: int) -> Tensor:
    """Quantized and dequantized; levels that the type has beyond the range are cut off where a value can reach them."""
    dtype = next((t for t in _HELD if t.range[0] <= low and high <= t.range[1]), None)
    if dtype is None:
        raise c.refuse(f"levels from {low} to {high} are no integers of 8 or 16 bits")
    scale, points = _parameters(c, "scale", "zero_point", dtype)
    scales, zeros = _constants(c, scale, points)
    if (low, high) != dtype.range:
        x = _within(c, x, scale, points, low, high, axis)
    q = F.quantize(c.builder, x, scales, zeros, axis=axis)
    if q.is_const:
        q = c.builder.constant(q.array, f"{x.name}:int8")
    return F.dequantize(c.builder, q, scales, zeros, axis=axis)


def _within(
    c: Call, x: Tensor, scale: np.ndarray, zero: np.ndarray, low: int, high: int, axis: int
) -> Tensor:
    """x where no level is beyond `low` and `high`: constants as they are if none is, others clipped to the ends' values."""
    lead = [-1 if a == axis % x.type.rank else 1 for a in range(x.type.rank)] if scale.ndim else []
    ends = [
        np.asarray((end - zero.astype(np.float64)) * scale, np.float32).reshape(lead)
        for end in (low, high)
    ]
    if x.is_const:
        if np.all(x.array >= ends[0]) and np.all(x.array <= ends[1]):
            return x
        return c.builder.constant(np.clip(x.array, *ends), x.name)
    held: list[Any] = [c.builder.constant(e, c.builder.local("end")) for e in ends]
    return F.clamp(c.builder, x, *held)


def _array(c: Call, name: str) -> np.ndarray:
    """A scale or zero point, which is a constant."""
    value = c[name]
    if isinstance(value, Tensor):
        if not value.is_const:
            raise c.refuse(f"its {name} is computed as the model runs")
        return np.asarray(value.array)
    return np.asarray(value)


@handles("quantized_decomposed::quantize_per_tensor", "quantized_decomposed::quantize_per_channel")
def quantize(c: Call) -> Tensor:
    """Quantization of pt2e."""
    dtype, low, high = c.dtype, int(c["quant_min"]), int(c["quant_max"])
    scale, points = _parameters(c, _one(c, "scale"), _one(c, "zero_point"), dtype)
    axis, x = int(c.get("axis", 0)), c.tensor("input")
    if (low, high) != dtype.range:
        x = _within(c, x, scale, points, low, high, axis)
    return F.quantize(c.builder, x, *_constants(c, scale, points), axis=axis)


@handles(
    "quantized_decomposed::dequantize_per_tensor", "quantized_decomposed::dequantize_per_channel"
)
def dequantize(c: Call) -> Tensor:
    """Its inverse."""
    x = c.tensor("input")
    scale, points = _parameters(c, _one(c, "scale"), _one(c, "zero_point"), x.type.dtype)
    axis = int(c.get("axis", 0))
    return F.dequantize(c.builder, x, *_constants(c, scale, points), axis=axis)


def _parameters(c: Call, scale: str, zero: str, dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points, of one shape; zero points that are not given are 0."""
    scales = _array(c, scale)
    points = np.zeros(()) if c.get(zero) is None else _array(c, zero)
    return scales, np.broadcast_to(np.rint(points), np.shape(scales)).astype(dtype.numpy)


def _constants(c: Call, scale: np.ndarray, points: np.ndarray) -> tuple[Tensor, Tensor]:
    """The same as tensors."""
    scales = c.builder.constant(np.asarray(scale, np.float32), c.builder.local("scale"))
    return scales, c.builder.constant(points, c.builder.local("zero_point"))


def _one(c: Call, name: str) -> str:
    """The name of an argument, which has an s where there are several."""
    return name if name in c.args else f"{name}s"
