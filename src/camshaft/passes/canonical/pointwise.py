"""Expressions in normal form: no superfluous operand, literals in place, nothing to simplify."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr, ValueRange
from camshaft.ir.types import DType, TensorType, f32
from camshaft.ops import POINTWISE, REDUCE
from camshaft.passes.bodies import (
    Body,
    anchored,
    body_of,
    compact,
    emit_body,
    has_body,
    keeps_shape,
    scalar_const,
)
from camshaft.passes.canonical.simplify import range_of_type, simplify
from camshaft.passes.ranges import anchor_dtype, value_bounds
from camshaft.passes.rewrite import Rewrite, Rewriter


class TidyBody(Rewrite):
    """Constants of one value become literals, equal operands one, expressions their short form."""

    name = "tidy-expression"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not has_body(node):
            return None
        body = body_of(node)
        if body.expr == E.inp(0) and len(body.operands) == 1:
            return None
        tidy = compact(Body(self._short(node, body, r), body.operands))
        if tidy.expr == body.expr and len(tidy.operands) == len(body.operands):
            return None
        if not keeps_shape(tidy, node):
            return self._deduplicated(node, body, r)
        return [emit_body(r, node if anchored(node) else None, tidy, [node])]

    @staticmethod
    def _deduplicated(node: Node, body: Body, r: Rewriter) -> Sequence[Tensor] | None:
        """Where operands only give the output its shape: keep them, merge equal ones."""
        first: dict[str, int] = {}
        for i, t in enumerate(body.operands):
            first.setdefault(t.name if t else "", i)
        if len(first) == len(body.operands):
            return None
        kept = sorted(first.values())
        place = [E.inp(kept.index(first[t.name if t else ""])) for t in body.operands]
        operands = [t for i in kept if (t := body.operands[i])]
        attrs = {"expr": E.substitute(body.expr, place)}
        return [r.emit(POINTWISE, operands, attrs, like=node)]

    @staticmethod
    def _short(node: Node, body: Body, r: Rewriter) -> Expr:
        dtypes: list[DType] = []
        limits: list[ValueRange] = []
        leaves: list[Expr] = []
        for i, t in enumerate(body.operands):
            literal = scalar_const(t)
            leaves.append(E.inp(i) if literal is None else literal)
            dtypes.append(t.type.dtype if t else anchor_dtype(node))
            limits.append(value_bounds(t, r) if t else range_of_type(dtypes[-1]))
        return simplify(E.substitute(body.expr, leaves), dtypes, limits)

    def example(self) -> Graph:
        b = GraphBuilder("relu6-relu")
        x = b.input("x", TensorType(f32, (2, 3)))
        six = b.constant(np.full((1, 3), 6.0, np.float32), "six")
        clipped = E.maximum(E.minimum(E.inp(0), E.inp(1)), E.const(0.0))
        attrs = {"expr": E.maximum(clipped, E.const(0.0))}
        return b.graph({"y": b.emit(POINTWISE, [x, six], attrs, name="clip")})


class TidyPrologue(Rewrite):
    """The expression a reduction applies to every element, in its short form."""

    name = "tidy-prologue"
    ops = (REDUCE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        prologue = expr_attr(node, "prologue")
        short = simplify(prologue, [node.args[0].type.dtype], [value_bounds(node.args[0], r)])
        if short == prologue:
            return None
        return [r.emit(REDUCE, node.inputs, {**node.attrs, "prologue": short}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("sum-of-squares")
        x = b.input("x", TensorType(f32, (2, 3)))
        square = E.binary("pow", E.inp(0), E.const(2.0))
        attrs: dict[str, Attr] = {"kind": "sum", "axes": (1,), "prologue": square}
        return b.graph({"y": b.emit(REDUCE, [x], attrs, name="sum")})


POINTWISE_RULES: tuple[Rewrite, ...] = (TidyBody(), TidyPrologue())
