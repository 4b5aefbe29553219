"""Shorter expressions have the same value, and the ones people write become short."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.types import f32, i8, i32, u8
from camshaft.passes.canonical.simplify import ANY, bounds, range_of_type, simplify
from random_exprs import RandomExpr

X = E.inp(0)
ZERO, SIX = E.const(0.0), E.const(6.0)
HALF = E.const(0.5)
HARD_SIGMOID = E.clip(E.add(E.mul(X, E.const(0.2)), HALF), 0.0, 1.0)
GELU = E.mul(E.mul(HALF, X), E.add(E.const(1.0), E.unary("erf", E.mul(X, E.const(2**-0.5)))))
SWISH = E.mul(X, E.sigmoid(X))


def relu(x: E.Expr) -> E.Expr:
    return E.maximum(x, ZERO)


CASES = {
    "relu(relu)": (relu(relu(X)), relu(X)),
    "relu(sigmoid)": (relu(E.sigmoid(X)), E.sigmoid(X)),
    "relu6(relu)": (E.clip(relu(X), 0.0, 6.0), E.minimum(relu(X), SIX)),
    "clip(clip)": (E.clip(E.clip(X, -1.0, 4.0), 0.0, 6.0), E.clip(X, 0.0, 4.0)),
    "disjoint clips": (
        E.clip(E.clip(X, 5.0, 6.0), 0.0, 1.0),
        E.maximum(E.minimum(X, E.const(1.0)), E.const(1.0)),  # 1, or NaN
    ),
    "disjoint integer clips": (
        E.maximum(E.minimum(E.inp(1), E.const(3, u8)), E.const(5, u8)),
        E.const(5, u8),
    ),
    "abs(neg)": (E.unary("abs", E.unary("neg", X)), E.unary("abs", X)),
    "abs(relu)": (E.unary("abs", relu(X)), relu(X)),
    "neg(neg)": (E.unary("neg", E.unary("neg", X)), X),
    "cast to own type": (E.cast(E.add(X, ZERO), f32), X),
    "u8 of f32 of u8": (E.cast(E.cast(E.inp(1), f32), u8), E.inp(1)),
    "round of an integer": (E.unary("round", E.cast(E.inp(1), f32)), E.cast(E.inp(1), f32)),
    "halving": (E.div(X, E.const(2.0)), E.mul(X, E.const(0.5))),
    "third power": (E.binary("pow", X, E.const(3.0)), E.mul(E.mul(X, X), X)),
    "relu(square)": (relu(E.binary("pow", X, E.const(2.0))), E.mul(X, X)),
    "hard sigmoid clipped": (E.clip(HARD_SIGMOID, 0.0, 1.0), HARD_SIGMOID),
}


@pytest.mark.parametrize("case", CASES)
def test_known_forms(case) -> None:
    long, short = CASES[case]
    assert simplify(long, [f32, u8]) == short


@pytest.mark.parametrize(
    "e",
    [
        E.clip(X, -1.0, 4.0),
        relu(E.unary("tanh", X)),
        E.unary("abs", X),
        E.div(X, E.const(3.0)),
        E.cast(E.cast(E.inp(1), i8), u8),
        E.cast(E.cast(X, i32), f32),
        GELU,
        SWISH,
        E.minimum(E.maximum(X, E.inp(1)), SIX),
    ],
    ids=str,
)
def test_nothing_to_gain(e) -> None:
    types = [f32, f32] if "max" in str(e) and "i1" in str(e) else [f32, u8]
    assert simplify(e, types) == e


def test_known_range_of_an_input_drops_the_clip() -> None:
    assert simplify(relu(X), [f32], [(0.0, 3.0)]) == X
    assert simplify(relu(X), [f32], [(-1e-9, 3.0)]) == relu(X)
    assert simplify(E.clip(X, 0.0, 6.0), [f32], [(0.0, 7.0)]) == E.minimum(X, SIX)


def test_wrapping_arithmetic_has_no_known_range() -> None:
    total = E.add(X, E.const(1, u8))
    assert bounds(total, [u8], [range_of_type(u8)]) == (0.0, 255.0)
    assert bounds(E.cast(total, i32), [u8], [range_of_type(u8)]) == (0.0, 255.0)


@pytest.mark.parametrize("seed", range(300))
def test_random_expression_keeps_its_value_and_its_bounds(seed) -> None:
    grown = RandomExpr(seed)
    e = grown.make(2 + seed % 5)
    x = np.concatenate(
        [grown.rng.standard_normal(60) * 10, [0.0, 1.0, 6.0, -1.0, 127.5, 300.0, np.nan]]
    )
    inputs = [x.astype(np.float32), grown.rng.integers(0, 256, x.size).astype(np.uint8)]
    want = E.evaluate(e, inputs)
    short = simplify(e, [f32, u8])
    real = np.ones(x.size, bool)
    numbers_only = any(part.dtype in (u8, i8, i32) for part in E.nodes(e) if part.op == "cast")
    for part in E.nodes(e):  # no overflow on the way, and no NaN where it becomes an integer
        value = np.broadcast_to(E.evaluate(part, inputs), x.shape)
        real &= np.isfinite(value) if numbers_only else ~np.isinf(value)
    want = np.broadcast_to(want, x.shape)
    got = np.broadcast_to(E.evaluate(short, inputs), x.shape)
    np.testing.assert_allclose(got[real], want[real], rtol=1e-6, atol=1e-6)
    assert E.cost(short) <= E.cost(e) + sum(x.op == "pow" for x in E.nodes(e))
    low, high = bounds(e, [f32, u8], [ANY, range_of_type(u8)])
    real &= ~np.isnan(want)  # bounds are those of numbers
    assert np.all(want[real] >= low) and np.all(want[real] <= high)
