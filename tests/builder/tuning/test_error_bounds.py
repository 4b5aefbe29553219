"""What a kernel may compute: intervals of expressions, and the comparison that rests on them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camshaft.backends.base import KernelSpec, Operand
from camshaft.builder.tuning.error_bounds import Interval, bounds
from camshaft.builder.tuning.mismatch import mismatch
from camshaft.builder.tuning.reference import references
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.types import DType, bf16, dtype_of, f8e4m3fn, f16, f32, i8, i32, u8
from random_exprs import RandomExpr

X, Y = E.inp(0), E.inp(1)
QUANTIZED = E.quantize(X, E.const(0.25), 3, u8)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def problem(got: np.ndarray, expr: Expr, *arrays: np.ndarray, error: float = 0.0) -> str:
    """The mismatch of a result with the expression's value on arrays known to `error`."""
    known = [Interval.around(a, error) for a in arrays]
    return mismatch(got, np.asarray(E.evaluate(expr, arrays)), expr, known)


def test_a_byte_may_differ_only_next_to_a_rounding_boundary() -> None:
    x = floats(1.0, 1.12, 1.125, 1.1250001, 1.13)  # the tie is at 4.5 quanta
    want = E.evaluate(QUANTIZED, [x])
    assert want.tolist() == [7, 7, 7, 8, 8]
    assert problem(want, QUANTIZED, x) == ""
    near = np.array([7, 7, 8, 7, 8], np.uint8)
    assert problem(near, QUANTIZED, x) == ""
    for n in (0, 1, 4):
        for step in (-1, 1):
            got = want.copy()
            got[n] = int(got[n]) + step
            assert f"1 of 5 elements are off, the first at [{n}]" in problem(got, QUANTIZED, x)
    # Where the operand is known to less, more of them lie next to a boundary.
    assert problem(np.array([7, 8, 8, 7, 7], np.uint8), QUANTIZED, x, error=0.01) == ""
    assert problem(np.array([8, 8, 8, 7, 7], np.uint8), QUANTIZED, x, error=0.01) != ""


def test_floats_of_8_bits_inside_differ_only_next_to_a_rounding_boundary() -> None:
    """By a whole step there, as levels of a quantization do; a cast that clips goes first, as QuantizeLinear has it."""
    stored = E.cast(E.clip(X, -448.0, 448.0), f8e4m3fn)
    expr = E.mul(E.cast(stored, f32), E.const(0.5))
    x = floats(1.0, 1.0624999, 1.07, 447.0, 460.0, 1e9)  # the tie is at 1.0625
    want = E.evaluate(expr, [x])
    assert want.tolist() == [0.5, 0.5, 0.5625, 224.0, 224.0, 224.0]
    assert problem(want, expr, x) == ""
    assert problem(floats(0.5, 0.5625, 0.5625, 224.0, 224.0, 224.0), expr, x, error=1e-6) == ""
    for n, other in enumerate((0.5625, 0.625, 0.5, 208.0, 208.0, 208.0)):
        got = want.copy()
        got[n] = other
        assert f"the first at [{n}]" in problem(got, expr, x, error=1e-6)


@pytest.mark.parametrize("half", [bf16, f16], ids=str)
def test_a_half_may_differ_only_next_to_a_rounding_boundary(half: DType) -> None:
    """The next half float where a tie lies within the error; never the one after it."""
    expr, step = E.cast(X, half), half.step
    x = floats(1.0, 1 + step * 0.499, 1 + step * 0.6, np.nan)
    want = E.evaluate(expr, [x])
    assert want.astype(np.float32)[:3].tolist() == [1, 1, 1 + step]
    assert problem(want, expr, x) == ""
    near = want.copy()
    near[1] = 1 + step
    assert problem(near, expr, x) != ""
    assert problem(near, expr, x, error=0.01 * step) == ""
    for n, wrong in ((0, 1 + step), (1, 1 + 2 * step), (2, np.nan), (3, 1.0)):
        got = want.copy()
        got[n] = wrong
        assert f"the first at [{n}]" in problem(got, expr, x, error=0.01 * step)


def test_bf16_that_is_subnormal_may_be_flushed() -> None:
    x = floats(1e-38, -1e-39, 3e-38, 1.0)
    want = E.evaluate(E.cast(X, bf16), [x])
    flushed = np.where(np.abs(x) < bf16.tiny, 0, want.astype(np.float32)).astype(bf16.numpy)
    assert (flushed != want).sum() == 2
    assert problem(flushed, E.cast(X, bf16), x) == ""
    flushed[2] = 0
    assert problem(flushed, E.cast(X, bf16), x) != ""
    halves = E.cast(X, f16)
    tiny = floats(3e-6, 1.0)  # subnormal in f16, and kept there
    assert problem(floats(0, 1).astype(f16.numpy), halves, tiny) != ""


def test_two_quanta_are_too_many_however_vague_the_operand() -> None:
    x = floats(1.0)
    assert problem(np.array([8], np.uint8), QUANTIZED, x, error=1.0) == ""
    assert "not in 6 .. 8" in problem(np.array([9], np.uint8), QUANTIZED, x, error=1.0)


def test_what_follows_a_quantization_magnifies_the_step() -> None:
    expr = E.mul(E.dequantize(QUANTIZED, E.const(0.25), 3), E.const(1000.0))
    x = floats(1.0, 1.125)
    assert E.evaluate(expr, [x]).tolist() == [1000, 1000]
    assert problem(floats(1000, 1250), expr, x) == ""
    assert problem(floats(1000, 1100), expr, x) == ""  # between the two: not told apart
    assert problem(floats(1250, 1000), expr, x) != ""
    assert problem(floats(1000, 1260), expr, x) != ""


def test_floats_may_differ_in_the_last_bits_only() -> None:
    expr = E.add(E.mul(X, Y), E.const(1.0))
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(1000).astype(np.float32) for _ in range(2))
    fused = (a.astype(np.float64) * b + 1).astype(np.float32)
    assert (fused != E.evaluate(expr, [a, b])).any()
    assert problem(fused, expr, a, b) == ""
    assert "1 of 1000" in problem(np.append(fused[:-1], fused[-1] + np.float32(1e-5)), expr, a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_nan_and_infinity_are_seen(bad: float) -> None:
    x = floats(1.0, 2.0)
    assert problem(floats(1.0, bad), X, x) != ""
    assert problem(floats(1.0, bad), X, floats(1.0, bad)) == ""
    assert problem(x, X, floats(1.0, np.nan)) != ""


def test_integers_shapes_and_types_must_be_equal() -> None:
    x = np.array([1, 2], np.int32)
    assert problem(np.array([1, 3], np.int32), X, x) != ""
    assert "int64(2,) instead of int32(2,)" in problem(x.astype(np.int64), X, x)
    assert "(1, 2) instead of" in problem(x[None], X, x)


SWISH = E.mul(X, E.sigmoid(X))
ROOT = E.const(math.sqrt(0.5))
GELU = E.mul(E.mul(X, E.const(0.5)), E.add(E.unary("erf", E.mul(X, ROOT)), E.const(1.0)))


@pytest.mark.parametrize("activation", (SWISH, GELU))
def test_a_coarse_activation_is_allowed_where_8_bits_follow_and_nowhere_else(
    activation: Expr,
) -> None:
    x = np.linspace(-8, 8, 1001, dtype=np.float32)
    exact = np.asarray(E.evaluate(activation, [x]), np.float64)
    rough = (exact * (1 + 1e-4)).astype(np.float32)
    assert problem(rough, activation, x) != ""
    byte = E.quantize(activation, E.const(8 / 255), 9, u8)
    scaled = np.clip(np.rint(rough / np.float32(8 / 255)) + 9, 0, 255).astype(np.uint8)
    assert (scaled != E.evaluate(byte, [x])).any()
    assert problem(scaled, byte, x) == ""
    rougher = np.clip(np.rint(exact * (1 + 1e-3) / (8 / 255)) + 9, 0, 255).astype(np.uint8)
    assert problem(rougher, byte, x) != ""


def test_a_sine_of_large_arguments_may_be_off_by_what_they_are_off() -> None:
    """62,832 times a sigmoid that is good to seven digits: a part of a period."""
    x = np.linspace(-3, 3, 101, dtype=np.float32)
    expr = E.unary("sin", E.mul(E.sigmoid(X), E.const(62832.0)))
    wide = x.astype(np.float64)
    moved = np.sin(62832 / (1 + np.exp(-wide)) * (1 + 1e-7)).astype(np.float32)
    assert np.abs(moved - E.evaluate(expr, [x])).max() > 2e-3
    assert problem(moved, expr, x) == ""
    assert problem(np.full_like(x, 1.5), expr, x) != ""


@pytest.mark.parametrize("block", range(0, 300, 50))
def test_bounds_hold_what_perturbed_operations_compute(block: int) -> None:
    """Random expressions, evaluated on operands anywhere in their intervals."""
    for seed in range(block, block + 50):
        grown = RandomExpr(seed)
        e = grown.make(2 + seed % 5)
        x = (grown.rng.standard_normal(64) * 10).astype(np.float32)
        b = grown.rng.integers(0, 256, 64).astype(np.uint8)
        wide = Interval.around(x, 0.01)
        allowed = bounds(e, [wide, Interval.around(b)])
        for shift in (-0.0099, 0.0, 0.005, 0.0099):
            moved = (x + np.float32(shift)).astype(np.float32)
            value = np.broadcast_to(E.evaluate(e, [moved, b]), x.shape)
            low, high = (np.broadcast_to(end, x.shape) for end in allowed.ends)
            real = np.isfinite(value) & ~np.isnan(low) & ~np.isnan(high)
            for part in E.nodes(e):
                inner = np.broadcast_to(E.evaluate(part, [moved, b]), x.shape)
                real &= np.isfinite(inner)
            assert np.all(value[real] >= low[real]), (seed, E.text(e))
            assert np.all(value[real] <= high[real]), (seed, E.text(e))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["div", "mod", "add", "sub", "mul", "min", "max"]), st.data())
def test_bounds_of_integers(op: str, data: st.DataObject) -> None:
    """Integers that came out of a vague quantization: every choice lies within the bounds."""
    x = np.array(data.draw(st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=20)), "f4")
    y = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=x.size, max_size=x.size)), "i4")
    allowed = bounds(E.binary(op, E.cast(X, i32), Y), [Interval.around(x, 1), Interval.around(y)])
    for shift in (-1, 0, 1):
        moved = E.convert(x + np.float32(shift), i32)
        value = E.evaluate(E.binary(op, X, Y), [moved, y])
        assert (value >= allowed.low).all() and (value <= allowed.high).all()


# --- per op -------------------------------------------------------------------------------------


def spec(op: str, arrays: list[np.ndarray], out: Operand, **attrs: object) -> KernelSpec:
    inputs = tuple(Operand.dense(dtype_of(a), a.shape) for a in arrays)
    return KernelSpec(op, inputs, (out,), tuple(sorted(attrs.items())))  # type: ignore[arg-type]


def test_integer_sums_are_exact_and_their_requantization_flips_only_at_ties() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (1, 9, 9, 16)).astype(np.uint8)
    w = rng.integers(-127, 128, (32, 3, 3, 16)).astype(np.int8)
    scale = rng.uniform(1e-4, 2e-4, 32).astype(np.float32)
    real = E.mul(E.cast(X, f32), Y)
    arrays = [x, w, scale]
    attrs = {"pads": (1, 1, 1, 1), "epilogue": E.cast(E.add(real, E.const(100.0)), u8)}
    (expected,) = references(
        spec("conv", arrays, Operand.dense(u8, (1, 9, 9, 32)), **attrs), arrays
    )
    assert expected.check(expected.value) == ""
    one_off = expected.value + np.where(expected.value < 255, 1, -1).astype(np.uint8)
    wrong = int(expected.check(one_off).split()[0])
    assert wrong > 0.999 * one_off.size
    got = expected.value.copy()
    got[0, 4, 5, 6] ^= 1  # one element of 2592: within 2 %, yet wrong
    assert "1 of 2592 elements are off, the first at [0,4,5,6]" in expected.check(got)


def test_float_sums_are_vague_but_moved_and_compared_floats_are_not() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 6, 6, 8)).astype(np.float32)
    w = rng.standard_normal((8, 3, 3, 8)).astype(np.float32)
    (sums,) = references(spec("conv", [x, w], Operand.dense(f32, (1, 4, 4, 8))), [x, w])
    largest = np.abs(sums.value).max()
    assert sums.check(sums.value + np.float32(5e-4) * largest) == ""
    assert sums.check(sums.value + np.float32(2e-3) * largest) != ""
    attrs = {"kind": "max", "kernel": (2, 2), "strides": (2, 2)}
    (top,) = references(spec("pool", [x], Operand.dense(f32, (1, 3, 3, 8)), **attrs), [x])
    assert top.check(top.value) == "" and top.check(np.nextafter(top.value, 9)) != ""
    attrs = {"perm": (0, 3, 1, 2)}
    (moved,) = references(spec("transpose", [x], Operand.dense(f32, (1, 8, 6, 6)), **attrs), [x])
    assert moved.check(np.nextafter(moved.value, 9)) != ""


def test_a_quantization_before_a_sum_counts_in_the_sum() -> None:
    x = np.full((1, 8), 10.0, np.float32)
    x[0, :2] = 5.0  # two ties
    prologue = E.cast(E.cast(E.mul(X, E.const(0.1)), i8), f32)
    attrs = {"kind": "sum", "axes": (1,), "prologue": prologue}
    (total,) = references(spec("reduce", [x], Operand.dense(f32, (1, 1)), **attrs), [x])
    assert total.value.tolist() == [[6.0]]
    assert all(total.check(floats(v)[None]) == "" for v in (6.0, 7.0, 8.0))
    assert total.check(floats(8.1)[None]) != "" and total.check(floats(5.9)[None]) != ""
    exact = {**attrs, "prologue": E.cast(E.cast(X, i8), f32)}
    (total,) = references(spec("reduce", [x], Operand.dense(f32, (1, 1)), **exact), [x])
    assert total.check(total.value + 1) != ""


MOST = float(np.finfo(np.float32).max)


def test_what_overflows_in_between_may_come_back_or_not() -> None:
    """x * c - c overflows unless it is fused; x * c - x * d is NaN unless it is."""
    x = floats(0.5, 1.5, -1.5, 2.5)
    expr = E.sub(E.mul(X, E.const(3e38)), E.const(3e38))
    unfused = np.asarray(E.evaluate(expr, [x]))
    assert unfused.tolist() == [np.float32(-1.5e38), np.inf, -np.inf, np.inf]
    with np.errstate(over="ignore"):
        fused = (x.astype(np.float64) * 3e38 - 3e38).astype(np.float32)
    assert np.isfinite(fused[:2]).all() and np.isinf(fused[2:]).all()
    assert problem(fused, expr, x) == ""
    for n, wrong in ((0, np.inf), (0, -1.4e38), (1, 1.3e38), (1, np.nan), (2, MOST), (3, 1e38)):
        got = fused.copy()
        got[n] = wrong
        assert f"1 of 4 elements are off, the first at [{n}]" in problem(got, expr, x)
    both = E.sub(E.mul(X, E.const(3e38)), E.mul(X, E.const(2.5e38)))
    assert np.isnan(E.evaluate(both, [x])).tolist() == [False, True, True, True]
    assert problem(floats(0.25e38, 0.75e38, np.nan, np.inf), both, x) == ""
    assert "the first at [0]" in problem(floats(np.nan, 0.75e38, np.nan, np.inf), both, x)


def test_what_depends_on_a_possible_nan_is_unknown_and_nothing_else_is() -> None:
    x = floats(0.5, 1.5)
    both = E.sub(E.mul(X, E.const(3e38)), E.mul(X, E.const(2.5e38)))
    for expr in (
        E.unary("tanh", both),
        E.maximum(both, E.const(0.0)),
        E.quantize(both, E.const(1.0), 3, u8),
    ):
        want = np.asarray(E.evaluate(expr, [x]))
        got = want.copy()
        got[1] = 77
        assert problem(got, expr, x) == ""
        got[0] = 77
        assert "1 of 2 elements are off, the first at [0]" in problem(got, expr, x)
    chosen = E.select(E.binary("lt", X, E.const(9.0)), X, both)
    assert "the first at [1]" in problem(floats(0.5, 2.0), chosen, x)


def test_infinities_of_the_operands_are_no_overflow() -> None:
    """A mask of -inf gives -inf, and inf - inf gives NaN, in every kernel."""
    x, mask = floats(1.0, 2.0, np.inf), floats(-np.inf, 0.0, -np.inf)
    expr = E.add(X, Y)
    want = np.asarray(E.evaluate(expr, [x, mask]))
    assert problem(want, expr, x, mask) == ""
    for n, wrong in ((0, np.nan), (1, np.inf), (1, -MOST), (2, 0.0)):
        got = want.copy()
        got[n] = wrong
        assert f"the first at [{n}]" in problem(got, expr, x, mask)


INFINITE = floats(np.inf, -np.inf, np.inf, -np.inf, np.inf, -np.inf)
BESIDE = floats(1.0, 2.0, -3.0, -0.5, -np.inf, -np.inf)
LEAKY = E.select(E.binary("lt", X, E.const(0.0)), E.mul(X, E.const(0.1)), X)


@pytest.mark.parametrize("error", [0.0, 0.01], ids=["exact operands", "rounded operands"])
@pytest.mark.parametrize(
    "expr",
    [
        *(E.unary(op, X) for op in ("neg", "abs", "exp", "tanh", "erf", "log", "sqrt", "floor", "reciprocal")),
        *(E.binary(op, X, Y) for op in ("add", "sub", "mul", "div", "max", "min")),
        E.add(E.mul(X, E.const(2.0)), E.const(1.0)),
        E.sigmoid(X),
        E.cast(E.add(X, E.const(1.0)), f16),
        E.unary("exp", E.sub(E.const(1.0), E.mul(X, E.const(0.5)))),
        LEAKY,
    ],
    ids=E.text,
)  # fmt: skip
def test_operands_that_are_infinite_allow_no_other_number(expr: Expr, error: float) -> None:
    """What the reference makes of them is what a kernel must: infinities, NaN and limits like tanh's 1."""
    arrays = [INFINITE, BESIDE]
    want = np.asarray(E.evaluate(expr, arrays))
    assert problem(want, expr, *arrays, error=error) == ""
    with np.errstate(over="ignore"):
        wrongs = np.array([7.5, -7.5, MOST, -MOST, np.nan, np.inf, -np.inf]).astype(want.dtype)
    for n, wrong in itertools.product(range(want.size), wrongs):
        got = want.copy()
        got[n] = wrong
        if not np.array_equal(got, want, equal_nan=True):
            assert f"the first at [{n}]" in problem(got, expr, *arrays, error=error), wrong


def test_where_a_function_may_have_no_value_numbers_are_still_checked() -> None:
    """What a square root reads is next to 0, perhaps below; what it makes is still small."""
    x = floats(0.001, 4.0)
    for function, wrong in (("sqrt", 1.0), ("log", 1.0)):
        expr = E.unary(function, X)
        got = np.asarray(E.evaluate(expr, [x]))
        assert problem(got, expr, x, error=0.01) == ""
        got[0] = wrong
        assert "the first at [0]" in problem(got, expr, x, error=0.01)


def test_exact_sums_that_are_scaled_to_infinity_are_infinite() -> None:
    """Products of integers, of which only the scale is a float."""
    x, w = np.full((2, 8), 3, np.uint8), np.full((8, 4), 2, np.int8)
    arrays = [x, w, floats(1.0, np.inf, -np.inf, 2.0)]
    epilogue = E.add(E.mul(E.cast(X, f32), Y), E.const(1.0))
    (reference,) = references(
        spec("matmul", arrays, Operand.dense(f32, (2, 4)), epilogue=epilogue), arrays
    )
    assert reference.check(reference.value) == ""
    for column, wrong in ((1, 97.0), (1, np.nan), (1, -np.inf), (2, 0.0)):
        got = reference.value.copy()
        got[1, column] = wrong
        assert f"the first at [1,{column}]" in reference.check(got)


def test_a_half_beyond_its_type_is_infinite() -> None:
    x = floats(1e5, 1.0)
    want = np.asarray(E.evaluate(E.cast(X, f16), [x]))
    assert np.isinf(want[0]) and problem(want, E.cast(X, f16), x) == ""
    assert "the first at [0]" in problem(floats(65504, 1).astype(f16.numpy), E.cast(X, f16), x)


@pytest.mark.parametrize("infinite", [False, True], ids=["finite weights", "infinite weights"])
def test_sums_that_overflow_are_unknown_and_those_beside_them_are_checked(infinite: bool) -> None:
    """Which of a product's sums overflow hangs on the order; small columns beside them stay checked."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 64)).astype(np.float32)
    w = rng.standard_normal((64, 6)).astype(np.float32)
    w[:, :3] *= np.float32(0.6e38)
    if infinite:
        w[7, 0], w[9, 5] = np.inf, -np.inf
    spec = KernelSpec(
        "matmul",
        (Operand.dense(f32, a.shape), Operand.dense(f32, w.shape, const=True)),
        (Operand.dense(f32, (4, 6)),),
        (("epilogue", X),),
    )
    (reference,) = references(spec, [a, w])
    backwards = np.zeros((4, 6), np.float32)
    with np.errstate(all="ignore"):
        for k in reversed(range(64)):
            backwards += a[:, k, None] * w[k]
    assert not np.isfinite(backwards[:, :3]).all()
    assert reference.check(backwards) == ""
    for column, wrong in ((3, np.inf), (4, np.nan), (5, 0.0 if infinite else -np.inf)):
        got = backwards.copy()
        got[1, column] = wrong
        assert f"1 of 24 elements are off, the first at [1,{column}]" in reference.check(got)


def test_the_largest_of_terms_that_may_be_nan_is_unknown() -> None:
    x = floats(0.5, 0.25, 0.125, 1.5, 0.25, 0.125).reshape(2, 3)
    both = E.sub(E.mul(X, E.const(3e38)), E.mul(X, E.const(2.5e38)))
    spec = KernelSpec(
        "reduce",
        (Operand.dense(f32, x.shape),),
        (Operand.dense(f32, (2, 1)),),
        (("axes", (1,)), ("epilogue", X), ("keepdims", True), ("kind", "max"), ("prologue", both)),
    )
    (reference,) = references(spec, [x])
    right = reference.value.copy()
    assert reference.check(right) == ""
    assert reference.check(np.array([right[0], [0.75e38]], np.float32)) == ""
    assert "the first at [0,0]" in reference.check(np.array([[0.75e38], right[1]], np.float32))
