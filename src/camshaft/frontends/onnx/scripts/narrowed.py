"""What a graph of a script knows of sizes beyond what the model's inputs say.

A branch may need sizes that the model as a whole does not: it runs at no others.  So its graph gets
symbols with the ranges, and with typical sizes, at which it can run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from camshaft.errors import ModelError
from camshaft.ir.attrs import attr_at
from camshaft.ir.extents.constraints import Constraints, broken, lessons
from camshaft.ir.extents.extent import Dim, Extent, extent_of, symbols_of
from camshaft.ir.extents.fitting import candidates
from camshaft.ir.extents.sizes import Constraint, substitute, typical_sizes
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import TensorType

_MOST_ROUNDS = 4
_MOST_MOVES = 16


def narrowed(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The graph with its symbols as its own constraints narrow them, and typical sizes that it takes.

    Also what narrows them, in words ("node 'pool' needs h >= 3").
    """
    needs: list[str] = []
    for _ in range(_MOST_ROUNDS):
        values = learned(graph.constraints)
        if not values:
            break
        said = [c for c in graph.constraints if not values.keys().isdisjoint(c.symbols)]
        needs += [f"{c.why} needs {c}" for c in said]
        try:
            graph = substituted(graph, values)
        except ModelError:  # at no sizes can all of it hold: it never runs
            break
    return _moved(graph), tuple(dict.fromkeys(needs))


def learned(constraints: Constraints) -> dict[Symbol, Extent]:
    """Symbols, and what they turn out to be by these constraints."""
    values: dict[Symbol, Extent] = {}
    for lesson in lessons(constraints):
        symbol = lesson.symbol
        if symbol in values:
            continue
        if lesson.same_as is not None:
            if not {*symbols_of(lesson.same_as)} & values.keys():
                values[symbol] = lesson.same_as
            continue
        low = symbol.low if lesson.low is None else max(symbol.low, lesson.low)
        highs = [h for h in (symbol.high, lesson.high) if h is not None]
        high = min(highs, default=None)
        if (low, high) == (symbol.low, symbol.high) or (high is not None and high < low):
            continue
        typical = max(low, symbol.typical)
        typical = typical if high is None else min(high, typical)
        values[symbol] = extent_of(replace(symbol, low=low, typical=typical, high=high))
    return values


def _moved(graph: Graph) -> Graph:
    """The graph with typical sizes at which its constraints hold and, where that can be, nothing is empty."""
    hard = list(graph.constraints)
    extents = {e for t in graph.tensors.values() for e in t.shape if isinstance(e, Dim)}
    soft = [Constraint(e, ">=", 1, "") for e in sorted(extents, key=str)]
    symbols = symbols_of(*(e for c in (*hard, *soft) for e in (c.left, c.right)))
    sizes = typical_sizes(symbols)
    found = dict(sizes)
    for rules in (hard, [*hard, *soft]):
        found = _fitting(rules, symbols, found)
    if found == sizes:
        return graph
    moved = {s: extent_of(replace(s, typical=found[s.name])) for s in symbols}
    return substituted(graph, moved)


def _fitting(
    rules: Sequence[Constraint], symbols: Sequence[Symbol], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Sizes at which the rules hold, as far as moving one size after the other finds some."""
    known = {s.name: s for s in symbols}
    best, found = dict(sizes), dict(sizes)
    for _ in range(_MOST_MOVES):
        fault = broken(rules, found)
        if fault is None:
            return found
        count = _broken(rules, found)
        moves = (
            {**found, s.name: size}
            for s in (known[s.name] for s in fault.symbols)
            for size in candidates(s, fault, found)
        )
        better = next((m for m in moves if _broken(rules, m) < count), None)
        if better is None:
            return best
        found = best = better
    return best


def _broken(rules: Sequence[Constraint], sizes: Mapping[str, int]) -> int:
    return sum(not c.holds(sizes) for c in rules)


def substituted(graph: Graph, values: Mapping[Symbol, Extent]) -> Graph:
    """The graph with symbols replaced by extents.  ModelError if a type becomes impossible."""

    def extent(e: Extent) -> Extent:
        return substitute(e, values)

    made: dict[str, Tensor] = {}

    def tensor(t: Tensor) -> Tensor:
        if t.name not in made:
            type = TensorType(t.type.dtype, tuple(map(extent, t.shape)))
            same = t.is_const or (type == t.type and not t.values)
            made[t.name] = t if same else Tensor(t.name, type, None, tuple(map(extent, t.values)))
        return made[t.name]

    def node(n: Node) -> Node:
        attrs = MappingProxyType({k: attr_at(v, extent) for k, v in n.attrs.items()})
        inputs = tuple(None if t is None else tensor(t) for t in n.inputs)
        return replace(n, inputs=inputs, outputs=tuple(map(tensor, n.outputs)), attrs=attrs)

    kept = Constraints()
    for c in graph.constraints:
        left, right = extent(c.left), extent(c.right)
        if isinstance(left, int) and isinstance(right, int):
            if not Constraint(left, c.kind, right, c.why).holds({}):
                raise ModelError(f"{c.why} needs {c}, which no sizes meet")
            continue
        kept.add(left, c.kind, right, c.why)
    return replace(
        graph,
        inputs=tuple(map(tensor, graph.inputs)),
        nodes=tuple(map(node, graph.nodes)),
        outputs=tuple(map(tensor, graph.outputs)),
        constraints=kept,
    )
