"""Extents that are known when a model runs, computed from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.frontends.onnx.standard.writer import Writer
from camshaft.ir.extents.extent import Dim, Extent, operands
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.extents.symbol import Atom, Symbol


class Extents:
    """Values of symbolic extents in one graph that is being written; each is computed once."""

    def __init__(self, writer: Writer) -> None:
        self.w = writer
        self._known: dict[Extent, str] = {}

    def vector(self, extents: Sequence[Extent], name: str) -> str:
        """The i64 tensor [len(extents)] of these extents."""
        if is_static(extents):
            return self.w.ints(extents, name)
        return self.w.node("Concat", [self.one(e) for e in extents], axis=0)

    def one(self, e: Extent) -> str:
        """The i64 tensor [1] of an extent."""
        if isinstance(e, int):
            return self.w.ints([e], f"extent_{e}")
        if e not in self._known:
            self._known[e] = self._computed(e)
        return self._known[e]

    def _computed(self, e: Dim) -> str:
        said = self._said(e)
        if said is not None:
            return said
        total: str | None = None
        for monomial, coefficient in e.terms:
            term = None if coefficient == 1 and monomial else self.one(coefficient)
            for atom, power in monomial:
                for _ in range(power):
                    factor = self._atom(atom)
                    term = factor if term is None else self.w.node("Mul", [term, factor])
            assert term is not None
            total = term if total is None else self.w.node("Add", [total, term])
        assert total is not None
        return total

    def _said(self, e: Dim) -> str | None:
        """The extent, where an axis of an input is as long, or an element of one says it."""
        for t in self.w.graph.inputs:
            for axis, extent in enumerate(t.shape):
                if extent == e:
                    return self.w.node("Shape", [self.w.value(t)], start=axis, end=axis + 1)
        for t in self.w.graph.inputs:
            for place, extent in enumerate(t.values):
                if extent == e:
                    flat = self.w.node("Reshape", [self.w.value(t), self.w.ints([-1])])
                    element = self.w.node("Gather", [flat, self.w.ints([place])])
                    return self.w.node("Cast", [element], to=7)
        return None

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, Symbol):
            return self._symbol(atom)
        a, b = (self.one(x) for x in operands(atom))
        if atom.op == "div":  # ONNX truncates: a less the remainder is a multiple of b
            rest = self.w.node("Mod", [a, b])
            return self.w.node("Div", [self.w.node("Sub", [a, rest]), b])
        return self.w.node({"mod": "Mod", "min": "Min", "max": "Max"}[atom.op], [a, b])

    def _symbol(self, symbol: Symbol) -> str:
        """A symbol that stands in no axis alone: where an axis is a multiple of it, less a number."""
        for t in self.w.graph.inputs:
            for axis, extent in enumerate(t.shape):
                solved = _solved(extent, symbol)
                if solved is not None:
                    factor, shift = solved
                    size = self.w.node("Shape", [self.w.value(t)], start=axis, end=axis + 1)
                    rest = self.w.node("Sub", [size, self.one(shift)]) if shift else size
                    return self.w.node("Div", [rest, self.one(factor)]) if factor != 1 else rest
        raise ModelError(
            f"size {symbol.name!r} is no axis of an input, so that standard ONNX cannot say it; give it a value "
            "(shapes=, values=)"
        )


def _solved(extent: Extent, symbol: Symbol) -> tuple[int, int] | None:
    """factor and shift, where the extent is factor * symbol + shift."""
    if isinstance(extent, int):
        return None
    factor = shift = 0
    for monomial, coefficient in extent.terms:
        if monomial == ():
            shift = coefficient
        elif monomial == ((symbol, 1),):
            factor = coefficient
        else:
            return None
    return (factor, shift) if factor else None
