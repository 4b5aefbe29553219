"""What element types say of themselves, against NumPy's own account."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from camshaft.ir.types import (
    ALL_DTYPES,
    NARROW_FLOATS,
    DType,
    bf16,
    boolean,
    f8e8m0,
    f16,
    f32,
    f64,
    i8,
    i32,
    i64,
    u8,
    u64,
)

FLOATS = (f16, bf16, f32, f64)
NUMBERS = tuple(d for d in ALL_DTYPES if d.is_float or d.is_int)


@pytest.mark.parametrize("dtype", FLOATS, ids=repr)
def test_floats(dtype: DType) -> None:
    info = ml_dtypes.finfo(dtype.numpy)
    assert dtype.step == float(info.eps)
    assert dtype.tiny == float(info.tiny)
    assert dtype.largest == float(info.max)
    bits = np.array(np.inf, dtype.numpy).view(f"u{dtype.bytes}")
    assert dtype.infinity == int(bits)


@pytest.mark.parametrize("dtype", NARROW_FLOATS, ids=repr)
def test_narrow_floats(dtype: DType) -> None:
    every = every_value(dtype)
    numbers = np.unique(every[np.isfinite(every)])
    positive = numbers[numbers > 0]
    assert dtype.largest == positive[-1]
    assert dtype.step == positive[positive > 1][0] - 1
    if dtype != f8e8m0:  # which has no denormals
        assert dtype.tiny == positive[(1 << dtype.fraction) - 1]
        assert positive[0] == dtype.tiny * dtype.step
    assert dtype.takes(float("nan")) == bool(np.isnan(every).any())
    assert dtype.takes(float("inf")) == bool(np.isinf(every).any())
    assert dtype.takes(dtype.largest) and not dtype.takes(dtype.largest * 1.5)


def every_value(dtype: DType) -> np.ndarray:
    """All values of a type of at most 8 bits, the ends of others, as f64."""
    if dtype.bits <= 8:
        return np.arange(1 << dtype.bits, dtype=np.uint8).view(dtype.numpy).astype(np.float64)
    if not dtype.is_float:
        return np.array([dtype.range[0], dtype.range[1], dtype.range[1] - 1], np.float64)
    ends = [dtype.largest, dtype.largest * (1 - dtype.step / 2), dtype.tiny, -0.0, np.inf, np.nan]
    finest = dtype.tiny * dtype.step
    return np.array([*ends, finest]).astype(dtype.numpy).astype(np.float64)


@pytest.mark.parametrize("wide", NUMBERS, ids=repr)
@pytest.mark.parametrize("narrow", NUMBERS, ids=repr)
def test_holds_every_number_of_another_type(wide: DType, narrow: DType) -> None:
    """Judged by all that `narrow` has, or by its greatest numbers and its finest one."""
    if {wide, narrow} <= {i64, u64}:  # whose ends are not in f64
        assert wide.holds(narrow) == (wide == narrow)
        return
    values = every_value(narrow)
    if wide.is_int:
        same = not narrow.is_float and all(wide.range[0] <= int(v) <= wide.range[1] for v in values)
    else:
        with np.errstate(all="ignore"):
            there = values.astype(wide.numpy).astype(np.float64)
        same = bool(same_value(there, values).all())
        same &= narrow.bits <= 32 or narrow.is_float or wide == narrow
    assert wide.holds(narrow) == same


def same_value(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where floats are equal, NaN to itself, -0 to itself."""
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


@pytest.mark.parametrize("dtype", NUMBERS, ids=repr)
def test_sums_of_8_bits_are_taken_in_i32_and_of_halves_in_f32(dtype: DType) -> None:
    sums = {u8: i32, i8: i32, f16: f32, bf16: f32}
    assert dtype.accumulator == sums.get(dtype, dtype)


def test_arithmetic_on_integers_is_exact() -> None:
    assert i32.step == u8.tiny == 0.0


@pytest.mark.parametrize("dtype", FLOATS, ids=repr)
def test_floats_take_what_rounds_to_a_finite_number(dtype: DType) -> None:
    half = (
        dtype.largest * dtype.step / 4
    )  # between the largest number and the one that is too large
    at = int(dtype.largest)
    for inside in (0, -1, 1.5, dtype.largest, -at, np.nextafter(at, 0), np.inf, -np.inf, np.nan):
        assert dtype.takes(inside), inside
    for outside in (2 * at, -2 * at, 10**400, -(10**5000), 1j, "1", None, True):
        assert not dtype.takes(outside), outside
    step = at - int(dtype.largest - 2 * half)
    for number in range(at - step, at + 2 * step, max(1, step // 8)):
        with np.errstate(over="ignore"):
            rounded = np.float64(number if dtype != f64 else 0).astype(dtype.numpy)
        if dtype != f64:
            assert dtype.takes(number) == bool(np.isfinite(rounded)), number
        assert dtype.takes(-number) == dtype.takes(number)


def test_integers_and_bools_take_their_own_kind_only() -> None:
    assert u8.takes(255) and not u8.takes(256) and not u8.takes(-1) and not u8.takes(1.0)
    assert i32.takes(-(2**31)) and not i32.takes(2**31) and not i32.takes(True)
    assert boolean.takes(True) and not boolean.takes(1)
