"""Sizes of PyTorch's symbolic shapes as extents: a sympy expression of symbols with ranges becomes one of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import (
    Extent,
    extent_of,
    floor_div,
    largest,
    remainder,
    smallest,
)
from camshaft.ir.extents.symbol import Symbol
from camshaft.ops.functional import NoCanonicalForm

_MOST = 2**31
"""Ranges of PyTorch that reach beyond have no end."""


@dataclass
class Sizes:
    """symbols: name of a symbol in PyTorch -> (least, typical, most), most None: unbounded.  names: what they are called by
    people, where they are."""

    symbols: Mapping[str, tuple[int, int, int | None]]
    names: Mapping[str, str] = field(default_factory=dict)
    _made: dict[str, Extent] = field(default_factory=dict, init=False)

    def extent(self, value: Any) -> Extent:
        """An int, or a SymInt of PyTorch.  NoCanonicalForm for one that hangs on data."""
        if isinstance(value, int):
            return value
        expr = getattr(getattr(value, "node", None), "expr", value)
        return self._of(expr)

    def _of(self, expr: Any) -> Extent:
        if getattr(expr, "is_Integer", False):
            return int(expr)
        if getattr(expr, "is_Symbol", False):
            return self._symbol(str(expr))
        kind = type(expr).__name__
        arguments: Sequence[Any] = getattr(expr, "args", ())
        if kind in ("Add", "Mul"):
            return self._sum_or_product(kind, [self._of(a) for a in arguments])
        if kind == "Pow" and getattr(arguments[1], "is_Integer", False) and arguments[1] > 0:
            return self._sum_or_product("Mul", [self._of(arguments[0])] * int(arguments[1]))
        if kind in _BINARY and len(arguments) == 2:
            return _BINARY[kind](*(self._of(a) for a in arguments))
        if kind in ("Max", "Min"):
            chosen = largest if kind == "Max" else smallest
            return chosen(*(self._of(a) for a in arguments))
        raise NoCanonicalForm(f"a size {expr} is computed by {kind}, which has no form here")

    @staticmethod
    def _sum_or_product(kind: str, parts: list[Extent]) -> Extent:
        total = parts[0]
        for part in parts[1:]:
            total = total + part if kind == "Add" else total * part
        return total

    def _symbol(self, name: str) -> Extent:
        if name not in self._made:
            if name not in self.symbols:
                raise NoCanonicalForm(f"a size {name} hangs on data")
            low, typical, high = self.symbols[name]
            said = self.names.get(name, name)
            try:
                symbol = Symbol(re.sub(r"\W", "_", said), low, typical, high)
            except ModelError as error:
                raise ModelError(f"size {said!r}: {error}") from error
            self._made[name] = extent_of(symbol)
        return self._made[name]


_BINARY: Mapping[str, Callable[[Extent, Extent], Extent]] = {
    "FloorDiv": floor_div,
    "CleanDiv": floor_div,
    "Mod": remainder,
    "PythonMod": remainder,
}


def limits(low: Any, high: Any, typical: int) -> tuple[int, int, int | None]:
    """(least, typical, most) of a range of PyTorch, whose bounds may be infinite."""
    least = max(0, int(low)) if _finite(low) else 0
    most = int(high) if _finite(high) else None
    typical = max(least, typical) if most is None else min(max(least, typical), most)
    return least, typical, most


def _finite(bound: Any) -> bool:
    return abs(float(bound)) < _MOST
