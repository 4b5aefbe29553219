"""Instructions on half floats in NumPy, to the bit: what processors that have them compute.

Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, VDPBF16PS and VCVTNEPS2BF16.
"""

from __future__ import annotations

import numpy as np

from camshaft.ir.types import bf16, f32

_SMALL, _SCALE = 2.0**-100, 2.0**64


def vdpbf16ps(acc: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """acc, f32 [...], plus the products of a and b, bf16 [..., 2]: the odd one first, each added by a
    multiply-add that rounds half to even, takes subnormal operands as 0 and flushes subnormal sums."""
    x, y = _daz(a.astype(f32.numpy)), _daz(b.astype(f32.numpy))
    odd = fma_ftz(x[..., 1], y[..., 1], acc)
    return fma_ftz(x[..., 0], y[..., 0], odd)


def vcvtneps2bf16(x: np.ndarray) -> np.ndarray:
    """f32 as bf16, half to even, subnormal ones as zeros of their signs."""
    return _daz(x).astype(bf16.numpy)


def fma_ftz(x: np.ndarray, y: np.ndarray, acc: np.ndarray) -> np.ndarray:
    """x * y + acc of f32 that hold bf16, rounded once to f32; subnormals are zeros, before and after."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = x.astype(np.float64) * y.astype(np.float64)  # exact: 16 bits
        wide = _sum_to_odd(product, _daz(acc).astype(np.float64))
        small = np.abs(wide) < _SMALL
        scaled = np.where(small, wide * _SCALE, 0.0).astype(
            np.float32
        )  # rounded as if it were normal
        tiny = small & (np.abs(scaled) < 2.0**-126 * _SCALE)
        return np.where(
            tiny, np.copysign(np.float32(0), wide.astype(np.float32)), wide.astype(np.float32)
        )


def _sum_to_odd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b in f64 with the last bit set where something was cut off, so that rounding once more to f32
    is rounding once.  The error of the sum is Knuth's TwoSum."""
    total = a + b
    back = total - a
    error = (a - (total - back)) + (b - back)
    even = (np.ascontiguousarray(total).view(np.int64) & 1) == 0
    inexact = np.isfinite(total) & (error != 0) & even
    beyond = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(inexact, beyond, total)


def _daz(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < f32.tiny, np.copysign(np.float32(0), x), x).astype(np.float32)
