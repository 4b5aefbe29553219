"""The scalar operators: their names, and what each means in NumPy.

Arithmetic is done in the operands' element type.  How operators form expressions, and the rules
for NaN, rounding and wrapping that every backend follows, is in `ir.expr`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from camshaft.ir.types import NARROW_FLOATS, DType, bf16, dtype_of, f8e8m0, f32, f64

PREDICATES = frozenset({"lt", "le", "eq", "not", "isnan", "isinf"})
"""Operators that give a bool whatever their operands are."""


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x), x.dtype)


def _saturate(x: np.ndarray, dtype: DType) -> np.ndarray:
    low, high = dtype.range
    wide = np.nan_to_num(np.rint(x.astype(np.float64)), nan=low, posinf=high, neginf=low)
    if dtype.bits < 64:
        return np.asarray(np.clip(wide, low, high), dtype.numpy)
    # The largest double below 2**63 (2**64): clipping to `high` itself would overflow the cast.
    top = np.nextafter(float(high), 0.0)
    return np.where(wide >= float(high), high, np.clip(wide, low, top).astype(dtype.numpy))


def _exponents(x: np.ndarray) -> np.ndarray:
    """The powers of two next to x toward zero, at least the smallest; NaN for what is negative, infinite or
    NaN."""
    bits = np.asarray(x, np.float32).view(np.uint32) >> np.uint32(f32.fraction)
    codes: np.ndarray = np.minimum(bits, np.uint32(255)).astype(np.uint8)
    return codes.view(f8e8m0.numpy)


def _to_odd(x: np.ndarray) -> np.ndarray:
    """f64 as f32 with the last bit set where something was cut off: rounded once more, to fewer bits, it is
    as if rounded once."""
    with np.errstate(over="ignore"):
        near = np.asarray(x, np.float32)
    bits, back = near.view(np.uint32).copy(), near.astype(np.float64)
    bits -= np.abs(back) > np.abs(x)
    bits |= (back != x) & ~np.isnan(x)
    return bits.view(np.float32)


def convert(x: np.ndarray, dtype: DType) -> np.ndarray:
    """Meaning of "cast" on an array (also used by the Cast of constants)."""
    source = dtype_of(x)
    if source.is_float and dtype.is_int:
        return _saturate(x, dtype)
    if dtype == f8e8m0:
        return _exponents(x)
    if source == f64 and (dtype in NARROW_FLOATS or dtype == bf16):
        x = _to_odd(x)  # ml_dtypes would round twice
    return np.asarray(x, dtype.numpy)


UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "neg": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "erf": _erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sign": np.sign,
    "not": np.logical_not,
    "sin": np.sin,
    "cos": np.cos,
    "reciprocal": lambda x: np.divide(np.ones((), x.dtype), x),
    "isnan": np.isnan,
    "isinf": np.isinf,
}


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if dtype_of(a).is_float:
        return np.asarray(np.divide(a, b))
    divisor = np.where(b == 0, 1, b).astype(a.dtype)
    quotient = np.floor_divide(a, divisor)
    inexact = a != quotient * divisor
    towards_zero = quotient + (inexact & ((a < 0) != (divisor < 0))).astype(a.dtype)
    return np.where(b == 0, 0, towards_zero).astype(a.dtype)


BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "mod": np.mod,
    "pow": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}
