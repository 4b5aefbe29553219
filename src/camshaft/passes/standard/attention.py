"""Attention as what it is made of: two matrix products and a softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import ATTENTION, MATMUL, POINTWISE, REDUCE, SOFTMAX, TRANSPOSE
from camshaft.ops.attention import visible
from camshaft.passes.rewrite import Rewrite, Rewriter


class AttentionInParts(Rewrite):
    """attention(q, k, v) -> matmul(softmax(matmul(q, transposed k)), v)."""

    name = "attention-in-parts"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if node.attrs["products"] != "f32":
            raise ModelError(
                f"node {node.name!r} cannot be exported: standard ONNX has no attention whose products are of "
                f"{node.attrs['products']!r}; build it in floats to export it"
            )
        q, k, v = node.args[:3]
        count = int_attr(node, "operands")
        operands, after = node.args[3 : 3 + count], node.args[3 + count :]
        base = node.output.name
        rank = k.type.rank
        perm = (*range(rank - 2), rank - 1, rank - 2)
        turned = r.emit(TRANSPOSE, [k], {"perm": perm}, like=node, output=f"{base}:keys")
        attrs: dict[str, Attr] = {"epilogue": expr_attr(node, "score")}
        scores = r.emit(MATMUL, [q, turned, *operands], attrs, like=node, output=f"{base}:scores")
        if node.attrs["causal"]:
            scores = _hidden(node, scores, r)
        shares = r.emit(SOFTMAX, [scores], {"axis": -1}, like=node, output=f"{base}:shares")
        if node.attrs["hidden"] == "zero":
            shares = _without_nothing(node, scores, shares, r)
        epilogue: dict[str, Attr] = {"epilogue": node.attrs["epilogue"]}
        return [r.emit(MATMUL, [shares, v, *after], epilogue, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("attention")
        q, k, v = (b.input(n, TensorType(f32, (2, 3, 4))) for n in "qkv")
        attrs: dict[str, Attr] = {
            "score": E.mul(E.inp(0), E.const(0.5)),
            "causal": True,
            "hidden": "zero",
        }
        return b.graph({"y": b.emit(ATTENTION, [q, k, v], attrs, name="attention")})


def _hidden(node: Node, scores: Tensor, r: Rewriter) -> Tensor:
    """Scores with minus infinity where a query may not look."""
    lengths = scores.shape[-2:]
    if not is_static(lengths):
        raise ModelError(
            f"node {node.name!r} cannot be exported: it is causal attention of open lengths; give its sizes (shapes=)"
        )
    queries, keys = lengths
    seen = visible(queries, keys, int_attr(node, "first"), int_attr(node, "window"))
    mask = r.builder.constant(np.asarray(seen), f"{node.output.name}:seen")
    expr = E.select(E.inp(1), E.inp(0), E.const(-np.inf, scores.type.dtype))
    return r.emit(
        POINTWISE, [scores, mask], {"expr": expr}, like=node, output=f"{node.output.name}:causal"
    )


def _without_nothing(node: Node, scores: Tensor, shares: Tensor, r: Rewriter) -> Tensor:
    """Shares that are 0 for a query that sees no key."""
    largest = r.emit(
        REDUCE, [scores], {"kind": "max", "axes": (scores.type.rank - 1,)}, like=node,
        output=f"{node.output.name}:largest",
    )  # fmt: skip
    dtype = shares.type.dtype
    none = E.binary("eq", E.inp(1), E.const(-np.inf, dtype))
    expr = E.select(none, E.const(0.0, dtype), E.inp(0))
    return r.emit(
        POINTWISE, [shares, largest], {"expr": expr}, like=node, output=f"{node.output.name}:seen"
    )
