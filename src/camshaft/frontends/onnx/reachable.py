"""Which nodes and tensors of an ONNX graph its outputs depend on: only those are imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto


@dataclass(frozen=True)
class Reachable:
    """nodes: those needed, in the graph's order.  names: every tensor that they or the outputs read,
    subgraphs included."""

    nodes: list[NodeProto]
    names: frozenset[str]


def reachable(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> Reachable:
    """What `outputs` (names of tensors) depend on.  The order of the nodes does not matter."""
    makers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in node.output:
            makers.setdefault(name, []).append(i)
    names = {name for name in outputs if name}
    needed: set[int] = set()
    open_ = list(names)
    while open_:
        for i in makers.get(open_.pop(), ()):
            if i not in needed:
                needed.add(i)
                fresh = read_by(nodes[i]) - names
                names |= fresh
                open_ += fresh
    return Reachable([n for i, n in enumerate(nodes) if i in needed], frozenset(names))


def reachable_in(graph: GraphProto) -> Reachable:
    """What the outputs of `graph` depend on."""
    return reachable(graph.node, [v.name for v in graph.output])


def read_by(node: NodeProto) -> set[str]:
    """Names that a node reads, those that its subgraphs may capture included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(v.name for v in graph.output)
            for inner in graph.node:
                names |= read_by(inner)
    return names
