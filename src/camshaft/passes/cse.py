"""Common subexpressions: equal constants become one, and so do nodes that do the same."""

from __future__ import annotations

import numpy as np

from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr

Key = tuple[object, ...]


def merge_equal(graph: Graph) -> Graph:
    """The graph with equal constants and equal nodes (op, attributes, inputs) merged.

    Nodes whose op is not deterministic are left alone: host steps may give random numbers.
    """
    builder = GraphBuilder(graph.name, reserved=graph.tensors)
    new: dict[str, Tensor] = {t.name: builder.input(t.name, t.type) for t in graph.inputs}
    constants = _Constants(builder)
    done: dict[Key, tuple[Tensor, ...]] = {}

    def current(t: Tensor) -> Tensor:
        if t.name not in new:
            new[t.name] = constants.one_of(t)
        return new[t.name]

    for node in graph.nodes:
        inputs = tuple(None if t is None else current(t) for t in node.inputs)
        key = _node_key(node, inputs)
        made = done.get(key)
        if made is None or not node.op.deterministic:
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


class _Constants:
    """One tensor for each distinct constant; whole arrays are compared only if samples agree."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.known: dict[Key, list[Tensor]] = {}

    def one_of(self, t: Tensor) -> Tensor:
        data = t.array
        same_sample = self.known.setdefault((t.type, _sample(data)), [])
        for other in same_sample:
            if other.data is data or _identical(data, other.array):
                return other
        same_sample.append(self.builder.adopt(t))
        return same_sample[-1]


def _identical(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, so that NaN equals itself and -0.0 is not 0.0."""
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


def _sample(data: np.ndarray) -> object:
    """A few elements, enough to tell most constants apart."""
    flat = data.reshape(-1)
    picked = flat[:: max(1, flat.size // 61)]
    return tuple(picked.tolist()) if data.dtype == object else picked.tobytes()


def _node_key(node: Node, inputs: tuple[Tensor | None, ...]) -> Key:
    names = tuple(None if t is None else t.name for t in inputs)
    attrs: tuple[tuple[str, Attr], ...] = tuple((k, node.attrs[k]) for k in sorted(node.attrs))
    return (node.op.name, attrs, names)
