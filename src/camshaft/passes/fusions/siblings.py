"""Convolutions that read one tensor with one geometry become one, whose output is sliced.

GoogLeNet's 1x1 branches and the query, key and value projections are the usual case.  Larger
convolutions use the machine better, but the slices may cost a copy where a concat wanted each
branch in a place of its own; so this is an optional pass, and the builder decides by time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ops import CONV, SLICE
from camshaft.passes.canonical.shapes import shrunk
from camshaft.passes.canonical.slices import slice_attrs

Key = tuple[object, ...]
MAX_CHANNELS = 1024
"""Output channels beyond which a convolution gains nothing from growing."""


def merge_siblings(graph: Graph) -> Graph:
    """The graph with sibling NHWC convolutions merged; named "a || b" after their parts."""
    groups: dict[Key, list[Node]] = {}
    for node in graph.nodes:
        key = _key(node)
        if key is not None:
            groups.setdefault(key, []).append(node)
    leader: dict[int, list[Node]] = {}
    for members in groups.values():
        for chosen in _chunks(members):
            leader.update((id(n), chosen) for n in chosen)
    return _rebuilt(graph, leader) if leader else graph


def _key(node: Node) -> Key | None:
    """What siblings have in common, or None for a node that cannot be merged."""
    if node.op is not CONV or node.attrs["layout"] != "NHWC" or node.attrs["groups"] != 1:
        return None
    weights, operands = node.args[1], node.args[2:]
    if weights.data is None or not all(_per_output(t, node) for t in operands):
        return None
    attrs = tuple((k, node.attrs[k]) for k in sorted(node.attrs))
    types = tuple(t.type.dtype for t in node.args[1:])
    return (node.args[0].name, weights.shape[1:], attrs, types)


def _per_output(operand: Tensor, node: Node) -> bool:
    """Whether an epilogue operand is a constant that varies along output channels at most."""
    if operand.data is None:
        return False
    channels = node.output.shape[-1]
    return shrunk(operand.data).shape in ((), (1,), (channels,))


def _chunks(members: Sequence[Node]) -> list[list[Node]]:
    """Groups of at least two whose channels stay within the limit."""
    chunks: list[list[Node]] = [[]]
    for node in members:
        total = sum(n.output.shape[-1] for n in chunks[-1])
        if total and total + node.output.shape[-1] > MAX_CHANNELS:
            chunks.append([])
        chunks[-1].append(node)
    return [c for c in chunks if len(c) > 1]


def _rebuilt(graph: Graph, leader: dict[int, list[Node]]) -> Graph:
    builder = GraphBuilder(graph.name, reserved=graph.tensors)
    new: dict[str, Tensor] = {t.name: builder.input(t.name, t.type) for t in graph.inputs}

    def current(t: Tensor) -> Tensor:
        if t.name not in new:
            new[t.name] = builder.adopt(t)
        return new[t.name]

    for node in graph.nodes:
        members = leader.get(id(node))
        if members is None:
            inputs = [None if t is None else current(t) for t in node.inputs]
            made = builder.add(node.op, inputs, node.attrs, like=node, name=node.name)
            new.update((old.name, t) for old, t in zip(node.outputs, made, strict=True))
        elif node is members[0]:
            _merge(builder, members, current(node.args[0]), new)
    outs = zip(graph.output_names, graph.outputs, strict=True)
    return builder.graph({name: current(t) for name, t in outs})


def _merge(
    builder: GraphBuilder, members: Sequence[Node], x: Tensor, new: dict[str, Tensor]
) -> None:
    """Emit one convolution for all members and a slice of its output for each."""
    first = members[0]
    weights = np.concatenate([n.args[1].array for n in members])
    inputs = [x, builder.constant(weights, "weights")]
    for i in range(2, len(first.args)):
        vectors = [np.broadcast_to(shrunk(n.args[i].array), (n.output.shape[-1],)) for n in members]
        inputs.append(builder.constant(np.concatenate(vectors), "operand"))
    name = " || ".join(n.name for n in members)
    label = f"{first.output.name}:siblings"
    y = builder.emit(CONV, inputs, first.attrs, like=members, name=name, output=label)
    at = 0
    for node in members:
        size = node.output.shape[-1]
        attrs: dict[str, Attr] = slice_attrs(y.shape, 3, at, size)
        new[node.output.name] = builder.emit(SLICE, [y], attrs, like=node)
        at += size
