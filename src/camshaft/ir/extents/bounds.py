"""Bounds of symbolic extents: what the ranges of the symbols say about a sum."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from math import ceil, floor, inf

from camshaft.ir.extents.symbol import Atom, Bound, Call, Monomial, Sum, Symbol, terms_of


@cache
def bounds(e: int | Sum) -> tuple[Bound, Bound]:
    """Least and largest value that the symbols' ranges allow; not always the tightest ones."""
    if isinstance(e, int):
        return e, e
    low, high = _sum_bounds(((m, Fraction(c)) for m, c in e.terms))
    if any(isinstance(a, Call) and a.op == "div" for m, _ in e.terms for a, _ in m):
        # Terms that depend on each other: x - x // 2 and the like.
        low = max(low, _sum_bounds(_without_divisions(e, upper=False))[0])
        high = min(high, _sum_bounds(_without_divisions(e, upper=True))[1])
    return _whole(low, up=True), _whole(high, up=False)


def _whole(x: Fraction | float, *, up: bool) -> Bound:
    if x in (inf, -inf):
        return float(x)
    return ceil(x) if up else floor(x)


def _without_divisions(e: Sum, *, upper: bool) -> Iterable[tuple[Monomial, Fraction]]:
    """Terms of a sum that is nowhere smaller (larger) than `e`: (x - (b-1))/b <= x//b <= x/b."""
    total: dict[Monomial, Fraction] = {}

    def add(m: Monomial, c: Fraction) -> None:
        total[m] = total.get(m, Fraction(0)) + c

    for m, c in e.terms:
        atom = m[0][0] if len(m) == 1 and m[0][1] == 1 else None
        if not isinstance(atom, Call) or atom.op != "div" or not isinstance(atom.args[1], int):
            add(m, Fraction(c))
            continue
        x, b = atom.args[0], atom.args[1]
        share = Fraction(c, b)
        for n, d in terms_of(x):
            add(n, share * d)
        if (c > 0) != upper:
            add((), -share * (b - 1))
    return total.items()


def _sum_bounds(
    terms: Iterable[tuple[Monomial, Fraction]],
) -> tuple[Fraction | float, Fraction | float]:
    low: Fraction | float = Fraction(0)
    high: Fraction | float = Fraction(0)
    for m, c in terms:
        a, b = _product_bounds(m)
        ends = (_times(c, a), _times(c, b))
        low, high = low + min(ends), high + max(ends)
    return low, high


def _times(a: Fraction | Bound, b: Fraction | Bound) -> Fraction | float:
    if a == 0 or b == 0:
        return Fraction(0)
    return a * b


def _product_bounds(m: Monomial) -> tuple[Fraction | float, Fraction | float]:
    low: Fraction | float = Fraction(1)
    high: Fraction | float = Fraction(1)
    for atom, power in m:
        a, b = _atom_bounds(atom)
        for _ in range(power):
            ends = [_times(x, y) for x in (low, high) for y in (a, b)]
            low, high = min(ends), max(ends)
    return low, high


@cache
def _atom_bounds(atom: Atom) -> tuple[Bound, Bound]:
    if isinstance(atom, Symbol):
        return atom.low, inf if atom.high is None else atom.high
    (a, b), (c, d) = (bounds(x) for x in atom.args)
    if atom.op == "div":  # of a positive divisor
        ends = [x if y == inf and x in (inf, -inf) else _quotient(x, y) for x in (a, b)
                for y in (c, d)]  # fmt: skip
        return min(ends), max(ends)
    if atom.op == "mod":
        most = d - 1
        return 0, min(b, most) if a >= 0 else most
    pick = min if atom.op == "min" else max
    return pick(a, c), pick(b, d)


def _quotient(x: Bound, y: Bound) -> Bound:
    if y == inf:
        return 0 if x >= 0 else -1
    return x if x in (inf, -inf) else x // y


@cache
def symbols_in(e: int | Sum) -> tuple[Symbol, ...]:
    """The symbols of an extent, in order of first appearance."""
    found: dict[Symbol, None] = {}
    for m, _ in terms_of(e):
        for atom, _ in m:
            if isinstance(atom, Symbol):
                found[atom] = None
            else:
                found.update((s, None) for x in atom.args for s in symbols_in(x))
    return tuple(found)
