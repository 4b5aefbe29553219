"""Scale and zero point: from a range to numbers, and the meaning of those numbers in NumPy.

The third stage of calibration, between the solvers' ranges and the Q/DQ nodes of the graph; also
where weights get their scales.  The arithmetic is ONNX's and lives in `ops.quantize`; here it is
only called.

Symmetric int8: scale = amax / 127, zero point 0.  Affine: x = scale * (q - zero_point), the zero
point an integer, so that 0.0 (padding, what a ReLU cuts off) is represented exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from camshaft.errors import CalibrationError
from camshaft.ir.types import DType, dtype_of, f32, i8, u8
from camshaft.ops.quantize import DEQUANTIZE, QUANTIZE

# The reciprocal of a smaller scale overflows float32.
SMALLEST_SCALE = f32.tiny

FEWEST_TERMS = 32
"""Terms of a sum below which rounding shows and INT8 gains nothing, where nothing says that it must be."""


@dataclass(frozen=True, eq=False)
class QuantParams:
    """How a float tensor is represented by integers: x ~ scale * (q - zero_point).

    scale: float32, [] or, with an axis, [K].  zero_point: of element type `dtype`, same shape.
    axis: the axis of the tensor that scale and zero_point run along; None: one for all.
    narrow: int8 without its -128, as weights use it.
    Two are equal if all of it is, to the bit.  Arrays are copied and read-only.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: DType
    axis: int | None = None
    narrow: bool = False

    def __post_init__(self) -> None:
        scale = np.array(self.scale, np.float32)
        zero_point = np.array(self.zero_point)
        if not (np.isfinite(scale).all() and (scale >= SMALLEST_SCALE).all()):
            raise CalibrationError(f"scale {scale} must be finite and at least {SMALLEST_SCALE}")
        if scale.ndim != (0 if self.axis is None else 1) or zero_point.shape != scale.shape:
            raise CalibrationError(
                f"scale {list(scale.shape)} and zero point {list(zero_point.shape)} must be "
                f"{'scalars' if self.axis is None else 'vectors of one length'}"
            )
        low, high = self.dtype.range
        if (
            zero_point.dtype.kind not in "iu"
            or (zero_point < low).any()
            or (zero_point > high).any()
        ):
            raise CalibrationError(f"zero point {zero_point} is no {self.dtype}")
        zero_point = zero_point.astype(self.dtype.numpy)
        for array in (scale, zero_point):
            array.flags.writeable = False
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    def _identity(self) -> tuple[object, ...]:
        arrays = self.scale.tobytes(), self.zero_point.tobytes(), self.scale.shape
        return (*arrays, self.dtype, self.axis, self.narrow)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantParams) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def levels(self) -> tuple[int, int]:
        """Least and greatest q."""
        low, high = self.dtype.range
        return (low + 1, high) if self.narrow else (low, high)

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest value represented, float64, shaped as scale."""
        low, high = self.levels
        zero, scale = self.zero_point.astype(np.int64), self.scale.astype(np.float64)
        return np.asarray((low - zero) * scale), np.asarray((high - zero) * scale)


def params_from_amax(amax: float, dtype: DType = i8) -> QuantParams:
    """Symmetric parameters, one for all: scale = amax / 127 (the type's largest value).

    amax: threshold of |x|; 0 (a tensor that was always zero) gives scale 1.
    CalibrationError if it is negative or not finite, or `dtype` is unsigned.
    """
    if dtype.kind != "i":
        raise CalibrationError(f"symmetric quantization needs a signed type, not {dtype}")
    _check_range(-amax, amax)
    scale = _scale(np.asarray(amax), dtype.range[1])
    return QuantParams(scale, np.zeros((), dtype.numpy), dtype)


def params_from_range(low: float, high: float, dtype: DType = u8) -> QuantParams:
    """Affine parameters, one for all: [low, high], widened to hold zero, over all levels.

    The zero point is rounded to an integer, which moves the interval by at most half a step.
    An interval of width 0 gives scale 1.  CalibrationError if a bound is not finite or low > high.
    """
    _check_range(low, high)
    low, high = min(low, 0.0), max(high, 0.0)
    first, last = dtype.range
    scale = _scale(np.asarray(high - low), last - first)
    zero = round(first - low / float(scale))
    return QuantParams(scale, np.asarray(min(max(zero, first), last), dtype.numpy), dtype)


def weight_params(weight: np.ndarray, axis: int | None, name: str = "weight") -> QuantParams:
    """Symmetric int8 parameters of a constant, q in [-127, 127]; nothing is clipped.

    weight: float32, any rank.  axis: the output channels, a scale for each; None: one scale.
    name: for error messages.  A channel of zeros gets scale 1.
    CalibrationError if a value is not finite.
    """
    if axis is not None:
        axis = range(weight.ndim)[axis]
    others = tuple(d for d in range(weight.ndim) if d != axis)
    amax = np.abs(weight).max(axis=others, initial=0.0)
    if not np.isfinite(amax).all():
        raise CalibrationError(f"{name!r} holds NaN or infinity; it cannot be quantized")
    scale = _scale(amax, 127)
    return QuantParams(scale, np.zeros(scale.shape, np.int8), i8, axis, narrow=True)


def quantize(x: np.ndarray, params: QuantParams) -> np.ndarray:
    """saturate(round_half_even(x / scale) + zero_point), as ONNX QuantizeLinear; NaN gives zero.

    x: float32.  Returns an array of params.dtype, shaped as x.
    """
    arrays = (np.asarray(x, np.float32), params.scale, params.zero_point)
    q = QUANTIZE.reference(arrays, {"axis": params.axis or 0})[0]
    return np.maximum(q, q.dtype.type(params.levels[0])) if params.narrow else q


def dequantize(q: np.ndarray, params: QuantParams) -> np.ndarray:
    """(q - zero_point) * scale in float32, as ONNX DequantizeLinear.

    CalibrationError if q is not of params.dtype.
    """
    if dtype_of(q) != params.dtype:
        raise CalibrationError(f"an array of {dtype_of(q)} was not quantized with {params.dtype}")
    return DEQUANTIZE.reference((q, params.scale, params.zero_point), {"axis": params.axis or 0})[0]


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise CalibrationError(f"[{low}, {high}] is no range: give finite bounds, low <= high")


def _scale(span: np.ndarray, steps: int) -> np.ndarray:
    """span / steps in float32, kept invertible; 1 where the span is 0."""
    scale = np.asarray(span, np.float64) / steps
    scale = np.where(scale == 0, 1.0, np.maximum(scale, SMALLEST_SCALE))
    return np.asarray(scale, np.float32)
