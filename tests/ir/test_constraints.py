"""What constraints say of single symbols."""

from __future__ import annotations

import pytest

from camshaft.ir.extents.constraints import Constraints, Lesson, lessons
from camshaft.ir.extents.extent import Extent, extent_of, floor_div, smallest
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import Symbol


def learned(symbol: Symbol, left: Extent, kind: str, right: Extent) -> list[Lesson]:
    constraints = Constraints()
    constraints.add(left, kind, right, "a test")
    return lessons(constraints)


def test_a_range() -> None:
    n = Symbol("n", 1, 8)
    assert learned(n, extent_of(n) - 2, ">=", 1) == [
        Lesson(n, low=3, why="a test needs n - 2 >= 1")
    ]
    (lesson,) = learned(n, smallest(512, extent_of(n)), "==", extent_of(n))
    assert (lesson.low, lesson.high) == (None, 512) and lesson.why.startswith("a test needs")


def test_another_symbol_or_a_number() -> None:
    n, m = Symbol("n"), extent_of(Symbol("m"))
    assert learned(n, extent_of(n), "==", m) == [Lesson(n, same_as=m)]
    assert learned(n, extent_of(n), "==", 4) == [Lesson(n, same_as=4)]


def test_what_stands_on_both_sides_does_not_hide_it() -> None:
    """As the lengths of keys and values, of which each is appended to a past of its own."""
    s, p, value = Symbol("s"), Symbol("p"), Symbol("value")
    n, key, other = extent_of(s), extent_of(p), extent_of(value)
    same = [Lesson(value, same_as=key)]
    assert learned(value, n + other, "==", n + key) == same
    assert learned(value, 2 * key + n, "==", 2 * other + n) == same
    for left, right in ((n + other, n + 2 * key), (n + other, n + key + 1), (n * other, n * key)):
        assert learned(value, left, "==", right) == []


@pytest.mark.parametrize("symbol", [Symbol("c"), Symbol("c", 4, 4), Symbol("c", 1, 64, 128)])
def test_what_must_divide_is_no_range(symbol: Symbol) -> None:
    assert learned(symbol, extent_of(symbol) % 4, "==", 0) == []


@pytest.mark.parametrize("least", [0, 1])
def test_divisibility_is_said_as_such(least: int) -> None:
    b, t = (extent_of(Symbol(name, least)) for name in "bt")
    rows = 300 * b * t
    assert str(Constraint(1200 * floor_div(rows, 1200), "==", rows, "")) == (
        "b*t to be a multiple of 4"
    )
    assert (
        str(Constraint(t + 1, "==", 2 * floor_div(t + 1, 2), "")) == "t + 1 to be a multiple of 2"
    )
    assert str(Constraint(7 * floor_div(t, 7), "==", b, "")) == "7*(t//7) == b"
