"""Vectorised mathematical functions against float64 NumPy, special values included."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from camshaft.backends.cpu.expr.epilogue import emit_expr
from camshaft.backends.cpu.expr.idioms import plan
from camshaft.backends.cpu.expr.math import exp_of_negative, shares
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Value
from camshaft.backends.cpu.link import call, pointer_table
from camshaft.backends.cpu.recurrent.activations import sigmoid, tanh
from camshaft.backends.cpu.target import TARGETS, CpuTarget
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.types import f32, f64, u8
from targets import each_target, runnable_code

COUNT = 1 << 14
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.0, -1.0, 0.5, 2.5, 3.5, -2.5]


def apply(target: CpuTarget, expr: Expr, *inputs: np.ndarray, coarse: bool = False) -> np.ndarray:
    """The expression on equally long f32 vectors, through generated code."""
    return run_code(target, lambda k, x: emit_expr(k, expr, x, coarse=coarse), *inputs)


def run_code(
    target: CpuTarget,
    write: Callable[[FunctionBuilder, list[Value]], Value],
    *inputs: np.ndarray,
) -> np.ndarray:
    """What the code that `write` writes computes of equally long f32 vectors."""
    lanes = target.lanes(f32)
    module = Module(target)
    args = [Arg(f"x{n}", f32) for n in range(len(inputs))] + [Arg("y", f32)]
    with (
        module.phase("apply", COUNT // lanes, args) as k,
        k.loop(k.begin * lanes, k.end * lanes, lanes) as i,
    ):
        values = [k.load(k.args[f"x{n}"].at(i), lanes) for n in range(len(inputs))]
        k.store(write(k, values), k.args["y"].at(i))
    library = runnable_code(module.source(), target)
    result = np.full(COUNT, 7, np.float32)
    table = pointer_table([a.ctypes.data for a in (*inputs, result)])
    call(library["apply"], table, 0, COUNT // lanes)
    return result


def samples(seed: int, spread: float) -> np.ndarray:
    """Small, medium and extreme values, and every special one."""
    rng = np.random.default_rng(seed)
    quarter = COUNT // 4
    x = np.concatenate(
        [
            rng.standard_normal(quarter) * 3,
            rng.standard_normal(quarter) * 1e-3,
            rng.uniform(-spread, spread, quarter),
            10.0 ** rng.uniform(-42, 5, quarter) * rng.choice([-1, 1], quarter),
        ]
    ).astype(np.float32)
    x[: len(SPECIAL)] = SPECIAL
    return x


def assert_close(got: np.ndarray, wanted: np.ndarray, relative: float) -> None:
    """Same infinities and NaN, relative error below `relative` (or half a denormal's step)."""
    with np.errstate(over="ignore"):
        single = wanted.astype(np.float32)
    assert (np.isnan(got) == np.isnan(single)).all()
    assert (np.isinf(got) == np.isinf(single)).all()
    assert (got[np.isinf(got)] == single[np.isinf(got)]).all()
    finite = np.isfinite(single)
    error = np.abs(got[finite] - wanted[finite])
    allowed = relative * np.abs(wanted[finite]) + 2e-45
    worst = np.argmax(error - allowed)
    assert (error <= allowed).all(), f"{got[finite][worst]!r} instead of {wanted[finite][worst]!r}"


FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "exp": (np.exp, 1e-7),
    "log": (np.log, 1e-7),
    "tanh": (np.tanh, 1.5e-7),
    "erf": (np.vectorize(math.erf), 2e-7),
    "sin": (np.sin, 2e-7),
    "cos": (np.cos, 2e-7),
    "sqrt": (np.sqrt, 6e-8),
    "floor": (np.floor, 0),
    "ceil": (np.ceil, 0),
    "round": (np.rint, 0),
}


@each_target
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, target: CpuTarget) -> None:
    reference, relative = FUNCTIONS[name]
    x = samples(1, 110)
    got = apply(target, E.unary(name, E.inp(0)), x)
    with np.errstate(all="ignore"):
        assert_close(got, reference(x.astype(np.float64)), relative)


@each_target
def test_exp_reaches_denormals_and_overflow(target: CpuTarget) -> None:
    x = np.linspace(-105, -86, COUNT, dtype=np.float32)
    x[:4] = [88.72283, 88.72284, 1e30, -1e30]
    got = apply(target, E.unary("exp", E.inp(0)), x)
    with np.errstate(all="ignore"):
        assert_close(got, np.exp(x.astype(np.float64)), 2e-7)


@each_target
def test_exp_of_negative_numbers_has_no_denormals(target: CpuTarget) -> None:
    x = -np.abs(samples(1, 110))
    x[100:400] = np.linspace(-87.5, -87.1, 300, dtype=np.float32)
    x[400:402] = -87.3, np.nextafter(np.float32(-87.3), np.float32(-88))
    got = run_code(target, lambda k, values: exp_of_negative(k, values[0]), x)
    wanted = np.exp(x.astype(np.float64))
    wanted[x < np.float32(-87.3)] = 0
    assert_close(got, wanted, 1e-7)
    smallest = np.finfo(np.float32).tiny
    assert not np.any((got > 0) & (got < smallest))


@each_target
def test_activations_of_cells(target: CpuTarget) -> None:
    x = samples(1, 110)
    x[100:400] = np.linspace(-9.1, -8.5, 300, dtype=np.float32)
    got = run_code(target, lambda k, values: tanh(k, values[0]), x)
    assert_close(got, np.tanh(x.astype(np.float64)), 3.5e-7)
    assert np.nanmax(np.abs(got)) == 1
    got = run_code(target, lambda k, values: sigmoid(k, values[0]), x)
    exact = np.clip(x.astype(np.float64), -87, None)
    wanted = 1 / (1 + np.exp(-exact))
    assert_close(got / wanted.astype(np.float32), np.where(np.isnan(x), np.nan, 1.0), 7e-6)
    near = np.abs(x) < 10
    assert_close(got[near], wanted[near], 1e-6)
    assert_close(got[x > 0], wanted[x > 0], 2e-7)


@each_target
def test_shares(target: CpuTarget) -> None:
    x = -np.abs(samples(1, 110))
    x[100:400] = np.linspace(-87.5, -87.1, 300, dtype=np.float32)
    x[400:402] = np.float32(np.nan), np.uint32(0x7FC00001).view(np.float32)
    got = run_code(target, lambda k, values: shares(k, [values[0], values[0]])[1], x)
    wanted = np.exp(x.astype(np.float64))
    wanted[x < np.float32(-87.3)] = 0
    assert_close(got, wanted, 6e-6)
    error = np.abs(got - wanted)[~np.isnan(wanted)]
    assert error.max() < 1.2e-7  # of a sum of at least 1


@each_target
def test_power(target: CpuTarget) -> None:
    rng = np.random.default_rng(2)
    a = (rng.standard_normal(COUNT) * 3).astype(np.float32)
    b = (rng.standard_normal(COUNT) * 5).astype(np.float32)
    b[::3] = np.rint(b[::3])
    a[::2] = np.abs(a[::2])
    bases = [*SPECIAL, 2.0, -2.0, 3.0, -3.0, 1e38, 0.1]
    grid = np.array([(p, q) for p in bases for q in bases], np.float32)
    a[: len(grid)], b[: len(grid)] = grid[:, 0], grid[:, 1]
    got = apply(target, E.binary("pow", E.inp(0), E.inp(1)), a, b)
    with np.errstate(all="ignore"):
        wanted = np.power(a.astype(np.float64), b.astype(np.float64))
    assert_close(got, wanted, 1e-7)
    negative = np.signbit(wanted) & ~np.isnan(wanted)
    assert (np.signbit(got[~np.isnan(got)]) == negative[~np.isnan(got)]).all()


@each_target
def test_sigmoid(target: CpuTarget) -> None:
    x = np.maximum(samples(3, 80), np.float32(-85))
    got = apply(target, E.sigmoid(E.inp(0)), x)
    with np.errstate(all="ignore"):
        wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    small = x < -10  # where the result goes to 0 it is good for 1.5e-6
    assert_close(got[~small], wanted[~small], 4e-7)
    assert_close(got[small], wanted[small], 1.5e-6)


def all_magnitudes() -> np.ndarray:
    """Floats of every exponent and both signs, denormals, infinities and NaN among them."""
    steps = np.arange(COUNT, dtype=np.uint64) * ((1 << 32) // COUNT)
    offsets = np.random.default_rng(4).integers(0, (1 << 32) // COUNT, COUNT, np.uint64)
    x = (steps + offsets).astype(np.uint32).view(np.float32)
    x[: len(SPECIAL)] = SPECIAL
    return x


def relative_to_size(x: np.ndarray) -> np.ndarray:
    """Bound of x * f(x) with 0 <= f <= 1 exact to 2e-7 of 1 (where f cancels)."""
    return np.maximum(1, np.abs(x)) * 1.5e-7


WHOLE: dict[str, tuple[Expr, Callable[[np.ndarray], np.ndarray], Callable[..., np.ndarray]]] = {
    "sigmoid": (
        E.sigmoid(E.inp(0)),
        lambda x: 1 / (1 + np.exp(-x)),
        lambda x, y: 1.5e-6 * y + 2e-38,
    ),
    "swish": (
        E.mul(E.inp(0), E.sigmoid(E.inp(0))),
        lambda x: x / (1 + np.exp(-x)),
        lambda x, y: 1.5e-6 * np.abs(y) + 4e-37,
    ),
    "hardswish": (
        E.mul(E.inp(0), E.clip(E.add(E.mul(E.inp(0), E.const(1 / 6)), E.const(0.5)), 0.0, 1.0)),
        lambda x: x * np.clip(x * float(np.float32(1 / 6)) + 0.5, 0, 1),
        lambda x, y: relative_to_size(x),
    ),
    "gelu": (
        E.mul(
            E.mul(E.inp(0), E.const(0.5)),
            E.add(E.unary("erf", E.mul(E.inp(0), E.const(math.sqrt(0.5)))), E.const(1.0)),
        ),
        lambda x: x * 0.5 * np.vectorize(math.erfc)(-x * math.sqrt(0.5)),
        lambda x, y: relative_to_size(x),
    ),
    "gelu by tanh": (
        E.mul(
            E.mul(E.const(0.5), E.inp(0)),
            E.add(
                E.const(1.0),
                E.unary(
                    "tanh",
                    E.mul(
                        E.const(math.sqrt(2 / math.pi)),
                        E.add(
                            E.inp(0),
                            E.mul(E.const(0.044715), E.mul(E.inp(0), E.mul(E.inp(0), E.inp(0)))),
                        ),
                    ),
                ),
            ),
        ),
        lambda x: (
            x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + float(np.float32(0.044715)) * x**3)))
        ),
        lambda x, y: 2 * relative_to_size(x),
    ),
}

GELU = WHOLE["gelu"]
ERF_OF_X = E.add(E.const(1.0), E.unary("erf", E.mul(E.const(math.sqrt(0.5)), E.inp(0))))
SPELLINGS: dict[str, Expr] = {
    "x (1 + erf) / 2": E.mul(E.mul(E.inp(0), ERF_OF_X), E.const(0.5)),
    "x (1/2 (1 + erf))": E.mul(E.inp(0), E.mul(E.const(0.5), ERF_OF_X)),
    "scaled": E.mul(E.const(8.0), E.mul(E.mul(ERF_OF_X, E.inp(0)), E.const(0.0625))),
}
"""GELU as exporters write it, and with the scale of a quantization."""


@each_target
@pytest.mark.parametrize("name", WHOLE)
def test_activation_over_all_floats(name: str, target: CpuTarget) -> None:
    expr, reference, bound = WHOLE[name]
    x = all_magnitudes()
    got = apply(target, expr, x)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        wanted = reference(wide)
        single = wanted.astype(np.float32)
        error, allowed = np.abs(got - wanted), bound(wide, wanted)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(single))
    np.testing.assert_array_equal(got[np.isinf(single)], single[np.isinf(single)])
    finite = np.isfinite(single)
    worst = np.argmax(np.where(finite, error / allowed, 0))
    assert (error <= allowed)[finite].all(), f"{got[worst]} instead of {wanted[worst]}"


@each_target
@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_gelu(name: str, target: CpuTarget) -> None:
    _, found = plan(SPELLINGS[name])
    assert found, "no idiom"
    x = samples(2, 12)
    got = apply(target, SPELLINGS[name], x)
    with np.errstate(all="ignore"):
        wanted = GELU[1](x.astype(np.float64))
        finite = np.isfinite(wanted)
        assert (np.abs(got - wanted) <= relative_to_size(x))[finite].all()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


@each_target
@pytest.mark.parametrize("factor", (0.25, 1.0, 3.0))
def test_a_tanh_form_of_any_factor_is_nothing_where_the_sigmoid_is(
    factor: float, target: CpuTarget
) -> None:
    x = np.full(COUNT, -3e38, np.float32)
    x[0] = 2.0
    one_more = E.add(E.unary("tanh", E.inp(0)), E.const(1.0))
    got = apply(target, E.mul(E.mul(E.inp(0), E.const(factor)), one_more), x)
    np.testing.assert_allclose(got[0], factor * 2 * (1 + math.tanh(2)), rtol=1e-6)
    assert (got[1:] == 0).all()


def test_what_only_resembles_gelu_is_no_idiom() -> None:
    x, y, one = E.inp(0), E.inp(1), E.const(1.0)
    others = [
        E.mul(y, E.add(E.unary("erf", x), one)),
        E.mul(x, E.add(E.unary("erf", x), E.const(2.0))),
        E.mul(E.mul(x, y), E.add(E.unary("erf", x), one)),
        E.mul(x, E.add(E.unary("erf", E.mul(x, E.const(-1.0))), one)),
        E.mul(E.mul(x, E.const(1e30)), E.add(E.unary("erf", x), one)),
    ]
    for expr in others:
        assert not plan(expr)[1], expr


@pytest.mark.parametrize("name", ("gelu", "gelu by tanh"))
@each_target
def test_a_gelu_that_becomes_8_bits_is_good_for_a_small_part_of_a_quantum(
    name: str, target: CpuTarget
) -> None:
    expr, reference, _ = WHOLE[name]
    x = np.random.default_rng(6).uniform(-9, 9, COUNT).astype(np.float32)
    x[:2] = np.inf, np.nan
    got = apply(target, expr, x, coarse=True)
    assert got[0] == np.inf and np.isnan(got[1])
    wanted = reference(x[2:].astype(np.float64))
    np.testing.assert_allclose(got[2:], wanted, rtol=2e-4, atol=2e-6)


@each_target
@pytest.mark.parametrize("name", ("exp", "log", "tanh", "erf", "sqrt", "floor", "ceil", "round"))
def test_function_over_all_floats(name: str, target: CpuTarget) -> None:
    reference, relative = FUNCTIONS[name]
    x = all_magnitudes()
    got = apply(target, E.unary(name, E.inp(0)), x)
    with np.errstate(all="ignore"):
        assert_close(got, reference(x.astype(np.float64)), relative)


@each_target
@pytest.mark.parametrize("name", ("sin", "cos"))
def test_sine_of_huge_arguments_stays_bounded(name: str, target: CpuTarget) -> None:
    x = all_magnitudes()
    got = apply(target, E.unary(name, E.inp(0)), x)
    np.testing.assert_array_equal(np.isnan(got), ~np.isfinite(x))
    assert (np.abs(got[np.isfinite(x)]) <= 1).all()


def test_only_f32() -> None:
    module = Module(TARGETS[0])
    with (
        pytest.raises(BuildError, match="exp has CPU code for f32 only"),
        module.phase("f", 1, [Arg("x", f64)]) as k,
    ):
        emit_expr(k, E.unary("exp", E.inp(0)), [k.load(k.args["x"])])


@pytest.mark.parametrize("lanes", (4, 8, 16))
@each_target
def test_a_sigmoid_that_becomes_8_bits_is_good_for_a_small_part_of_a_quantum(
    target: CpuTarget, lanes: int
) -> None:
    x = np.resize(np.concatenate([[np.inf, np.nan, 0], np.linspace(-40, 40, 4001)]), 4096)
    x = x.astype(np.float32)
    got = np.zeros_like(x)
    module = Module(target)
    with (
        module.phase("f", x.size // lanes, [Arg("x", f32), Arg("y", f32)]) as k,
        k.loop(k.begin, k.end) as item,
    ):
        value = k.load(k.args["x"].at(item * lanes), lanes)
        swish = emit_expr(k, E.mul(E.inp(0), E.sigmoid(E.inp(0))), [value], coarse=True)
        k.store(swish, k.args["y"].at(item * lanes))
    library = runnable_code(module.source(), target)
    table = pointer_table([x.ctypes.data, got.ctypes.data])
    call(library["f"], table, 0, x.size // lanes)
    with np.errstate(all="ignore"):
        wanted = x * (1 / (1 + np.exp(-x.astype(np.float64))))
    assert got[0] == np.inf and np.isnan(got[1]) and got[2] == 0
    np.testing.assert_allclose(got[2:4000], wanted[2:4000], rtol=1.5e-4, atol=0)


@each_target
def test_a_coarse_sigmoid_gives_the_same_bytes_except_next_to_a_rounding_boundary(
    target: CpuTarget,
) -> None:
    """The swish of a quantized layer, against float64: a byte differs only where the exact value
    lies within 1.5e-4 of itself of a boundary between two bytes; those are fewer than one in a
    thousand."""
    x = np.random.default_rng(5).uniform(-12, 12, COUNT).astype(np.float32)
    scale, zero = np.float32(12.3 / 255), 6
    swish = E.mul(E.mul(E.inp(0), E.sigmoid(E.inp(0))), E.const(float(1 / scale)))
    byte = E.cast(E.add(E.unary("round", swish), E.const(float(zero))), u8)
    got = apply(target, E.cast(byte, f32), x, coarse=True)
    exact = x / (1 + np.exp(-x.astype(np.float64))) * float(np.float32(1 / scale))
    wanted = np.clip(np.rint(exact) + zero, 0, 255)
    differs = got != wanted
    distance = np.abs(exact - np.floor(exact) - 0.5)
    assert (np.abs(got - wanted) <= 1).all()
    assert (distance[differs] <= 1.5e-4 * np.abs(exact[differs])).all()
    assert differs.mean() < 1 / 1000
