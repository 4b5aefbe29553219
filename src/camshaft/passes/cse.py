"""Common subexpressions: equal constants become one, and so do nodes that do the same."""

from __future__ import annotations

import numpy as np

from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild

Key = tuple[object, ...]


def merge_equal(graph: Graph) -> Graph:
    """The graph with equal constants and equal nodes (op, attributes, inputs) merged.

    Nodes whose op is not deterministic are left alone: host steps may give random numbers.
    """
    rebuild = _Merging(graph)
    done: dict[Key, tuple[Tensor, ...]] = {}
    for old in graph.nodes:
        node = rebuild.present(old)
        key = _node_key(node)
        made = done.get(key)
        if made is None or not node.op.deterministic:
            made = done[key] = rebuild.carry(node)
        rebuild.replace(old, made)
    return rebuild.finish()


class _Merging(Rebuild):
    """Takes over one tensor for each distinct constant."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._constants: dict[Key, list[Tensor]] = {}

    def adopt(self, old: Tensor) -> Tensor:
        """The constant, or an equal one; whole arrays are compared only if samples agree."""
        data = old.content
        same_sample = self._constants.setdefault((old.type, _sample(data)), [])
        for other in same_sample:
            if other.recipe is not old.recipe:
                continue  # equal by chance
            if other.stored is data or _identical(data, other.content):
                return other
        same_sample.append(super().adopt(old))
        return same_sample[-1]


def _identical(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit for bit, so that NaN equals itself and -0.0 is not 0.0."""
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


def _sample(data: np.ndarray) -> object:
    """A few elements, enough to tell most constants apart."""
    flat = data.reshape(-1)
    picked = flat[:: max(1, flat.size // 61)]
    return tuple(picked.tolist()) if data.dtype == object else picked.tobytes()


def _node_key(node: Node) -> Key:
    names = tuple(None if t is None else t.name for t in node.inputs)
    attrs: tuple[tuple[str, Attr], ...] = tuple((k, node.attrs[k]) for k in sorted(node.attrs))
    return (node.op.name, attrs, names)
