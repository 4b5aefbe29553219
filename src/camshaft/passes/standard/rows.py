"""Convolutions of rows [1, 1, rows, K] become the matrix products that they come from.

Rows that belong together (what a product reads and makes, what is added to it, their quantized forms) form a
group.  All tensors of a group take the leading axes that a reshape beside one of them has: [..., K] in place of
[1, 1, rows, K], so that the reshapes which a product's kernel wanted can be dropped.  A group beside which nothing
is reshaped are images of one row: these stay.
"""

from __future__ import annotations

from math import prod

import numpy as np

from camshaft.ir.attrs import axis_attr, int_attr, ints_attr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import Shape
from camshaft.ops import CONV, DEQUANTIZE, GATHER, MATMUL, POINTWISE, QUANTIZE, REDUCE, RESHAPE
from camshaft.passes.fusions.matmul import transposed


def products_of_rows(graph: Graph) -> Graph:
    """The same function, with matrix products in place of convolutions of rows."""
    return _Rows(graph).run()


class _Groups:
    """Which rows belong together, and their leading axes.

    lead: group -> the axes that stand for [1, 1, rows]; groups without a product or a reshape have none.
    """

    def __init__(self, graph: Graph) -> None:
        self._parent: dict[str, str] = {}
        made = graph.producers
        convs = [n for n in graph.nodes if n.op is CONV and n.attrs["layout"] == "NHWC"]
        products = [n for n in convs if _is_product(n, made.get(n.args[1].name))]
        self.products = frozenset(n.output.name for n in products)
        for node in graph.nodes:
            if self.is_by_rows(node):
                for t in _rows_of(node):
                    self._parent[self.root(t)] = self.root(node.output)
        self.lead: dict[str, Shape] = {}
        with_products = {self.root(n.output) for n in products}
        for node in graph.nodes:
            if node.op is RESHAPE:
                for rows, other in (node.args[0], node.output), (node.output, node.args[0]):
                    root = self.root(rows)
                    if root in with_products and _lead(rows, other) is not None:
                        self.lead.setdefault(root, other.shape[:-1])

    def root(self, tensor: Tensor) -> str:
        """The group that a tensor is in."""
        name = tensor.name
        while self._parent.setdefault(name, name) != name:
            name = self._parent[name]
        return name

    def is_by_rows(self, node: Node) -> bool:
        """Whether the node makes rows of rows, whatever their leading axes are."""
        if not _are_rows(node.outputs[0]) or len(node.outputs) != 1:
            return False
        if node.op in (QUANTIZE, DEQUANTIZE):
            return node.args[1].type.rank == 0
        if node.op is GATHER:
            return axis_attr(node, 4) == 3 and _are_rows(node.args[0])
        if node.op is REDUCE:
            return ints_attr(node, "axes") in ((3,), (-1,)) and bool(node.attrs["keepdims"])
        return node.op is POINTWISE or node.output.name in self.products


def _are_rows(tensor: Tensor) -> bool:
    return tensor.type.rank == 4 and tensor.shape[:2] == (1, 1)


def _rows_of(node: Node) -> list[Tensor]:
    """The computed inputs that are as many rows as the result."""
    return [
        t
        for t in node.args
        if not t.is_const and _are_rows(t) and t.shape[2] == node.output.shape[2]
    ]


def _is_product(node: Node, weights: Node | None) -> bool:
    """Whether a convolution is one of rows with constant weights.  weights: what makes these."""
    x, w = node.args[:2]
    constant = w.is_const or (
        weights is not None and weights.op is DEQUANTIZE and weights.args[0].is_const
    )
    single = w.shape[1:3] == (1, 1) and _are_rows(x) and int_attr(node, "groups") == 1
    plain = ints_attr(node, "strides") == (1, 1) and not any(ints_attr(node, "pads"))
    return constant and single and plain


def _lead(rows: Tensor, other: Tensor) -> Shape | None:
    """The leading axes of `other`, where it holds the same rows in another shape."""
    if not _are_rows(rows) or not 2 <= other.type.rank <= 4 or other.shape[-1] != rows.shape[-1]:
        return None
    return other.shape[:-1] if prod(other.shape[:-1]) == rows.shape[2] else None


class _Rows:
    """One rebuild of a graph; used once."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.groups = graph, _Groups(graph)
        self.rebuild = Rebuild(graph)
        self.b = self.rebuild.builder
        self._weights: dict[str, Tensor] = {}
        self._views: dict[str, Tensor] = {}
        self._wide: set[str] = set()

    def run(self) -> Graph:
        for node in self.graph.nodes:
            lead = self.groups.lead.get(self.groups.root(node.outputs[0]))
            if lead is not None and self.groups.is_by_rows(node):
                self._views[node.output.name] = self._by_rows(node, lead)
                continue
            for t in node.args:
                self._widen(t)
            self.rebuild.replace(node, self.rebuild.carry(self.rebuild.present(node)))
        for t in self.graph.outputs:
            self._widen(t)
        return self.rebuild.finish()

    def _widen(self, old: Tensor) -> None:
        """Let rows that were made with other leading axes stand for `old` in its own shape."""
        view = self._views.get(old.name)
        if view is not None and old.name not in self._wide:
            self._wide.add(old.name)
            self.rebuild.put(old, self._shaped(view, old.shape, old.name))

    def _shaped(self, tensor: Tensor, shape: Shape, name: str) -> Tensor:
        if tensor.shape == shape:
            return tensor
        like = self.b.producer(tensor)
        attrs: dict[str, Attr] = {"shape": shape}
        return self.b.emit(
            RESHAPE, [tensor], attrs, like=() if like is None else like,
            name=f"reshape {name}", output=name,
        )  # fmt: skip

    def _rows(self, old: Tensor, lead: Shape) -> Tensor:
        """`old`, which broadcasts to rows, with other leading axes."""
        if old.type.rank <= 1:
            return self.rebuild.get(old)
        if old.name not in self._views:
            padded: Shape = (1,) * (4 - old.type.rank) + old.shape
            one_for_all = padded[2] == 1 and (old.is_const or prod(lead) != 1)
            shape: Shape = padded[-1:] if one_for_all else (*lead, padded[-1])
            self._views[old.name] = self._shaped(self.rebuild.get(old), shape, f"{old.name}:rows")
            self._wide.add(old.name)
        return self._views[old.name]

    def _by_rows(self, node: Node, lead: Shape) -> Tensor:
        attrs: dict[str, Attr] = dict(node.attrs)
        if node.output.name in self.groups.products:
            inputs = [self._rows(node.args[0], lead), self._matrix(node.args[1])]
            inputs += [self._rows(t, lead) for t in node.args[2:]]
            attrs = {
                "a_zero_point": node.attrs["x_zero_point"],
                "epilogue": node.attrs["epilogue"],
            }
            return self.b.emit(MATMUL, inputs, attrs, like=node, name=node.name)
        if node.op is REDUCE:
            attrs["axes"] = (len(lead),)
        if node.op is GATHER:
            attrs["axis"] = len(lead)
        inputs = [self._rows(t, lead) for t in node.args]
        return self.b.emit(node.op, inputs, attrs, like=node, name=node.name)

    def _matrix(self, old: Tensor) -> Tensor:
        """Weights [N, 1, 1, K] as the matrix [K, N]."""
        if old.name not in self._weights:
            made = self.graph.producers.get(old.name)
            if made is None:
                matrix = self._transposed(old)
            else:
                stored = self._transposed(made.args[0])
                params = [self.rebuild.get(t) for t in made.args[1:]]
                axis: dict[str, Attr] = {"axis": 1 if made.args[1].type.rank else 0}
                matrix = self.b.emit(DEQUANTIZE, [stored, *params], axis, like=made, name=made.name)
            self._weights[old.name] = matrix
        return self._weights[old.name]

    def _transposed(self, weights: Tensor) -> Tensor:
        n, _, _, k = weights.array.shape
        matrix = transposed(np.ascontiguousarray(weights.array.reshape(n, k)))
        matrix.flags.writeable = False
        return self.b.constant(matrix, weights.name)
