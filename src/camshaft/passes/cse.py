"""Common subexpressions: equal constants become one, and so do nodes that do the same."""

from __future__ import annotations

import hashlib

from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ops import HOST

Key = tuple[object, ...]


def merge_equal(graph: Graph) -> Graph:
    """The graph with equal constants and equal nodes (op, attributes, inputs) merged.

    Host nodes are left alone: some of them (random numbers) are not functions of their inputs.
    """
    builder = GraphBuilder(graph.name, reserved=graph.tensors)
    new: dict[str, Tensor] = {t.name: builder.input(t.name, t.type) for t in graph.inputs}
    constants: dict[Key, Tensor] = {}
    done: dict[Key, tuple[Tensor, ...]] = {}

    def current(t: Tensor) -> Tensor:
        if t.name not in new:
            key = _constant_key(t)
            if key not in constants:
                constants[key] = builder.adopt(t)
            new[t.name] = constants[key]
        return new[t.name]

    for node in graph.nodes:
        inputs = tuple(None if t is None else current(t) for t in node.inputs)
        key = _node_key(node, inputs)
        made = done.get(key)
        if made is None or node.op is HOST:
            made = done[key] = _carried(builder, node, inputs)
        for old, t in zip(node.outputs, made, strict=True):
            new[old.name] = t
    outs = zip(graph.output_names, graph.outputs, strict=True)
    return builder.graph({name: current(t) for name, t in outs})


def _carried(
    builder: GraphBuilder, node: Node, inputs: tuple[Tensor | None, ...]
) -> tuple[Tensor, ...]:
    same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
    if same and builder.keep(node):
        return node.outputs
    return builder.add(node.op, inputs, node.attrs, like=node, name=node.name)


def _constant_key(t: Tensor) -> Key:
    data = t.array
    if data.dtype == object:
        return (t.type, tuple(data.reshape(-1).tolist()))
    return (t.type, hashlib.sha256(data.tobytes()).digest())


def _node_key(node: Node, inputs: tuple[Tensor | None, ...]) -> Key:
    names = tuple(None if t is None else t.name for t in inputs)
    attrs: tuple[tuple[str, Attr], ...] = tuple((k, node.attrs[k]) for k in sorted(node.attrs))
    return (node.op.name, attrs, names)
