"""Tensors without elements: nothing is computed for them, and nothing reads them at run time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONCAT, POINTWISE, REDUCE
from camshaft.ops.common import IDENTITY
from camshaft.passes.bodies import anchored
from camshaft.passes.rewrite import Rewrite, Rewriter


def _is_empty(t: Tensor) -> bool:
    return t.type.is_empty and t.type.dtype.kind != "s"


class EmptyIsConstant(Rewrite):
    """A tensor without elements is a constant, wherever it comes from.

    What is computed from constants alone then folds (a sum over no elements is 0); a concat has
    no use for such parts.
    """

    name = "empty-is-constant"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if all(_is_empty(t) for t in node.outputs):
            return [_constant(t, r) for t in node.outputs]
        parts = [t for t in node.args if not t.type.is_empty]
        if node.op is CONCAT and 0 < len(parts) < len(node.args):
            return [r.emit(CONCAT, parts, node.attrs, like=node)]
        if not any(_is_empty(t) and not t.is_const for t in node.args):
            return None
        inputs = [_constant(t, r) if t is not None and _is_empty(t) else t for t in node.inputs]
        return r.add(node.op, inputs, node.attrs, like=node)

    def example(self) -> Graph:
        b = GraphBuilder("nothing-kept")
        x = b.input("x", TensorType(f32, (2, 0)))
        total = b.emit(REDUCE, [x], {"kind": "sum", "axes": (1,)}, name="sum")
        y = b.input("y", TensorType(f32, (2, 3)))
        kept = b.emit(CONCAT, [x, y], {"axis": 1}, name="concat")
        return b.graph({"total": total, "kept": kept})


class AnchorOfNothing(Rewrite):
    """An anchor that reads constants without elements is a constant; its epilogue remains."""

    name = "anchor-of-nothing"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not anchored(node):
            return None
        anchors = node.args[: node.op.own_inputs(node.attrs)]
        if not (all(t.is_const for t in anchors) and any(_is_empty(t) for t in anchors)):
            return None
        bare = {**node.attrs, "epilogue": IDENTITY}
        value = r.emit(node.op, anchors, bare, like=node, output=f"{node.output.name}:anchor")
        operands = [value, *node.args[len(anchors) :]]
        return [r.emit(POINTWISE, operands, {"expr": expr_attr(node, "epilogue")}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("no-columns")
        y = b.input("y", TensorType(f32, (2, 1)))
        x = b.constant(np.zeros((2, 0), np.float32))
        larger = E.maximum(E.inp(0), E.inp(1))
        attrs: dict[str, Attr] = {"kind": "max", "axes": (1,), "epilogue": larger}
        return b.graph({"y": b.emit(REDUCE, [x, y], attrs, name="max")})


def _constant(t: Tensor, r: Rewriter) -> Tensor:
    if t.is_const:
        return t
    return r.builder.constant(np.zeros(t.type.static, t.type.dtype.numpy), f"{t.name}:empty")


EMPTY_RULES: tuple[Rewrite, ...] = (EmptyIsConstant(), AnchorOfNothing())
