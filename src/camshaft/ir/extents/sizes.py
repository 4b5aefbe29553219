"""Extents at given sizes: values and constraints; substitution, and reading from text."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import TypeGuard

from camshaft.errors import ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import (
    Extent,
    exact_quotient,
    extent_of,
    floor_div,
    largest,
    operands,
    ranges_of,
    remainder,
    smallest,
    symbols_of,
)
from camshaft.ir.extents.symbol import NAME, Atom, Symbol, UndecidedExtent, terms_of


def evaluate(e: Extent, sizes: Mapping[str, int]) -> int:
    """The value at these sizes (symbol name -> size); ModelError names a symbol without one."""
    if isinstance(e, int):
        return e
    return sum(c * prod(_atom_value(a, sizes) ** p for a, p in m) for m, c in e.terms)


def _atom_value(atom: Atom, sizes: Mapping[str, int]) -> int:
    if isinstance(atom, Symbol):
        if atom.name not in sizes:
            raise ModelError(f"no size is given for {atom.name!r}")
        return sizes[atom.name]
    a, b = (evaluate(x, sizes) for x in operands(atom))
    if atom.op == "div":
        return a // b
    if atom.op == "mod":
        return a % b
    return min(a, b) if atom.op == "min" else max(a, b)


@dataclass(frozen=True)
class Constraint:
    """`left` kind `right`, with kind "==" or ">="; why: what needs it, in words."""

    left: Extent
    kind: str
    right: Extent
    why: str

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it holds at these sizes."""
        left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        return left == right if self.kind == "==" else left >= right

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols it is about."""
        return symbols_of(self.left, self.right)

    def __str__(self) -> str:
        divided = self._divided() if self.kind == "==" else None
        if divided is not None:
            return f"{divided[0]} to be a multiple of {divided[1]}"
        return f"{self.left} {self.kind} {self.right}"

    def _divided(self) -> tuple[Extent, int] | None:
        """x and c, smallest, where the equation says that x is a multiple of c: c * (x // c) == x, or x % c == 0."""
        for a, b in ((self.left, self.right), (self.right, self.left)):
            terms = terms_of(a)
            if len(terms) != 1 or len(terms[0][0]) != 1:
                continue
            (((atom, power),), factor) = terms[0]
            if isinstance(atom, Symbol) or power != 1:
                continue
            x, c = operands(atom)
            if not isinstance(c, int) or isinstance(x, int):
                continue
            whole = x * factor == b * c if atom.op == "div" else atom.op == "mod" and b == 0
            if whole:
                common = gcd(c, *(n for _, n in x.terms))
                quotient = exact_quotient(x, common)
                return x if quotient is None else quotient, c // common
        return None


def typical_sizes(symbols: Iterable[Symbol]) -> dict[str, int]:
    """The size that each symbol typically has, by its name."""
    return {s.name: s.typical for s in symbols}


def typical(e: Extent) -> int:
    """The value at typical sizes."""
    if isinstance(e, int):
        return e
    return evaluate(e, typical_sizes(symbols_of(e)))


def substitute(e: Extent, values: Mapping[Symbol, Extent]) -> Extent:
    """`e` with symbols replaced by extents."""
    if isinstance(e, int):
        return e
    total: Extent = 0
    for m, c in e.terms:
        product: Extent = c
        for atom, power in m:
            if isinstance(atom, Symbol):
                value: Extent = values[atom] if atom in values else extent_of(atom)
            else:
                a, b = (substitute(x, values) for x in operands(atom))
                value = OPERATIONS[atom.op](a, b)
            for _ in range(power):
                product = product * value
        total = total + product
    return total


OPERATIONS: dict[str, Callable[[Extent, Extent], Extent]] = {
    "div": floor_div,
    "mod": remainder,
    "min": smallest,
    "max": largest,
}


def fixed(extents: Sequence[Extent], what: str) -> tuple[int, ...]:
    """The extents as ints, for what only numbers will do (a constant is computed of them, weights
    are packed); UndecidedExtent, naming `what`, if one is open."""
    known = tuple(e for e in extents if isinstance(e, int))
    if len(known) != len(extents):
        raise UndecidedExtent(f"{what} [{', '.join(map(str, extents))}]", ranges_of(*extents))
    return known


def fixed_extent(e: Extent, what: str) -> int:
    """Like `fixed`, for one extent."""
    return fixed((e,), what)[0]


def is_positive(e: Extent) -> bool:
    """Whether it is known to be 1 or more at all sizes."""
    return bounds(e)[0] >= 1


def is_static(extents: Iterable[Extent]) -> TypeGuard[tuple[int, ...]]:
    """Whether all extents are ints."""
    return all(isinstance(e, int) for e in extents)


def parse(text: str, symbols: Mapping[str, Symbol]) -> Extent:
    """Inverse of `str` for extents over these symbols; ValueError says what is wrong."""
    numbered = {f"_{i}": symbol for i, symbol in enumerate(symbols.values())}
    numbers = dict(zip(symbols, numbered, strict=True))

    def number(found: re.Match[str]) -> str:
        """Symbols by number: a name may be a keyword, or one that Python spells otherwise."""
        name, call = found.groups()
        return numbers.get(name, "?") if call is None else found[0]

    known = ", ".join(symbols) or "no symbol"
    try:
        return _parsed(ast.parse(_NAME.sub(number, text), mode="eval").body, numbered)
    except (SyntaxError, RecursionError, MemoryError, UndecidedExtent, _NoExtent) as error:
        raise ValueError(f"{text!r:.60} is no extent of {known}: {error}") from None


_NAME = re.compile(rf"({NAME.pattern})(\s*\()?")
"""A name, and whether it is called."""


class _NoExtent(ValueError):
    """What is written is Python, but no extent."""


def _parsed(node: ast.expr, symbols: Mapping[str, Symbol]) -> Extent:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and node.id in symbols:
        return extent_of(symbols[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_parsed(node.operand, symbols)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_parsed(node.left, symbols), _parsed(node.right, symbols))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        operation = OPERATIONS.get(node.func.id)
        if node.func.id in ("min", "max") and operation is not None and len(node.args) == 2:
            a, b = (_parsed(x, symbols) for x in node.args)
            return operation(a, b)
    raise _NoExtent(f"there is a {type(node).__name__.lower()} in it")


_OPERATORS: dict[type[ast.operator], Callable[[Extent, Extent], Extent]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: floor_div,
    ast.Mod: remainder,
}
