"""Sizes that meet what is required of them: where some do not, the next ones that do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice

from camshaft.ir.extents.constraints import broken
from camshaft.ir.extents.sizes import Constraint, evaluate
from camshaft.ir.extents.symbol import Symbol

_MOST_STEPS = 4096
_MOST_FOLLOWED = 16
"""Sizes of one symbol for which others are tried that would have to follow."""


def candidates(symbol: Symbol, fault: Constraint, sizes: Mapping[str, int]) -> list[int]:
    """Sizes to try: the one that is right if `fault`, at these sizes, is linear in the symbol; the next
    multiples of powers of two; then whatever comes next, up and down."""
    high = symbol.typical + _MOST_STEPS if symbol.high is None else symbol.high
    base = max(1, symbol.low)
    first, second = (
        evaluate(fault.left, at) - evaluate(fault.right, at)
        for at in ({**sizes, symbol.name: size} for size in (base, base + 1))
    )
    tried = [base - first // (second - first)] if second != first else []
    tried = [size for size in tried if symbol.high is None or size <= symbol.high]
    nearby = [-(-symbol.typical // m) * m for m in (2, 4, 8, 16, 32, 64, 128)]
    nearby += range(symbol.typical + 1, min(high, symbol.typical + _MOST_STEPS) + 1)
    nearby += range(symbol.typical - 1, max(symbol.low, symbol.typical - _MOST_STEPS) - 1, -1)
    tried += [size for size in nearby if size <= high]
    return [size for size in tried if size >= symbol.low]


def mends(
    fault: Constraint,
    rules: Sequence[Constraint],
    sizes: Mapping[str, int],
    moved: Mapping[str, int],
) -> bool:
    """Whether sizes that were moved meet a rule, and every other one that was met before."""
    return fault.holds(moved) and all(r.holds(moved) for r in rules if r.holds(sizes))


def moved(
    fault: Constraint,
    rules: Sequence[Constraint],
    sizes: Mapping[str, int],
    movable: Sequence[Symbol],
    *,
    least: Mapping[str, int],
    free: Collection[str] = (),
) -> dict[str, int] | None:
    """The sizes with some moved so that they meet `fault`, and every rule that they met; None if none near do.

    One of those in `movable`, in this order, or if that does not do, one of them beside the sizes `least`; else all of
    them together, to a half, a quarter and so on.  free: what may follow where neither does, so that other rules
    hold again: a sum whose parts are moved.
    """
    halves = [
        {**sizes, **{s.name: max(s.low, s.typical // 2**n) for s in movable}} for n in range(1, 12)
    ]

    def singles() -> Iterator[dict[str, int]]:
        return chain(_single(fault, sizes, movable, {}), _single(fault, sizes, movable, least))

    def keeps_all(way: Mapping[str, int]) -> bool:
        """Whether no size becomes 0: nothing would be seen of what has it."""
        return all(size or not sizes[name] for name, size in way.items())

    for way in chain(filter(keeps_all, singles()), halves, singles()):
        if mends(fault, rules, sizes, way):
            return way
    met = [r for r in rules if r.holds(sizes)]
    for way in chain(islice(filter(fault.holds, singles()), _MOST_FOLLOWED), halves):
        still = {name for name in free if way[name] == sizes[name]}
        followed = fitted(met, way, still)
        if mends(fault, rules, sizes, followed):
            return followed
    return None


def _single(
    fault: Constraint,
    sizes: Mapping[str, int],
    movable: Sequence[Symbol],
    others: Mapping[str, int],
) -> Iterator[dict[str, int]]:
    """The sizes with `others`, and one symbol moved to a size at which `fault` may hold."""
    start = {**sizes, **others}
    for symbol in movable:
        for size in candidates(symbol, fault, start):
            yield {**start, symbol.name: size}


def fitted(
    rules: Sequence[Constraint], sizes: Mapping[str, int], free: Collection[str]
) -> dict[str, int]:
    """The sizes with those called `free` moved, one for each rule that they break, to what meets it; as they are
    where that cannot be."""
    found = dict(sizes)
    for _ in rules:
        fault = broken(rules, found)
        if fault is None:
            break
        tried = (
            {**found, symbol.name: size}
            for symbol in fault.symbols
            if symbol.name in free
            for size in candidates(symbol, fault, found)
        )
        moved = next((t for t in tried if mends(fault, rules, found, t)), None)
        if moved is None:
            break
        found = moved
    return found
