"""The kernel language: conversions, dot products and scalar expressions."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.cpu.expr.epilogue import emit_expr
from camshaft.backends.cpu.lang import FunctionBuilder
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import (
    NARROW_FLOATS,
    NARROW_INTS,
    DType,
    bf16,
    boolean,
    f8e8m0,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
)
from lang_phases import run_phase
from targets import each_target

FLOATS = [0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 128, -128.5, -129, 255.5, 256, 1e10, -1e10]
FLOATS += [np.nan, np.inf, -np.inf, 2147483520, 2147483648, -2147483648, 8388609, 33000, 65536]


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize(
    "dtype",
    [u8, i8, u16, i16, i32, u32, i64, boolean, f64, f16, bf16, *NARROW_FLOATS, *NARROW_INTS],
    ids=str,
)
def test_cast_from_float(target: CpuTarget, dtype: DType) -> None:
    lanes = target.lanes(f32)
    x = np.resize(np.array(FLOATS, np.float32), 2 * lanes * len(FLOATS))
    y = np.zeros(x.size, dtype.numpy)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(k.cast(k.load(k.args["a0"].at(i), lanes), dtype), k.args["a1"].at(i))

    run_phase(target, body, x, y)
    wanted = E.convert(x, dtype)
    assert ((y == wanted) | ((y != y) & (wanted != wanted))).all()


def cast_all(target: CpuTarget, x: np.ndarray, dtype: DType) -> np.ndarray:
    """`x`, of whole vectors, as the kernel language casts it."""
    lanes = target.lanes(f64)
    y = np.zeros(x.size, dtype.numpy)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(k.cast(k.load(k.args["a0"].at(i), lanes), dtype), k.args["a1"].at(i))

    run_phase(target, body, x, y)
    return y


@pytest.fixture
def quiet_numpy():  # type: ignore[no-untyped-def]
    """No warnings about NaN and overflow, which these tests make on purpose."""
    with np.errstate(over="ignore", invalid="ignore"):
        yield


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("half", [f16, bf16], ids=str)
def test_every_half_is_widened_exactly_and_comes_back(target: CpuTarget, half: DType) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(half.numpy)
    for wide in (f32, f64):
        y = cast_all(target, x, wide)
        np.testing.assert_array_equal(y, x.astype(wide.numpy))
        back = cast_all(target, y, half)
        number = ~np.isnan(y)
        assert (back.view(np.uint16)[number] == x.view(np.uint16)[number]).all()
        assert np.isnan(back[~number].astype(np.float32)).all()
    for dtype in (u8, i32, boolean):
        clean = x[np.isfinite(x.astype(np.float32))][: (1 << 16) - 4096]
        np.testing.assert_array_equal(cast_all(target, clean, dtype), E.convert(clean, dtype))


@each_target
@pytest.mark.parametrize("half", [f16, bf16], ids=str)
def test_halves_move_under_a_mask_that_is_known_when_the_kernel_runs(
    target: CpuTarget, half: DType
) -> None:
    lanes = target.lanes(f32)
    x = np.arange(1, 4 * lanes + 1).astype(half.numpy)
    y, count = np.zeros_like(x), np.array([lanes - 3], np.int64)

    def body(k: FunctionBuilder) -> None:
        mask = k.lane_mask(k.load(k.args["a2"].at(0)), lanes)
        for row in range(4):
            wide = k.cast(k.load(k.args["a0"].at(row * lanes), lanes, mask), f32)
            k.store(k.cast(wide, half), k.args["a1"].at(row * lanes), mask)

    run_phase(target, body, x, y, count)
    kept = np.arange(x.size) % lanes < lanes - 3
    assert (y == np.where(kept, x, np.zeros_like(x))).all()


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("half", [f16, bf16], ids=str)
def test_halves_are_rounded_once_and_to_even(target: CpuTarget, half: DType) -> None:
    every = np.arange(1 << 15, dtype=np.uint16).view(half.numpy).astype(np.float64)
    every = every[np.isfinite(every)]
    middle = (every[:-1] + every[1:]) / 2  # ties; and beside them, closer than an f32 can tell
    x = np.concatenate([middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf), [1e300]])
    x = np.resize(np.concatenate([x, -x]), -(-2 * x.size // 64) * 64)
    for source in (x, x.astype(np.float32)):
        wanted = half_of(source, half)
        np.testing.assert_array_equal(cast_all(target, source, half).view(np.uint16), wanted)


def half_of(x: np.ndarray, half: DType) -> np.ndarray:
    """Bits of the nearest `half`, of two equally near ones the even, by searching them all."""
    every = np.arange(1 << 15, dtype=np.uint16).view(half.numpy).astype(np.float64)
    count = int(np.isfinite(every).sum())
    step = every[count - 1] - every[count - 2]
    values = np.append(every[:count], every[count - 1] + step)  # infinity, as if it were a number
    at = np.clip(np.searchsorted(values, np.abs(x.astype(np.float64))), 1, count)
    below, above = np.abs(x) - values[at - 1], values[at] - np.abs(x)
    up = (above < below) | ((above == below) & (at % 2 == 0))
    return (np.where(up, at, at - 1) | np.where(np.signbit(x), 1 << 15, 0)).astype(np.uint16)


def codes(dtype: DType) -> np.ndarray:
    """Every value of a type of at most 8 bits, whole vectors of them."""
    return np.resize(np.arange(1 << dtype.bits, dtype=np.uint8), 256).view(dtype.numpy)


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("dtype", [*NARROW_FLOATS, *NARROW_INTS], ids=str)
def test_every_narrow_number_is_widened_exactly_and_comes_back(
    target: CpuTarget, dtype: DType
) -> None:
    x = codes(dtype)
    wide = x.astype(np.float32)
    for source in (f32, f64, f16, bf16) if dtype != f8e8m0 else (f32, f64):
        y = cast_all(target, x, source)
        np.testing.assert_array_equal(y.astype(np.float32), wide)
        back = cast_all(target, y, dtype)
        number = ~np.isnan(wide)
        assert (back.view(np.uint8)[number] == x.view(np.uint8)[number]).all()
        assert np.isnan(back[~number].astype(np.float32)).all()
    for integer in (i8, u8, i32, boolean):
        clean = x[np.isfinite(wide)][:128]
        np.testing.assert_array_equal(cast_all(target, clean, integer), E.convert(clean, integer))


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("dtype", NARROW_FLOATS, ids=str)
def test_narrow_floats_are_rounded_once_and_to_even(target: CpuTarget, dtype: DType) -> None:
    numbers = codes(dtype).astype(np.float64)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    middle = (numbers[:-1] + numbers[1:]) / 2
    ends = numbers[-1] * np.array([1.01, 1.03, 1.0625, 1.07, 1.2, 1.25, 1.5, 2, 1e3])
    x = np.concatenate([numbers, middle, ends, [np.inf, np.nan]])
    x = np.concatenate([x, np.nextafter(x, -np.inf), np.nextafter(x, np.inf)])
    x = np.resize(np.concatenate([x, -x]), -(-2 * x.size // 64) * 64)
    sources = [x.astype(np.float32)] if dtype == f8e8m0 else [x, x.astype(np.float32)]
    for source in sources:
        got, wanted = cast_all(target, source, dtype), E.convert(source, dtype)
        np.testing.assert_array_equal(got.astype(np.float32), wanted.astype(np.float32))
        number = ~np.isnan(source) & ~np.isnan(wanted.astype(np.float32))
        assert (got.view(np.uint8)[number] == wanted.view(np.uint8)[number]).all()


@each_target
@pytest.mark.usefixtures("quiet_numpy")
@pytest.mark.parametrize("source", [u8, i8, i32, i64], ids=str)
@pytest.mark.parametrize(
    "dtype", [u8, i8, i32, f32, boolean, f16, bf16, *NARROW_FLOATS, *NARROW_INTS], ids=str
)
def test_cast_from_integer(target: CpuTarget, source: DType, dtype: DType) -> None:
    lanes = target.lanes(f32)
    low, high = source.range
    x = np.resize(np.array([low, high, 0, 1, high // 3], source.numpy), 5 * lanes)
    y = np.zeros(x.size, dtype.numpy)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(k.cast(k.load(k.args["a0"].at(i), lanes), dtype), k.args["a1"].at(i))

    run_phase(target, body, x, y)
    wanted = E.convert(x, dtype)
    assert ((y == wanted) | ((y != y) & (wanted != wanted))).all()


@each_target
def test_dot4_is_exact(target: CpuTarget) -> None:
    lanes = target.lanes(i32)
    rng = np.random.default_rng(1)
    u = rng.integers(0, 256, (64, lanes, 4)).astype(np.uint8)
    s = rng.integers(-128, 128, (64, lanes, 4)).astype(np.int8)
    u[0], s[0], u[1], s[1] = 255, -128, 255, 127
    acc = rng.integers(-(1 << 31), 1 << 31, (64, lanes)).astype(np.int32)
    y = np.zeros((64, lanes), np.int32)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, 64 * lanes, lanes) as i:
            a, b = (k.load(k.args[name].as_type(i32).at(i), lanes) for name in ("a0", "a1"))
            k.store(k.dot4(a, b, k.load(k.args["a2"].at(i), lanes)), k.args["a3"].at(i))

    run_phase(target, body, u, s, acc, y)
    exact = acc.astype(np.int64) + (u.astype(np.int64) * s).sum(axis=2)
    assert (y == exact.astype(np.int32)).all()


BINARY_TYPES = [(op, dtype) for op in E.BINARY if op not in ("pow", "mod") for dtype in (f32, i32)]


@each_target
@pytest.mark.parametrize(("op", "dtype"), [*BINARY_TYPES, ("mod", i32)], ids=str)
def test_binary_expressions(target: CpuTarget, op: str, dtype: DType) -> None:
    values = [-7, -3, -1, 0, 1, 2, 5, 7] + ([np.nan, np.inf, 0.5] if dtype.is_float else [])
    grid = np.array([(a, b) for a in values for b in values], dtype.numpy)
    if dtype == i32:
        grid = np.concatenate([grid, [(-(1 << 31), -1), ((1 << 31) - 1, -3)]]).astype(np.int32)
    lanes = target.lanes(f32)
    count = -(-len(grid) // lanes) * lanes
    grid = np.resize(grid, (count, 2))
    a, b = (np.ascontiguousarray(grid[:count, n]) for n in range(2))
    expr = E.binary(op, E.inp(0), E.inp(1))
    wanted = E.evaluate(expr, [a, b])
    y = np.zeros(count, wanted.dtype)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, count, lanes) as i:
            pair = [k.load(k.args[name].at(i), lanes) for name in ("a0", "a1")]
            k.store(emit_expr(k, expr, pair), k.args["a2"].at(i))

    run_phase(target, body, a, b, y)
    np.testing.assert_array_equal(y, wanted)


@each_target
@pytest.mark.parametrize("op", ["neg", "abs", "sign", "not", "isnan", "isinf", "reciprocal"])
def test_unary_expressions(target: CpuTarget, op: str) -> None:
    lanes = target.lanes(f32)
    x = np.resize(np.array([-2.5, -0.0, 0.0, 1.5, np.nan, np.inf, -np.inf], np.float32), 7 * lanes)
    expr = E.unary(op, E.inp(0))
    wanted = E.evaluate(expr, [x])
    y = np.zeros(x.size, wanted.dtype)

    def body(k: FunctionBuilder) -> None:
        with k.loop(0, x.size, lanes) as i:
            k.store(emit_expr(k, expr, [k.load(k.args["a0"].at(i), lanes)]), k.args["a1"].at(i))

    run_phase(target, body, x, y)
    np.testing.assert_array_equal(y, wanted)
