"""Extents of axes: plain ints, or integer expressions over symbols.

`Extent = int | Dim`.  A `Symbol` stands for a size that is known only when an engine runs (batch,
height, length); a `Dim` is an expression over symbols in normal form: a sum of coefficients times
products of *atoms*, where an atom is a symbol, a floor division, a remainder, a minimum or a
maximum.  Arithmetic that comes out constant returns an int, so a `Dim` is never constant, and a
graph without symbols holds nothing but ints.

`==` is equality for all sizes: two Dims are equal if their normal forms are, and a Dim equals no
int.  `a == b` being False therefore means "not known to be equal"; code that would go wrong if
they were equal after all must ask `known_different`.  `<`, `<=`, `>`, `>=` and truth are decided
by the symbols' bounds; what the bounds leave open raises UndecidedExtent and is never guessed.
(JAX's shape polymorphism decides comparisons in the same way: jax.export, shape_poly.)
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from camshaft.ir.extents.bounds import bounds, symbols_in
from camshaft.ir.extents.symbol import (
    Bound,
    Call,
    Monomial,
    Symbol,
    UndecidedExtent,
    atom_key,
    terms_of,
    text_of,
)


class Dim:
    """An expression that is not constant.  Made by arithmetic; see the module's text."""

    __slots__ = ("__weakref__", "_hash", "_text", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        """terms: monomials with coefficients other than 0, in order; use `extent_of` and operators."""
        self.terms = terms
        self._hash = hash(terms)
        self._text: str | None = None

    # -- arithmetic ----------------------------------------------------------------------------

    def __add__(self, other: Extent) -> Extent:
        return _added(self, other, 1) if _is_extent(other) else self._refused(other)

    __radd__ = __add__

    def __sub__(self, other: Extent) -> Extent:
        return _added(self, other, -1) if _is_extent(other) else self._refused(other)

    def __rsub__(self, other: Extent) -> Extent:
        return _added(-self, other, 1) if _is_extent(other) else self._refused(other)

    def __neg__(self) -> Extent:
        return self * -1

    def __mul__(self, other: Extent) -> Extent:
        if not _is_extent(other):
            return self._refused(other)  # type: ignore[no-any-return]
        if isinstance(other, int):
            scaled = Dim(tuple((m, c * other) for m, c in self.terms)) if other else 0
            return self if other == 1 else scaled
        total: dict[Monomial, int] = {}
        for m, c in self.terms:
            for n, d in terms_of(other):
                both = _joined(m, n)
                total[both] = total.get(both, 0) + c * d
        return _extent(total)

    __rmul__ = __mul__

    def __floordiv__(self, other: Extent) -> Extent:
        return floor_div(self, other) if _is_extent(other) else self._refused(other)

    def __rfloordiv__(self, other: Extent) -> Extent:
        return floor_div(other, self) if _is_extent(other) else self._refused(other)

    def __mod__(self, other: Extent) -> Extent:
        return remainder(self, other) if _is_extent(other) else self._refused(other)

    def __rmod__(self, other: Extent) -> Extent:
        return remainder(other, self) if _is_extent(other) else self._refused(other)

    # -- questions -----------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and (self is other or self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: Extent) -> bool:
        return (
            _is_less(self, other, f"{self} < {other}")
            if _is_extent(other)
            else self._refused(other)
        )

    def __le__(self, other: Extent) -> bool:
        if not _is_extent(other):
            return self._refused(other)  # type: ignore[no-any-return]
        return not _is_less(other, self, f"{self} <= {other}")

    def __gt__(self, other: Extent) -> bool:
        return (
            _is_less(other, self, f"{self} > {other}")
            if _is_extent(other)
            else self._refused(other)
        )

    def __ge__(self, other: Extent) -> bool:
        if not _is_extent(other):
            return self._refused(other)  # type: ignore[no-any-return]
        return not _is_less(self, other, f"{self} >= {other}")

    def __bool__(self) -> bool:
        low, high = bounds(self)
        if low > 0 or high < 0:
            return True
        raise UndecidedExtent(f"{self} != 0", ranges_of(self))

    def _has_no_number(self) -> NoReturn:
        raise UndecidedExtent(f"the number {self}", ranges_of(self))

    if (
        not TYPE_CHECKING
    ):  # a checker reports where an int is taken for granted; at run time they say why
        __index__ = __int__ = __float__ = _has_no_number

        def __truediv__(self, other: object) -> NoReturn:
            self._has_no_number()

        __rtruediv__ = __truediv__

    def _refused(self, other: object) -> Any:
        """The result of arithmetic with something that is no extent; a float needs the number,
        which raises UndecidedExtent."""
        if isinstance(other, float):
            self._has_no_number()
        return NotImplemented

    def __str__(self) -> str:
        if self._text is None:
            self._text = text_of(self)
        return self._text

    __repr__ = __str__


Extent = int | Dim


def extent_of(symbol: Symbol) -> Extent:
    """The symbol as an extent; an int if its range holds one number."""
    return symbol.low if symbol.low == symbol.high else Dim(((((symbol, 1),), 1),))


def operands(atom: Call) -> tuple[Extent, Extent]:
    """The two extents that an atom is computed from."""
    a, b = atom.args
    assert _is_extent(a) and _is_extent(b)
    return a, b


def _is_less(a: Extent, b: Extent, question: str) -> bool:
    low, high = bounds(a - b)
    if high < 0:
        return True
    if low >= 0:
        return False
    raise UndecidedExtent(question, ranges_of(a, b))


def _is_extent(x: object) -> TypeGuard[Extent]:
    return isinstance(x, Dim) or (isinstance(x, int) and not isinstance(x, bool))


def _monomial_key(m: Monomial) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Higher degrees first; the constant last."""
    return -sum(p for _, p in m), tuple((atom_key(a), -p) for a, p in m)


def _extent(terms: dict[Monomial, int]) -> Extent:
    left = [(m, c) for m, c in terms.items() if c]
    if not left:
        return 0
    if len(left) == 1 and not left[0][0]:
        return left[0][1]
    return Dim(tuple(sorted(left, key=lambda t: _monomial_key(t[0]))))


def _added(a: Extent, b: Extent, sign: int) -> Extent:
    total = dict(terms_of(a))
    for m, c in terms_of(b):
        total[m] = total.get(m, 0) + sign * c
    return _extent(total)


def _joined(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for atom, p in b:
        powers[atom] = powers.get(atom, 0) + p
    return tuple(sorted(powers.items(), key=lambda item: atom_key(item[0])))


def _atom(op: str, a: Extent, b: Extent) -> Dim:
    return Dim(((((Call(op, (a, b)), 1),), 1),))


def constant_term(e: Extent) -> int:
    """The number in its sum, 0 if there is none."""
    return dict(terms_of(e)).get((), 0)


# --- division -------------------------------------------------------------------------------


def exact_quotient(a: Extent, b: Extent) -> Extent | None:
    """q with a == q * b for all sizes, or None if division finds none (polynomial division)."""
    if isinstance(b, int) and b == 0:
        return None
    divisor = terms_of(b)
    lead, coefficient = divisor[0]
    rest = a
    quotient: Extent = 0
    while rest != 0:
        m, c = terms_of(rest)[0]
        powers = dict(m)
        for atom, p in lead:
            powers[atom] = powers.get(atom, 0) - p
        if c % coefficient or any(p < 0 for p in powers.values()):
            return None
        kept = tuple((x, p) for x, p in powers.items() if p)
        part = _extent({kept: c // coefficient})
        quotient = quotient + part
        rest = rest - part * b
    return quotient


def floor_div(a: Extent, b: Extent) -> Extent:
    """floor(a / b); UndecidedExtent unless b is known to be positive."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if not b > 0:
        raise UndecidedExtent(f"{b} > 0", ranges_of(b))
    exact = exact_quotient(a, b)
    if exact is not None:
        return exact
    if not isinstance(b, int):
        low, high = bounds(a)
        if low >= 0 and high < bounds(b)[0]:
            return 0
        return _atom("div", a, b)
    whole, rest = _split(a, b)
    low, high = bounds(rest)
    if floor_bound(low, b) == floor_bound(high, b) and high < inf and low > -inf:
        return whole + int(low // b)
    first, coefficient = terms_of(rest)[0]
    if coefficient < 0:  # ceil(x / b), written with a positive numerator
        return whole - floor_div(-rest + (b - 1), b)
    nested = _nested(rest, first, coefficient)
    if nested is not None:  # (x // c + d) // b == (x + c d) // (c b)
        inner, c, d = nested
        return whole + floor_div(inner + c * d, c * b)
    return whole + _atom("div", rest, b)


def floor_bound(x: Bound, b: int) -> Bound:
    """floor(x / b) of a bound."""
    return x if x in (inf, -inf) else x // b


def _split(a: Extent, b: int) -> tuple[Extent, Extent]:
    """(whole, rest) with a == whole * b + rest; rest's constant lies within 0 and b - 1."""
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for m, c in terms_of(a):
        if c % b == 0:
            whole[m] = c // b
        elif m:
            rest[m] = c
        else:
            whole[m], rest[m] = divmod(c, b)
    return _extent(whole), _extent(rest)


def _nested(rest: Extent, first: Monomial, coefficient: int) -> tuple[Extent, int, int] | None:
    """(x, c, d) if `rest` is x // c + d with whole numbers c and d."""
    terms = terms_of(rest)
    if coefficient != 1 or len(first) != 1 or first[0][1] != 1 or len(terms) > 2:
        return None
    atom = first[0][0]
    if not isinstance(atom, Call) or atom.op != "div" or not isinstance(atom.args[1], int):
        return None
    if len(terms) == 2 and terms[1][0]:
        return None
    return operands(atom)[0], atom.args[1], terms[1][1] if len(terms) == 2 else 0


def ceil_div(a: Extent, b: Extent) -> Extent:
    """ceil(a / b), for positive b."""
    return (a + (b - 1)) // b


def remainder(a: Extent, b: Extent) -> Extent:
    """a - b * floor(a / b); UndecidedExtent unless b is known to be positive."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if not b > 0:
        raise UndecidedExtent(f"{b} > 0", ranges_of(b))
    if exact_quotient(a, b) is not None:
        return 0
    rest = a
    if isinstance(b, int):
        if terms_of(a)[0][1] < 0:  # what is missing to a multiple: such that x + (-x) % b is one
            return a - b * floor_div(a, b)
        rest = _extent({m: c % b for m, c in terms_of(a)})
    low, high = bounds(rest)
    if low >= 0 and high < bounds(b)[0]:
        return rest
    return _atom("mod", rest, b)


def smallest(first: Extent, *others: Extent) -> Extent:
    """The minimum: one of the operands where the bounds decide, else a Dim."""
    for b in others:
        first = _extreme("min", first, b)
    return first


def largest(first: Extent, *others: Extent) -> Extent:
    """The maximum: one of the operands where the bounds decide, else a Dim."""
    for b in others:
        first = _extreme("max", first, b)
    return first


def _extreme(op: str, a: Extent, b: Extent) -> Extent:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b) if op == "min" else max(a, b)
    low, high = bounds(a - b)
    if high <= 0:
        return a if op == "min" else b
    if low >= 0:
        return b if op == "min" else a
    x, y = sorted((a, b), key=str)
    return _atom(op, x, y)


# --- symbols ------------------------------------------------------------------------


def known_different(a: Extent, b: Extent) -> bool:
    """Whether a and b differ at all sizes (False: they may be equal at some)."""
    low, high = bounds(a - b)
    return low > 0 or high < 0


def sole_symbol(e: Extent) -> Symbol | None:
    """The symbol that `e` is, if it is nothing but one."""
    if not isinstance(e, Dim) or len(e.terms) != 1 or e.terms[0][1] != 1:
        return None
    monomial = e.terms[0][0]
    if len(monomial) != 1 or monomial[0][1] != 1:
        return None
    atom = monomial[0][0]
    return atom if isinstance(atom, Symbol) else None


def symbols_of(*extents: Extent) -> tuple[Symbol, ...]:
    """The symbols in these extents, in order of first appearance."""
    return tuple(dict.fromkeys(s for e in extents for s in symbols_in(e)))


def ranges_of(*extents: Extent) -> str:
    """The ranges of their symbols, in words: "n = 1.., h = 8..64"."""
    return ", ".join(f"{s.name} = {s.range}" for s in symbols_of(*extents))
