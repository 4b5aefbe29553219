"""Symbols, and the parts that symbolic extents are made of; their text.

Bottom of `extent`: nothing here computes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from camshaft.errors import ModelError

NAME = re.compile(r"[^\W\d]\w*")
"""What a symbol may be called; Python's keywords included."""
Bound = int | float
"""A whole number, or minus or plus infinity."""


@dataclass(frozen=True)
class Symbol:
    """A size that varies from run to run.

    name: letters, digits and underscores, unique within a graph.  low, high: the range, both included (high None:
    unbounded).  typical: the size that engines are tuned for.  from_data: a step of the model finds it
    while it runs; no input says it.
    """

    name: str
    low: int = 1
    typical: int = 1
    high: int | None = None
    from_data: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ModelError(
                f"a size is named by letters, digits and underscores, no digit first, not {self.name!r}"
            )
        high = self.typical if self.high is None else self.high
        if not 0 <= self.low <= self.typical <= high:
            raise ModelError(
                f"symbol {self.name!r}: least {self.low}, typical {self.typical} and most "
                f"{self.high} do not ascend from 0 on"
            )

    @property
    def range(self) -> str:
        """The range as people write it: "1..16" or "1..", or a number."""
        if self.low == self.high:
            return str(self.low)
        return f"{self.low}..{'' if self.high is None else self.high}"


@dataclass(frozen=True)
class Call:
    """An atom that is computed from extents.  op: "div" (floor), "mod", "min" or "max"."""

    op: str
    args: tuple[int | Sum, ...]

    @cached_property
    def key(self) -> str:
        """Canonical text, by which atoms are ordered."""
        a, b = self.args
        if self.op in ("div", "mod"):
            sign = "//" if self.op == "div" else "%"
            return f"{_factor_text(a)}{sign}{_factor_text(b)}"
        return f"{self.op}({a}, {b})"


Atom = Symbol | Call
Monomial = tuple[tuple[Atom, int], ...]
"""Atoms with their powers, ordered by text; () is 1."""


class UndecidedExtent(ModelError):
    """A question about open extents has no one answer within their ranges.

    question: what was asked ("h < 16").  ranges: of the symbols in it ("h = 1..").
    """

    def __init__(self, question: str, ranges: str) -> None:
        super().__init__(
            f"{question} is not decided by {ranges}; give narrower ranges, or sizes (shapes=, values=)"
        )
        self.question, self.ranges = question, ranges


class Sum(Protocol):
    """What a symbolic extent is: monomials with their coefficients, in order."""

    @property
    def terms(self) -> tuple[tuple[Monomial, int], ...]: ...

    def __hash__(self) -> int: ...


def terms_of(e: int | Sum) -> tuple[tuple[Monomial, int], ...]:
    """The terms of an extent; an int is a multiple of the monomial 1."""
    if isinstance(e, int):
        return (((), e),) if e else ()
    return e.terms


def atom_key(atom: Atom) -> str:
    """Text by which atoms are ordered."""
    return atom.name if isinstance(atom, Symbol) else atom.key


# --- text -------------------------------------------------------------------------------------


def _factor_text(e: int | Sum) -> str:
    plain = isinstance(e, int) or (
        len(e.terms) == 1 and e.terms[0][1] == 1 and len(e.terms[0][0]) == 1
        and isinstance(e.terms[0][0][0][0], Symbol) and e.terms[0][0][0][1] == 1
    )  # fmt: skip
    return str(e) if plain else f"({e})"


def text_of(e: Sum) -> str:
    """The sum as text that `sizes.parse` reads back."""
    (m, c), *rest = e.terms
    if not rest and c == 1 and len(m) == 1 and m[0][1] == 1:
        return atom_key(m[0][0])
    words: list[str] = []
    for m, c in e.terms:
        factors = [_power_text(a) for a, p in m for _ in range(p)]
        if abs(c) != 1 or not factors:
            factors.insert(0, str(abs(c)))
        sign = ("-" if c < 0 else "") if not words else (" - " if c < 0 else " + ")
        words.append(sign + "*".join(factors))
    return "".join(words)


def _power_text(a: Atom) -> str:
    if isinstance(a, Symbol) or a.op in ("min", "max"):
        return atom_key(a)
    return f"({a.key})"
