"""What must hold between open extents: learned while a graph is built, checked when sizes are set.

Adding `[n, 768]` and `[m, 768]` says n == m; a window of 3 over an axis of h says h >= 3.  Type
inference states such facts through `require_equal` and `require_at_least`.  What the extents'
bounds decide is decided on the spot; what they leave open is written down in the `Constraints` of
the graph being built, and holds from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from camshaft.errors import ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, known_different, ranges_of, sole_symbol
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import NAME, Symbol, UndecidedExtent


@dataclass
class Constraints:
    """The constraints of one graph, in the order in which they were learned."""

    found: dict[tuple[Extent, str, Extent], Constraint] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Constraint]:
        return iter(tuple(self.found.values()))

    def add(self, left: Extent, kind: str, right: Extent, why: str) -> None:
        """Write one down, unless it is there; the first node that needs it is the one to name."""
        self.found.setdefault((left, kind, right), Constraint(left, kind, right, why))

    def equal(self, a: Extent, b: Extent) -> bool:
        """Whether a == b is known."""
        return (a, "==", b) in self.found or (b, "==", a) in self.found

    @contextmanager
    def learning(self, why: str) -> Iterator[None]:
        """What is required within is written down here; why: the node that requires it."""
        token = _current.set((self, why))
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[tuple[Constraints, str] | None] = ContextVar("constraints", default=None)


def require_equal(a: Extent, b: Extent, otherwise: str) -> Extent:
    """The extent that a and b must both be; the simpler of the two.

    ModelError(otherwise) if they differ at all sizes; UndecidedExtent if nothing is decided and no
    graph is being built that could write it down.
    """
    if a == b:
        return a
    if known_different(a, b):
        raise ModelError(otherwise)
    current = _current.get()
    if current is None:
        raise UndecidedExtent(f"{a} == {b}", ranges_of(a, b))
    constraints, why = current
    first, second = simpler(a, b)
    constraints.add(second, "==", first, why)
    return first


def require_at_least(a: Extent, low: Extent, otherwise: str) -> None:
    """State a >= low.  Errors as in `require_equal`."""
    if isinstance(a, int) and isinstance(low, int):
        if a < low:
            raise ModelError(otherwise)
        return
    least, most = bounds(a - low)
    if least >= 0:
        return
    if most < 0:
        raise ModelError(otherwise)
    current = _current.get()
    if current is None:
        raise UndecidedExtent(f"{a} >= {low}", ranges_of(a, low))
    constraints, why = current
    constraints.add(a, ">=", low, why)


def apart(difference: Extent) -> tuple[Extent, Extent]:
    """Two extents of which neither subtracts anything, the first less the second being `difference`."""
    if isinstance(difference, int):
        return max(difference, 0), max(-difference, 0)
    added: Extent = 0
    for monomial, times in difference.terms:
        if times > 0:
            added = added + (Dim(((monomial, times),)) if monomial else times)
    return added, added - difference


def require_possible(shape: Sequence[Extent], what: object) -> None:
    """State that no extent of `shape` is negative; what: the type that has it.  Errors as above."""
    for axis, extent in enumerate(shape):
        if not isinstance(extent, int) or extent < 0:
            require_at_least(extent, 0, f"axis {axis} of the result, {what}, is negative")


def simpler(a: Extent, b: Extent) -> tuple[Extent, Extent]:
    """Both, the simpler one first."""
    first, second = sorted((a, b), key=_complexity)
    return first, second


def _complexity(e: Extent) -> tuple[int, int, str]:
    """Ints first, then symbols, then what has the shortest text."""
    if isinstance(e, int):
        return 0, 0, str(e)
    text = str(e)
    return (1 if NAME.fullmatch(text) else 2), len(text), text


# --- what constraints say of single symbols ----------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """What a symbol turned out to be: another symbol or number, or within `low` and `high`; why: in words."""

    symbol: Symbol
    same_as: Extent | None = None
    low: int | None = None
    high: int | None = None
    why: str = ""


def lessons(constraints: Constraints) -> list[Lesson]:
    """What the constraints say of single symbols: n == m, n + p == n + q, n == 8, h - 2 >= 1,
    min(512, n) == n."""
    found: list[Lesson] = []
    for c in constraints:
        same = _same(c)
        if same is not None:
            found.append(same)
            continue
        if len(c.symbols) == 1:
            low, high = _interval(c, c.symbols[0])
            if (low, high) != (None, None):
                found.append(Lesson(c.symbols[0], low=low, high=high, why=f"{c.why} needs {c}"))
    return found


def _same(c: Constraint) -> Lesson | None:
    """What it says if it makes a symbol another one or a number; of two symbols the simpler one stays."""
    symbol = sole_symbol(c.left)
    if c.kind != "==":
        return None
    if symbol is not None and isinstance(c.right, int):
        return Lesson(symbol, same_as=c.right)
    difference = c.left - c.right
    if isinstance(difference, int) or len(difference.terms) != 2:
        return None
    (first, times), (second, against) = difference.terms
    alone = [Dim(((monomial, 1),)) for monomial in (first, second)]
    if times != -against or None in map(sole_symbol, alone):
        return None
    stays, goes = simpler(*alone)
    gone = sole_symbol(goes)
    assert gone is not None
    return Lesson(gone, same_as=stays)


_FARTHEST = 1 << 16


def _interval(c: Constraint, symbol: Symbol) -> tuple[int | None, int | None]:
    """New least and largest sizes, where the constraint holds exactly between the two."""
    most = max(_FARTHEST, 2 * symbol.low) if symbol.high is None else symbol.high

    def holds(size: int) -> bool:
        return c.holds({symbol.name: size})

    inside = next((s for s in (symbol.typical, most, *_spread(symbol.low, most)) if holds(s)), None)
    if inside is None:
        return None, None
    low = _first(holds, symbol.low, inside)
    high = most - _first(lambda d: holds(most - d), 0, most - inside)
    tried = {*range(low, min(low + 64, high)), *range(max(high - 64, low), high + 1),
             *_spread(low, high)}  # fmt: skip
    beyond = {*range(max(symbol.low, low - 64), low), *range(high + 1, min(high + 64, most) + 1)}
    if not all(map(holds, tried)) or any(map(holds, beyond)):
        return None, None  # for some sizes in between, not for others: divisibility
    return (low if low > symbol.low else None), (high if high < most else None)


def _spread(low: int, high: int) -> list[int]:
    """Sizes between the two, dense at small ones."""
    sizes = {low + d for d in (0, 1, 2, 3, 5, 8, 16, 31, 32, 33, 48, 64, 100, 127, 256, 500, 1000)}
    sizes |= {low + (high - low) * i // 7 for i in range(8)}
    return sorted(s for s in sizes if low <= s <= high)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number from which on it holds up to `high`, at which it does, by bisection."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def broken(constraints: Sequence[Constraint], sizes: Mapping[str, int]) -> Constraint | None:
    """The first constraint that these sizes break."""
    return next((c for c in constraints if not c.holds(sizes)), None)
