"""Sizes that look like one: a model calls a length by two names, and steps that hang on both have no kernel.

PyTorch's exporter names each input's axes for itself.  A reshape of [a, b] to [c, -1] then needs `a*b` to be divisible
by `c`, and a count is `a*b//c`, which could be 0 as far as anybody knows; where `a` is called `c`, it is `b`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from camshaft.ir.extents.extent import extent_of, sole_symbol, symbols_of
from camshaft.ir.extents.said import Said
from camshaft.ir.extents.sizes import Constraint, substitute
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, Node


def one_name(graph: Graph, built: Sequence[Graph], host_steps: Collection[str]) -> tuple[str, ...]:
    """Sentences on pairs of sizes that were one if they had one name, and how to give them one.

    graph: the model as imported.  built: what became of it.  host_steps: names of steps that run in Python; of
    those, only such as hang on both sizes are spoken of.
    """
    hosted = [n for g in built for n in g.nodes if n.name in host_steps]
    found: dict[str, None] = {}
    for rule in graph.constraints:
        for first, second in _pairs(graph, rule):
            both = {first.name, second.name}
            names = dict.fromkeys(n.name for n in hosted if both <= _sizes(n))
            if names:
                found[_sentence(graph, first, second, names)] = None
                break
    return tuple(found)


def _pairs(graph: Graph, rule: Constraint) -> Iterator[tuple[Symbol, Symbol]]:
    """Pairs of symbols, at one axis of two inputs, that being one would make the rule hold at all sizes."""
    if rule.kind != "==":
        return
    places = [
        (symbol, axis)
        for t in graph.inputs
        for axis, extent in enumerate(t.shape)
        if (symbol := sole_symbol(extent)) is not None and symbol in rule.symbols
    ]
    seen = dict.fromkeys(places)
    for first, axis in seen:
        for second, other in seen:
            if axis != other or first == second:
                continue
            if substitute(rule.left - rule.right, {second: extent_of(first)}) == 0:
                yield first, second


def _sizes(node: Node) -> set[str]:
    """Names of all sizes that a node's tensors hang on."""
    shapes = [t.shape for t in (*node.args, *node.outputs)]
    return {symbol.name for shape in shapes for symbol in symbols_of(*shape)}


def _sentence(graph: Graph, first: Symbol, second: Symbol, names: Collection[str]) -> str:
    shapes: dict[str, tuple[Said, ...]] = {}
    for t in graph.inputs:
        said = tuple(first.name if sole_symbol(e) == second else None for e in t.shape)
        if any(said):
            shapes[t.name] = said
    return (
        f"{second.name} and {first.name} are two sizes to {' and '.join(map(repr, names))}, which may have a kernel "
        f"where they are one: if they are, give them one name, shapes={shapes}"
    )
