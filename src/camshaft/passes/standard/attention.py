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
from camshaft.ir.types import TensorType, bf16, f32, u8
from camshaft.ops import ATTENTION, MATMUL, POINTWISE, REDUCE, SOFTMAX, TRANSPOSE
from camshaft.ops.attention import LEVELS, SMALLEST, visible
from camshaft.passes.rewrite import Rewrite, Rewriter

MIDDLE = 128
"""Zero point of bytes that stand for levels of both signs."""


class AttentionInParts(Rewrite):
    """attention(q, k, v) -> matmul(softmax(matmul(q, transposed k)), v).

    Operands of products in BF16, and queries and keys of those in INT8, are rounded as they are for the kernel; what kernels round
    besides, exponentials and the values that they weigh, stays float."""

    name = "attention-in-parts"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        q, k, v = node.args[:3]
        if node.attrs["products"] == "bf16":
            q, k, v = (_rounded(t, node, r) for t in (q, k, v))
        count = int_attr(node, "operands")
        operands, after = node.args[3 : 3 + count], node.args[3 + count :]
        base = node.output.name
        if node.attrs["products"] == "i8":
            scores = _scores_of_bytes(node, operands, r)
        else:
            keys = _turned(k, node, r, f"{base}:keys")
            attrs: dict[str, Attr] = {"epilogue": expr_attr(node, "score")}
            scores = r.emit(MATMUL, [q, keys, *operands], attrs, like=node, output=f"{base}:scores")
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


def _turned(tensor: Tensor, node: Node, r: Rewriter, output: str) -> Tensor:
    """Its last two axes swapped."""
    rank = tensor.type.rank
    perm = (*range(rank - 2), rank - 1, rank - 2)
    return r.emit(TRANSPOSE, [tensor], {"perm": perm}, like=node, output=output)


def _rounded(tensor: Tensor, node: Node, r: Rewriter) -> Tensor:
    """What BF16 keeps of a tensor."""
    expr = E.cast(E.cast(E.inp(0), bf16), f32)
    return r.emit(POINTWISE, [tensor], {"expr": expr}, like=node, output=f"{tensor.name}:rounded")


def _scores_of_bytes(node: Node, operands: Sequence[Tensor], r: Rewriter) -> Tensor:
    """Scores as a product of bytes: the same integers as the kernel multiplies, a scale for each query and each key."""
    base = node.output.name
    q, q_scales = _bytes(node.args[0], node, r)
    k, k_scales = _bytes(node.args[1], node, r)
    keys = _turned(k, node, r, f"{base}:keys")
    by_key = _turned(k_scales, node, r, f"{base}:key_scales")
    by_query, last = E.inp(len(operands) + 1), E.inp(len(operands) + 2)
    total = E.mul(E.mul(E.cast(E.inp(0), f32), by_query), last)
    rest = [E.inp(n + 1) for n in range(len(operands))]
    attrs: dict[str, Attr] = {
        "a_zero_point": MIDDLE,
        "b_zero_point": MIDDLE,
        "epilogue": E.substitute(expr_attr(node, "score"), [total, *rest]),
    }
    inputs = [q, keys, *operands, q_scales, by_key]
    return r.emit(MATMUL, inputs, attrs, like=node, output=f"{base}:scores")


def _bytes(tensor: Tensor, node: Node, r: Rewriter) -> tuple[Tensor, Tensor]:
    """Rows as `ops.attention.row_levels` rounds them, as u8 around `MIDDLE`, and their scales [..., 1].

    Both operands are unsigned: other runtimes add products of unsigned and signed bytes in 16 bits, which saturate."""
    largest = E.maximum(E.inp(0), E.const(SMALLEST))
    attrs: dict[str, Attr] = {
        "kind": "max",
        "axes": (tensor.type.rank - 1,),
        "keepdims": True,
        "prologue": E.unary("abs", E.cast(E.inp(0), f32)),
        "epilogue": E.mul(largest, E.const(1 / LEVELS)),
    }
    scales = r.emit(REDUCE, [tensor], attrs, like=node, output=f"{tensor.name}:row_scales")
    share = E.mul(E.cast(E.inp(0), f32), E.unary("reciprocal", E.inp(1)))
    level = E.cast(E.add(E.unary("round", share), E.const(float(MIDDLE))), u8)
    rows = r.emit(
        POINTWISE, [tensor, scales], {"expr": level}, like=node, output=f"{tensor.name}:levels"
    )
    return rows, scales


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
