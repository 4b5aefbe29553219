"""What element types say of themselves, against NumPy's own account."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from camshaft.ir.types import ALL_DTYPES, DType, bf16, boolean, f16, f32, f64, i8, i32, u8

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


@pytest.mark.parametrize("wide", NUMBERS, ids=repr)
@pytest.mark.parametrize("narrow", NUMBERS, ids=repr)
def test_holds_every_number_of_another_type(wide: DType, narrow: DType) -> None:
    """Judged by the numbers at the ends of `narrow`: its greatest ones and its finest one."""
    if narrow.is_float:
        ends = [narrow.largest, -narrow.largest, narrow.tiny]
    else:
        ends = [narrow.range[0], narrow.range[1], narrow.range[1] - 1]
    numbers = np.array(ends, narrow.numpy)
    with np.errstate(all="ignore"):
        there = numbers.astype(wide.numpy)
        same = all(_exact(a) == _exact(b) for a, b in zip(there, numbers, strict=True))
    if wide.is_int and narrow.is_float:
        same = False
    assert wide.holds(narrow) == same


def _exact(x: np.generic) -> int | float:
    value = float(x)
    return int(x) if np.issubdtype(type(x), np.integer) else value


@pytest.mark.parametrize("dtype", NUMBERS, ids=repr)
def test_integers_of_8_bits_are_summed_in_i32(dtype: DType) -> None:
    assert dtype.accumulator == (i32 if dtype in (u8, i8) else dtype)


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
