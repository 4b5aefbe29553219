"""Products of rows with constant weights, and the graph of one with channels carried apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import int_attr, ints_attr
from camshaft.ir.constants import loose_constant
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import f32
from camshaft.ops import CONV, GATHER, MATMUL
from camshaft.quant.apart.choice import Apart, Quantizer, choose
from camshaft.quant.apart.sample import RowSample
from camshaft.quant.weights import columns_of


def is_product_of_rows(node: Node) -> bool:
    """Whether the node multiplies rows by constant weights."""
    if node.op is MATMUL:
        x, w = node.args[:2]
        return w.is_const and not x.is_const and (x.type.dtype, w.type.dtype) == (f32, f32) and w.type.rank == 2  # fmt: skip
    if node.op is not CONV or node.attrs["layout"] != "NHWC":
        return False
    x, w = node.args[:2]
    single = w.is_const and w.shape[1:3] == (1, 1) and int_attr(node, "groups") == 1
    plain = ints_attr(node, "strides") == (1, 1) and not any(ints_attr(node, "pads"))
    floats = (x.type.dtype, w.type.dtype) == (f32, f32) and not x.is_const
    return single and plain and floats and x.shape[:2] == (1, 1)


def sampled(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """Tensors of which rows are kept -> the products of rows among `nodes` that read them, convolutions by form."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        if node.op is CONV and is_product_of_rows(node):
            found.setdefault(node.args[0].name, []).append(node)
    return found


def is_carried(node: Node, apart: Mapping[str, Apart]) -> bool:
    """Whether channels of the rows that the node multiplies are carried apart in INT8."""
    return node.op is CONV and node.args[0].name in apart and is_product_of_rows(node)


def carried(graph: Graph, apart: Mapping[str, Apart]) -> dict[str, int]:
    """Source layer -> how many channels of its rows are carried apart wherever it is INT8."""
    return {
        layer: len(apart[node.args[0].name].channels)
        for node in graph.nodes
        if is_carried(node, apart)
        for layer in node.origin
    }


def choices(
    readers: Mapping[str, Sequence[Node]],
    samples: Mapping[str, RowSample],
    quantizer: Callable[[str], tuple[Quantizer, tuple[float, float]]],
) -> dict[str, Apart]:
    """Tensor -> what is carried apart of it, where something is.

    readers: as `sampled` makes them.  quantizer: tensor -> what INT8 makes of its rows, and the interval that
    limits its range.
    """
    found: dict[str, Apart] = {}
    for name, nodes in readers.items():
        if name not in samples:
            continue
        weights = [_matrix(node.args[1]) for node in nodes]
        made = choose(samples[name], weights, *quantizer(name))
        if made is not None:
            found[name] = made
    return found


def _matrix(w: Tensor) -> np.ndarray:
    return w.content.reshape(len(w.content), -1)  # any choice of channels is right for any weights


class Split:
    """Products of one graph that is being made, with channels carried apart; used for one graph.

    apart: tensor of the old graph -> the decision.
    """

    def __init__(self, builder: GraphBuilder, apart: Mapping[str, Apart]) -> None:
        self.b, self.apart = builder, apart
        self._gathered: dict[str, Tensor] = {}

    def of(self, old: Node) -> Apart | None:
        """What is carried apart of the rows that a node of the old graph multiplies."""
        return self.apart[old.args[0].name] if is_carried(old, self.apart) else None

    def thin(self, old: Node, x: Tensor) -> Tensor:
        """x[.., apart] times their weights, f32.  x: the float rows that `old` multiplies, in the new graph."""
        name = old.args[0].name
        channels = self.apart[name].channels
        if name not in self._gathered:
            at = self.b.constant(channels, f"{name}:apart")
            attrs: dict[str, Attr] = {"axis": x.type.rank - 1}
            self._gathered[name] = self.b.emit(
                GATHER, [x, at], attrs, like=old, name=f"channels apart {name}"
            )
        w = old.args[1]
        taken = loose_constant(channels, name)
        weights = self.b.derived(columns_of, [w, taken], f"{w.name}:apart")
        return self.b.emit(
            CONV, [self._gathered[name], weights], {"layout": "NHWC"}, like=old,
            name=f"apart {old.name}", output=f"{old.output.name}:apart",
        )  # fmt: skip


def joined(
    epilogue: E.Expr, operands: Sequence[Tensor], product: Tensor
) -> tuple[E.Expr, list[Tensor]]:
    """An epilogue with another product added to the sums that it reads, and its operands."""
    total = E.add(E.inp(0), E.inp(len(operands) + 1))
    rest = [E.inp(i + 1) for i in range(len(operands))]
    return E.substitute(epilogue, [total, *rest]), [*operands, product]
