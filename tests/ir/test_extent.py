"""Symbolic extents: the normal form, what bounds decide, and that nothing is guessed."""

from __future__ import annotations

import random
from math import inf

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import (
    Dim,
    Extent,
    ceil_div,
    exact_quotient,
    extent_of,
    known_different,
    largest,
    remainder,
    smallest,
    symbols_of,
)
from camshaft.ir.extents.sizes import evaluate, is_static, parse, substitute, typical
from camshaft.ir.extents.symbol import Bound, Symbol, UndecidedExtent

N = Symbol("n", 1, 4, 16)
H = Symbol("h", 1, 224)
W = Symbol("w", 32, 320, 4096)
n, h, w = (extent_of(s) for s in (N, H, W))
SYMBOLS = {s.name: s for s in (N, H, W)}


def test_constants_are_ints():
    assert type(n - n) is int and n - n == 0
    assert type((8 * n + 3) // 8 - n) is int
    assert (8 * n + 3) % 8 == 3
    assert extent_of(Symbol("one", 3, 3, 3)) == 3
    assert is_static((n - n, 5)) and not is_static((1, n))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (n * 3 + n, "4*n"),
        (h * n - 2, "h*n - 2"),
        ((h + 3) // 2 // 2, "(h + 3)//4"),
        (((h + 1) // 2 + 1) // 2, "(h + 3)//4"),
        (-(-h // 8), "(h + 7)//8"),
        (ceil_div(h, 8), "(h + 7)//8"),
        ((4 * h + 2) // 4, "h"),
        ((4 * h + 6) // 4, "h + 1"),
        (h * w * n // (h * n), "w"),
        ((h + 1) * (w + 1) // (w + 1), "h + 1"),
        (n // 32, "0"),
        (smallest(n, 100), "n"),
        (largest(n, h, 1), "max(h, n)"),
    ],
)
def test_normal_form(made: Extent, text: str):
    assert str(made) == text
    assert parse(text, SYMBOLS) == made


def test_equality_is_for_all_sizes():
    assert n * (h + 1) == h * n + n
    assert hash(n * (h + 1)) == hash(h * n + n)
    assert n != h and n != 4
    assert not known_different(n, 4) and known_different(n, 17) and known_different(h, h + 1)


def test_bounds_decide_or_nothing_does():
    assert w > 16 and n < 17 and h >= 1 and not n > 16
    assert h - h // 2 >= 0  # terms that hang together
    assert h // 2 <= h and 2 * ((h + 1) // 2) >= h
    assert bool(n) and w > 3
    for undecided in (lambda: n < 8, lambda: h > w, lambda: bool(n - 1), lambda: range(n)):
        with pytest.raises(UndecidedExtent, match="not decided by"):
            undecided()
    with pytest.raises(UndecidedExtent, match=r"h - 1 > 0 is not decided by h = 1\.\."):
        n // (h - 1)


def test_numbers_that_are_not_known_are_not_computed_with():
    for use in (
        lambda: h * 0.5,
        lambda: 1.0 / h,
        lambda: h / 2,
        lambda: h > 0.5,
        lambda: float(h),
        lambda: np.zeros(h),
        lambda: np.arange(h),
        lambda: np.broadcast_to(np.ones(1), (h,)),
    ):
        with pytest.raises(UndecidedExtent, match="the number h is not decided"):
            use()


def test_bounds_of_unbounded():
    assert bounds(h) == (1, inf)
    assert bounds(n - h) == (-inf, 15)
    assert bounds(h % 7) == (0, 6)
    assert bounds((h + 6) // 7) == (1, inf)


def _random(rng: random.Random, depth: int) -> Extent:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([n, h, w, rng.randrange(0, 9)])
    a, b = _random(rng, depth - 1), _random(rng, depth - 1)
    c = rng.randrange(1, 7)
    kind = rng.randrange(7)
    if kind == 0:
        return a + b
    if kind == 1:
        return a - b
    if kind == 2:
        return a * (b if depth < 3 else c)
    if kind == 3:
        return a // c
    if kind == 4:
        return remainder(a, c)
    return smallest(a, b) if kind == 5 else largest(a, b)


def _python(rng: random.Random, depth: int, sizes: dict[str, int]) -> int:
    """The same draws as `_random`, computed on ints."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([sizes["n"], sizes["h"], sizes["w"], rng.randrange(0, 9)])
    a, b = _python(rng, depth - 1, sizes), _python(rng, depth - 1, sizes)
    c = rng.randrange(1, 7)
    kind = rng.randrange(7)
    return [a + b, a - b, a * (b if depth < 3 else c), a // c, a % c, min(a, b), max(a, b)][kind]


@pytest.mark.parametrize("seed", range(300))
def test_arithmetic_is_pythons(seed: int):
    depth = 1 + seed % 4
    e = _random(random.Random(seed), depth)
    assert parse(str(e), SYMBOLS) == e
    low, high = bounds(e)
    for trial in range(12):
        rng = random.Random(1000 * seed + trial)
        sizes = {"n": rng.randint(1, 16), "h": rng.randint(1, 99), "w": rng.randint(32, 4096)}
        expected = _python(random.Random(seed), depth, sizes)
        assert evaluate(e, sizes) == expected
        assert low <= expected <= high
        values = {SYMBOLS[name]: size for name, size in sizes.items()}
        assert substitute(e, values) == expected


@pytest.mark.parametrize("seed", range(40))
def test_exact_quotients(seed: int):
    rng = random.Random(seed)
    a, b = (_random(rng, 2) + 1 for _ in range(2))
    if a == 0 or b == 0:
        return
    quotient = exact_quotient(a * b, b)
    assert quotient == a
    assert exact_quotient(a * b + 1, b) is None or b in (1, -1)


@pytest.mark.parametrize(
    "name", ["class", "lambda", "None", "min", "max", "_0", "\u00b5", "\ufb01", "\u2167", "n\u00b2"]
)
def test_any_name_is_read_back(name: str):
    """Keywords of Python, names that Python normalizes, and those of extents' functions."""
    symbols = {name: Symbol(name, 1, 4), "m": Symbol("m", 0, 4)}
    n, m = map(extent_of, symbols.values())
    e = smallest(3 * n + m, largest(n * m, 5)) // 2 + n
    assert parse(str(e), symbols) == e


@pytest.mark.parametrize("name", ["", "1", "a b", "a-b", "a.b", "\u00b7"])
def test_names_are_words(name: str):
    with pytest.raises(ModelError, match="named by letters"):
        Symbol(name)


def test_text_of_damage():
    for text in (
        "n +",
        "m + 1",
        "__import__('os')",
        "n ** 2",
        "1.5",
        "n if h else w",
        "n // (n - 1)",
    ):
        with pytest.raises(ValueError):
            parse(text, SYMBOLS)


def test_symbols():
    assert symbols_of(h * n, w // 2 + n) == (H, N, W)
    assert typical(h * n + 1) == 897
    assert isinstance(substitute(h * n, {H: 3}), Dim)
    assert substitute(h * n, {H: 3, N: 2}) == 6
    with pytest.raises(ModelError, match="ascend"):
        Symbol("x", 4, 2)
    with pytest.raises(ModelError, match="letters"):
        Symbol("batch-size")
    with pytest.raises(ModelError, match="no size is given for 'h'"):
        evaluate(h, {})


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (largest(n, 8 - n) - n, (0, inf)),
        (n - smallest(n, 8 - n), (0, inf)),
        (smallest(h, 9) - smallest(h, 7), (0, inf)),
        (largest(0, h - 3) - h, (-inf, -1)),
        (smallest(largest(h, n), 4) - 4, (-3, 0)),
    ],
)
def test_bounds_look_at_extremes_case_by_case(e: Extent, expected: tuple[Bound, Bound]) -> None:
    low, high = bounds(e)
    assert low >= expected[0] and high <= expected[1]
