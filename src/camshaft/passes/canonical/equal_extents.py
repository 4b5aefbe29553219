"""Extents that the model itself says are equal become one extent, so that the rules that follow see it.

A mask of `total` keys that is added to scores of `past + seq` keys says that total == past + seq.  Inputs and outputs keep
their own extents; behind a reshape of each that changes nothing, `total` is written `past + seq`
everywhere.  The constraints stay, and are checked when sizes are set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from camshaft.ir.attrs import attr_at
from camshaft.ir.extents.constraints import Constraints, simpler
from camshaft.ir.extents.extent import Dim, Extent, sole_symbol, symbols_of
from camshaft.ir.extents.sizes import substitute
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import Shape
from camshaft.ops import RESHAPE


@dataclass
class Equalities:
    """symbols: what symbols are, none of them within another's extent.  others: other extents, and what each is."""

    symbols: dict[Symbol, Extent] = field(default_factory=dict)
    others: dict[Extent, Extent] = field(default_factory=dict)

    @staticmethod
    def of(constraints: Constraints) -> Equalities:
        """What constraints say, of symbols that inputs have."""
        found = Equalities()
        for c in constraints:
            if c.kind == "==":
                found._learn(found.settled(c.left), found.settled(c.right))
        return found

    def settled(self, e: Extent) -> Extent:
        """The extent in terms of what others are said to be equal to."""
        if not isinstance(e, Dim):
            return e
        e = substitute(e, self.symbols)
        return self.others.get(e, e)

    def _learn(self, a: Extent, b: Extent) -> None:
        if a == b or not isinstance(a, Dim) or not isinstance(b, Dim):
            return
        for one, other in ((a, b), (b, a)):
            symbol = sole_symbol(one)
            if symbol is not None and symbol not in symbols_of(other) and not symbol.from_data:
                new: dict[Symbol, Extent] = {symbol: other}
                self.symbols = {s: substitute(e, new) for s, e in self.symbols.items()} | new
                self.others = {
                    substitute(e, new): substitute(same, new) for e, same in self.others.items()
                }
                return
        first, second = simpler(a, b)
        self.others[second] = first


def settle_extents(graph: Graph) -> Graph:
    """The graph with equal extents written alike; itself where its constraints say nothing of the kind."""
    equal = Equalities.of(graph.constraints)
    if not equal.symbols and not equal.others:
        return graph
    rebuild = Rebuild(graph)

    def shaped(t: Tensor, shape: Shape, label: str) -> Tensor:
        if t.shape == shape:
            return t
        return rebuild.builder.emit(RESHAPE, [t], {"shape": shape}, output=f"{t.name}:{label}")

    for t in graph.inputs:
        rebuild.put(t, shaped(rebuild.get(t), tuple(map(equal.settled, t.shape)), "settled"))
    for old in graph.nodes:
        node = rebuild.present(old)
        attrs = {name: attr_at(value, equal.settled) for name, value in node.attrs.items()}
        made = rebuild.builder.add(node.op, node.inputs, attrs, like=node, name=node.name)
        rebuild.replace(old, made)
    return rebuild.finish(lambda t: shaped(rebuild.get(t), t.shape, "declared"))
