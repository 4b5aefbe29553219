"""Convolutions that read one tensor with one geometry become one, whose output is sliced.

GoogLeNet's 1x1 branches and the query, key and value projections are the usual case.  Larger
convolutions use the machine better, but the slices may cost a copy where a concat needs each branch
in a place of its own; so this is an optional pass, and the builder decides by time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
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
    if not weights.is_const or not all(_per_output(t, node) for t in operands):
        return None
    attrs = tuple((k, node.attrs[k]) for k in sorted(node.attrs))
    types = tuple(t.type.dtype for t in node.args[1:])
    return (node.args[0].name, weights.shape[1:], attrs, types)


def _per_output(operand: Tensor, node: Node) -> bool:
    """Whether an epilogue operand is a constant that varies along output channels at most."""
    if not operand.is_const:
        return False
    if operand.changes:  # neighbours that are equal may differ later
        return operand.type.size in (1, _channels(node))
    return shrunk(operand.content).shape in ((), (1,), (_channels(node),))


def _channels(node: Node) -> int:
    """Output channels of a convolution with constant weights."""
    return int(node.args[1].content.shape[0])


def _chunks(members: Sequence[Node]) -> list[list[Node]]:
    """Groups of at least two whose channels stay within the limit."""
    chunks: list[list[Node]] = [[]]
    for node in members:
        total = sum(_channels(n) for n in chunks[-1])
        if total and total + _channels(node) > MAX_CHANNELS:
            chunks.append([])
        chunks[-1].append(node)
    return [c for c in chunks if len(c) > 1]


def _rebuilt(graph: Graph, leader: dict[int, list[Node]]) -> Graph:
    rebuild = Rebuild(graph)
    for node in graph.nodes:
        members = leader.get(id(node))
        if members is None:
            rebuild.replace(node, rebuild.carry(rebuild.present(node)))
        elif node is members[0]:
            _merge(rebuild, members)
    return rebuild.finish()


def _joined(*weights: np.ndarray) -> np.ndarray:
    """The filters of all members."""
    return np.concatenate(weights)


def _joined_vectors(*operands: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """An operand of all members, one value for each output channel."""
    flat = (
        a.reshape(-1) if a.size in (1, n) else shrunk(a)
        for a, n in zip(operands, channels, strict=True)
    )
    return np.concatenate([np.broadcast_to(a, n) for a, n in zip(flat, channels, strict=True)])


def _merge(rebuild: Rebuild, members: Sequence[Node]) -> None:
    """Emit one convolution for all members and a slice of its output for each."""
    builder, x = rebuild.builder, rebuild.get(members[0].args[0])
    first = members[0]
    inputs = [x, builder.derived(_joined, [n.args[1] for n in members], "weights")]
    channels = tuple(_channels(n) for n in members)
    for i in range(2, len(first.args)):
        vectors = [n.args[i] for n in members]
        inputs.append(builder.derived(_joined_vectors, vectors, "operand", channels=channels))
    name = " || ".join(n.name for n in members)
    label = f"{first.output.name}:siblings"
    y = builder.emit(CONV, inputs, first.attrs, like=members, name=name, output=label)
    at = 0
    for node in members:
        size = _channels(node)
        attrs: dict[str, Attr] = slice_attrs(y.shape, 3, at, size)
        rebuild.put(node.output, builder.emit(SLICE, [y], attrs, like=node))
        at += size
