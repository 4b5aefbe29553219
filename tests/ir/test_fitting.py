"""Sizes that are moved to what is required of them."""

from __future__ import annotations

from camshaft.ir.extents.extent import extent_of, floor_div
from camshaft.ir.extents.fitting import fitted, moved
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import Symbol

P, S, T, K = Symbol("p", 0, 16, 64), Symbol("s", 1, 64, 64), Symbol("t", 1, 80), Symbol("k", 2, 9)
past, seq, total, k = map(extent_of, (P, S, T, K))
SIZES = {"p": 16, "s": 64, "t": 80}
SUM = Constraint(total, "==", past + seq, "a mask")
TABLE = Constraint(72, ">=", past + seq, "a table")


def test_a_sum_follows_its_parts() -> None:
    """Neither part can be moved alone, since the sum was met before."""
    assert moved(TABLE, [SUM, TABLE], SIZES, [S, P], least={}, free=["s", "t"]) == {
        "p": 16,
        "s": 56,
        "t": 72,
    }
    assert moved(TABLE, [SUM, TABLE], SIZES, [S, P], least={}, free=[]) is None


def test_sizes_are_tried_within_their_ranges() -> None:
    """At k = 1, which it never is, there is no k // 2 to divide by."""
    rule = Constraint(floor_div(total, floor_div(k, 2)), ">=", 4, "a reshape")
    assert moved(rule, [rule], {"t": 8, "k": 9}, [K], least={}) == {"t": 8, "k": 5}


def test_free_sizes_fit_those_that_are_said() -> None:
    rules = [SUM, Constraint(total, "==", k, "an addition")]
    sizes = {**SIZES, "p": 3, "k": 9}
    assert fitted(rules, sizes, {"t", "k"}) == {"p": 3, "s": 64, "t": 67, "k": 67}
    assert fitted(rules, sizes, {"k"}) == sizes
    assert fitted([SUM], SIZES, {"t"}) == SIZES
