"""Bounds of symbolic extents: what the ranges of the symbols say about a sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from math import ceil, floor, inf

from camshaft.ir.extents.symbol import Atom, Bound, Call, Monomial, Sum, Symbol, terms_of

_MOST_CASES = 4
"""How many minima and maxima of a sum are looked at case by case, one inside the other."""


@cache
def bounds(e: int | Sum) -> tuple[Bound, Bound]:
    """Least and largest value that the symbols' ranges allow; not always the tightest ones."""
    if isinstance(e, int):
        return e, e
    terms = {m: Fraction(c) for m, c in e.terms}
    high = -_least({m: -c for m, c in terms.items()}, _MOST_CASES)
    return _whole(_least(terms, _MOST_CASES), up=True), _whole(high, up=False)


def _least(terms: Mapping[Monomial, Fraction], cases: int) -> Fraction | float:
    """What a sum is at least; its terms may depend on each other: x - x // 2, max(x, 8) - x.

    cases: of so many minima and maxima each operand is put in their place; the sum is then the
    smaller or the larger of the two.
    """
    low = _sum_least(terms)
    if any(isinstance(a, Call) and a.op == "div" for m in terms for a, _ in m):
        low = max(low, _sum_least(_without_divisions(terms)))
    extremes = [
        (call, m, (call.op == "min") == (terms[m] > 0)) for call, m in _extremes(terms)
    ]  # fmt: skip
    if cases and extremes:
        call, m, is_smaller = max(extremes, key=lambda x: x[2])  # exact: the least of the smaller
        ends = [_least(_replaced(terms, m, x), cases - 1) for x in call.args]
        low = max(low, min(ends) if is_smaller else max(ends))
    return low


def _extremes(terms: Iterable[Monomial]) -> Iterator[tuple[Call, Monomial]]:
    """The terms that are a minimum or a maximum."""
    for m in terms:
        atom = m[0][0] if len(m) == 1 and m[0][1] == 1 else None
        if isinstance(atom, Call) and atom.op in ("min", "max"):
            yield atom, m


def _replaced(
    terms: Mapping[Monomial, Fraction], monomial: Monomial, by: int | Sum
) -> dict[Monomial, Fraction]:
    """The sum with one of its monomials replaced."""
    total = {m: c for m, c in terms.items() if m != monomial}
    for n, d in terms_of(by):
        total[n] = total.get(n, Fraction(0)) + terms[monomial] * d
    return total


def _whole(x: Fraction | float, *, up: bool) -> Bound:
    if x in (inf, -inf):
        return float(x)
    return ceil(x) if up else floor(x)


def _without_divisions(terms: Mapping[Monomial, Fraction]) -> dict[Monomial, Fraction]:
    """A sum that is nowhere larger than the given one: (x - (b-1))/b <= x//b <= x/b."""
    total: dict[Monomial, Fraction] = {}

    def add(m: Monomial, c: Fraction) -> None:
        total[m] = total.get(m, Fraction(0)) + c

    for m, c in terms.items():
        atom = m[0][0] if len(m) == 1 and m[0][1] == 1 else None
        if not isinstance(atom, Call) or atom.op != "div" or not isinstance(atom.args[1], int):
            add(m, c)
            continue
        x, b = atom.args[0], atom.args[1]
        share = c / b
        for n, d in terms_of(x):
            add(n, share * d)
        if c > 0:
            add((), -share * (b - 1))
    return total


def _sum_least(terms: Mapping[Monomial, Fraction]) -> Fraction | float:
    low: Fraction | float = Fraction(0)
    for m, c in terms.items():
        low = low + min(_times(c, bound) for bound in _product_bounds(m))
    return low


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
