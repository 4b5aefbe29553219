"""Quantization and integer arithmetic: QuantizeLinear, MatMulInteger, QLinearConv and their kin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of, computed
from camshaft.ops.hosted.spatial.convolution import integer_sums

Array = np.ndarray


def _spread(v: Array, x: Array, axis: int, block: int) -> Array:
    """Scales or zero points in the shape of x: one for all, one along an axis, or one a block."""
    if v.size == 1 and v.ndim <= 1:
        return v.reshape(())
    axis = axis_of(axis, x.ndim)
    if not block:
        if v.shape != (x.shape[axis],):
            raise ModelError(
                f"scales or zero points {list(v.shape)} do not fit axis {axis} of {list(x.shape)}"
            )
        return v.reshape(-1, *[1] * (x.ndim - 1 - axis))
    expected = [-(-n // block) if a == axis else n for a, n in enumerate(x.shape)]
    if list(v.shape) != expected:
        raise ModelError(f"scales or zero points {list(v.shape)} are not {expected}, one a block")
    return np.take(np.repeat(v, block, axis), range(x.shape[axis]), axis)


def _quantized(x: Array, scale: Array, zero: Array, dtype: np.dtype) -> Array:
    """x / scale rounded, halves to the even number, plus the zero point, within the type's range."""
    info = np.iinfo(dtype)
    y = np.rint(x / scale).astype(np.float64) + zero.astype(np.float64)
    return np.asarray(np.clip(y, info.min, info.max).astype(dtype))


def quantize_linear(call: Call) -> Sequence[Value]:
    """QuantizeLinear(x, y_scale, y_zero_point) to integers of 8, 16 or 32 bits."""
    x, scale, zero = call.array(0), call.array(1), call.given(2)
    if zero is not None:
        dtype = zero.dtype
    else:
        dtype = (
            call.attr_type("output_dtype") if call.attr_int("output_dtype") else np.dtype(np.uint8)
        )
    axis, block = call.attr_int("axis", 1), call.attr_int("block_size")
    wide = computed(x) if x.dtype.kind == "f" else x.astype(np.float32)
    spread = _spread(computed(scale), x, axis, block)
    zeros = np.zeros((), dtype) if zero is None else _spread(zero, x, axis, block)
    return [_quantized(wide, spread, zeros, dtype)]


def dequantize_linear(call: Call) -> Sequence[Value]:
    """DequantizeLinear(x, x_scale, x_zero_point), in the scale's type."""
    x, scale, zero = call.array(0), call.array(1), call.given(2)
    axis, block = call.attr_int("axis", 1), call.attr_int("block_size")
    dtype = call.attr_type("output_dtype") if call.attr_int("output_dtype") else scale.dtype
    spread = _spread(computed(scale), x, axis, block)
    zeros = 0 if zero is None else _spread(zero, x, axis, block).astype(np.int64)
    return [((x.astype(np.int64) - zeros).astype(spread.dtype) * spread).astype(dtype)]


def dynamic_quantize_linear(call: Call) -> Sequence[Value]:
    """DynamicQuantizeLinear(x) -> u8, scale, zero point, by the range of x and 0."""
    x = call.array(0).astype(np.float32)
    low, high = min(np.float32(0), x.min(initial=0)), max(np.float32(0), x.max(initial=0))
    scale = np.float32((high - low) / np.float32(255))
    if scale == 0:
        scale = np.float32(1)
    zero = np.rint(np.clip(-low / scale, 0, 255)).astype(np.uint8)
    scale_array, zero_array = np.asarray(scale), np.asarray(zero)
    quantized = _quantized(x, scale_array, zero_array, np.dtype(np.uint8))
    return [quantized, scale_array, zero_array]


def _matrix_zero(zero: Array | None, x: Array, axis: int) -> Array:
    """A zero point as it broadcasts to matrices: one for all, for each row or column, or as it is."""
    if zero is None:
        return np.zeros((), np.int64)
    zero = zero.astype(np.int64)
    if zero.size == 1 and zero.ndim <= 1:
        return zero.reshape(())
    if zero.ndim > 1:
        return zero
    if x.ndim > 1 and zero.shape != (x.shape[axis],):
        raise ModelError(f"zero points {list(zero.shape)} do not fit the matrix {list(x.shape)}")
    return zero[:, None] if axis == -2 else zero


def _integer_product(a: Array, b: Array, a_zero: Array | None, b_zero: Array | None) -> Array:
    """(a - zero) @ (b - zero), exact: f64 holds whole numbers up to 2^53."""
    left = a.astype(np.int64) - _matrix_zero(a_zero, a, -2)
    right = b.astype(np.int64) - _matrix_zero(b_zero, b, -1)
    return np.asarray(left.astype(np.float64) @ right.astype(np.float64))


def matmul_integer(call: Call) -> Sequence[Value]:
    """MatMulInteger(A, B, a_zero_point, b_zero_point) -> i32."""
    y = _integer_product(call.array(0), call.array(1), call.given(2), call.given(3))
    return [y.astype(np.int64).astype(np.int32)]


def conv_integer(call: Call) -> Sequence[Value]:
    """ConvInteger(x, w, x_zero_point, w_zero_point) -> i32; the padding is the zero point."""
    x, w = call.array(0).astype(np.int64), call.array(1).astype(np.int64)
    if (zero := call.given(2)) is not None:
        x = x - zero.astype(np.int64).reshape(())
    if (zero := call.given(3)) is not None:
        w = w - zero.astype(np.int64).reshape(-1, *[1] * (w.ndim - 1))
    return [integer_sums(call, x, w).astype(np.int64).astype(np.int32)]


def qlinear_conv(call: Call) -> Sequence[Value]:
    """QLinearConv(x, xs, xz, w, ws, wz, ys, yz, B): sums of integers, scaled in f32, rounded."""
    x, xs, xz, w, ws, wz, ys, yz = (call.array(i) for i in range(8))
    columns = (-1, *[1] * (w.ndim - 1))
    wide = x.astype(np.int64) - xz.astype(np.int64).reshape(())
    weights = w.astype(np.int64) - wz.astype(np.int64).reshape(columns)
    sums = integer_sums(call, wide, weights)
    behind = (-1, *[1] * (x.ndim - 2))
    if (bias := call.given(8)) is not None:
        sums = sums + bias.reshape(behind)
    scale = computed(xs).reshape(()) * computed(ws).reshape(-1) / computed(ys).reshape(())
    y = np.rint(sums.astype(np.float32) * scale.reshape(behind))
    info = np.iinfo(yz.dtype)
    return [np.clip(y + yz.astype(np.float32).reshape(()), info.min, info.max).astype(yz.dtype)]


def qlinear_matmul(call: Call) -> Sequence[Value]:
    """QLinearMatMul(a, as, az, b, bs, bz, ys, yz): one scale for all, a row of a, a column of b."""
    a, a_scale, az, b, bs, bz, ys, yz = (call.array(i) for i in range(8))
    sums = _integer_product(a, b, az, bz).astype(np.float32)

    def spread(v: Array, rows: bool) -> Array:
        v = computed(v)
        if v.size == 1:
            return v.reshape(())
        return v[:, None] if rows and v.ndim == 1 else v

    scale = spread(a_scale, True) * spread(bs, False) / spread(ys, True)
    y = np.rint(sums * scale) + spread(yz.astype(np.float32), True)
    info = np.iinfo(yz.dtype)
    return [np.clip(y, info.min, info.max).astype(yz.dtype)]
