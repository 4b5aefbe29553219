"""Names of values and nodes in ONNX graphs, changed all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import GraphProto, NodeProto


def rename_graph(graph: GraphProto, values: Mapping[str, str]) -> None:
    """Give values, in this graph and those in its nodes, other names: old -> new; the others keep theirs."""
    for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        info.name = values.get(info.name, info.name)
    for node in graph.node:
        node.input[:] = [values.get(n, n) for n in node.input]
        node.output[:] = [values.get(n, n) for n in node.output]
        for inner in graphs_of(node):
            rename_graph(inner, values)


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds itself."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes_within(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph, and of the graphs in them."""
    for node in graph.node:
        yield node
        for inner in graphs_of(node):
            yield from nodes_within(inner)


def values_within(graph: GraphProto) -> Iterator[str]:
    """The names of values that a graph, and the graphs in its nodes, define; some twice."""
    yield from (v.name for v in (*graph.input, *graph.initializer))
    for node in graph.node:
        yield from (o for o in node.output if o)
        for inner in graphs_of(node):
            yield from values_within(inner)


def clear_of(name: str, taken: set[str]) -> str:
    """The name, or one made of it that is not taken."""
    while name in taken:
        name += "'"
    return name
