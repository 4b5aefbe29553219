"""Attention is found by what it computes: softmax of an expression of queries times keys, times values.

Whatever lies between the products (scales, masks, biases, soft caps, reshapes of heads) becomes the expression
of the op, so that the rules know nothing of how exporters write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import axis_attr, expr_attr, ints_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import ATTENTION, BROADCAST, MATMUL, POINTWISE, RESHAPE, SOFTMAX, TRANSPOSE
from camshaft.ops.attention import score_shape
from camshaft.passes.bodies import Body, Inliner, broadcasts_to, fits
from camshaft.passes.canonical.shapes import reshaped
from camshaft.passes.fusions.attention_heads import HEAD_FUSIONS
from camshaft.passes.fusions.attention_operands import OPERAND_FUSIONS
from camshaft.passes.rewrite import Rewrite, Rewriter

VERY_LOW = -1e30
"""A score that a mask puts in the place of others: beside any score that a net computes its power is 0."""


@dataclass(frozen=True)
class Scores:
    """What scores [..., S, T] are computed from: queries, keys, and an expression of their product (None among
    the operands)."""

    query: Tensor
    key: Tensor
    body: Body

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """Of the expression, without the product."""
        return tuple(t for t in self.body.operands if t is not None)


def turned(r: Rewriter, x: Tensor, like: Node) -> Tensor:
    """The last two axes exchanged."""
    rank = x.type.rank
    perm = (*range(rank - 2), rank - 1, rank - 2)
    return r.emit(TRANSPOSE, [x], {"perm": perm}, like=like, output=f"{x.name}:turned")


def turned_operand(r: Rewriter, x: Tensor, like: Node) -> Tensor:
    """An operand that broadcasts to [..., S, T], for [..., T, S]."""
    if x.type.rank == 0:
        return x
    column = x if x.type.rank > 1 else reshaped(r, x, (1, *x.shape), like, "row")
    return turned(r, column, like)


def scores_of(x: Tensor, node: Node, r: Rewriter) -> Scores | None:
    """How the scores `x` come about, None if they are no expression of one product of matrices."""
    made = r.producer(x, MATMUL, POINTWISE, RESHAPE)
    if made is None or x.type.dtype != f32 or not r.single_use(x):
        return None
    if made.op is MATMUL:
        return _product(made, r)
    if made.op is POINTWISE:
        return _expression(made, r)
    return _reshaped_scores(made, r)


def _product(made: Node, r: Rewriter) -> Scores | None:
    query, key = made.args[:2]
    if query.type.dtype != f32 or query.is_const or key.is_const:
        return None
    operands = (None, *made.args[2:])
    return Scores(query, turned(r, key, made), Body(expr_attr(made, "epilogue"), operands))


def _expression(made: Node, r: Rewriter) -> Scores | None:
    shape = made.output.shape
    for i, t in enumerate(made.args):
        if t.shape != shape or r.producer(t, MATMUL, POINTWISE, RESHAPE) is None:
            continue
        inner = scores_of(t, made, r)
        if inner is None:
            continue
        inliner = Inliner(result=True)
        before = inliner.inline(inner.body)
        parts = [before if j == i else inliner.leaf(u) for j, u in enumerate(made.args)]
        body = inliner.body(E.substitute(expr_attr(made, "expr"), parts))
        return Scores(inner.query, inner.key, body) if fits(body) else None
    return None


def _reshaped_scores(made: Node, r: Rewriter) -> Scores | None:
    """Scores whose heads are arranged anew, last two axes unchanged."""
    x, shape = made.args[0], made.output.shape
    if x.type.rank < 2 or len(shape) < 2 or x.shape[-2:] != shape[-2:]:
        return None
    inner = scores_of(x, made, r)
    if inner is None:
        return None
    moved: list[Tensor | None] = []
    for t in (inner.query, inner.key, *inner.operands):
        new = with_heads(r, t, x.shape[:-2], shape[:-2], made)
        if new is None:
            return None
        moved.append(new)
    query, key, *operands = moved
    assert query is not None and key is not None
    return Scores(query, key, Body(inner.body.expr, (None, *operands)))


def with_heads(r: Rewriter, t: Tensor, before: Shape, after: Shape, like: Node) -> Tensor | None:
    """A tensor that broadcasts to [*before, ., .], reshaped such that it broadcasts to [*after, ., .]."""
    missing = 2 - t.type.rank
    matrix: Shape = (1,) * missing + t.shape[-2:]
    lead: Shape = (1,) * (len(before) - max(0, t.type.rank - 2)) + t.shape[:-2]
    new = _regrouped(lead, before, after)
    return None if new is None else reshaped(r, t, (*new, *matrix), like, "heads")


def _regrouped(own: Shape, before: Shape, after: Shape) -> Shape | None:
    """Axes `own`, each 1 or that of `before`, in the grouping of `after`; None where it cuts an axis."""
    result: list[Shape] = []
    i = j = 0
    while i < len(before) or j < len(after):
        a, b = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while prod(before[a:i]) != prod(after[b:j]):
            left, right = prod(before[a:i]), prod(after[b:j])
            if not isinstance(left, int) or not isinstance(right, int):
                return None
            if left < right and i < len(before):
                i += 1
            elif left > right and j < len(after):
                j += 1
            else:
                return None
        if all(d == 1 for d in own[a:i]):
            result.append((1,) * (j - b))
        elif own[a:i] == before[a:i]:
            result.append(after[b:j])
        else:
            return None
    return tuple(d for group in result for d in group)


@dataclass(frozen=True)
class Shares:
    """What a query takes of each value: the softmax of `scores`, queries in rows.

    hidden: what a query without scores takes ("nan", "zero").
    """

    softmax: Node
    scores: Scores
    hidden: str


def shares_of(x: Tensor, r: Rewriter, queries: int) -> Shares | None:
    """How `x` comes about, if it is a softmax of scores.  queries: the axis of `x` they lie along, -2 or -1."""
    turn = r.producer(x, TRANSPOSE)
    if turn is not None and r.single_use(x) and _turns(turn):
        return shares_of(turn.args[0], r, -3 - queries)
    guard = r.producer(x, POINTWISE)
    if guard is not None and r.single_use(x):
        return _guarded(guard, r, queries)
    softmax = r.producer(x, SOFTMAX)
    if softmax is None or softmax.attrs["log"] or not r.single_use(x):
        return None
    rank = x.type.rank
    if axis_attr(softmax, rank) - rank != -3 - queries:
        return None
    scores = scores_of(softmax.args[0], softmax, r)
    if scores is not None and queries == -1:
        operands = [turned_operand(r, t, softmax) for t in scores.operands]
        scores = Scores(scores.key, scores.query, Body(scores.body.expr, (None, *operands)))
    return None if scores is None else Shares(softmax, scores, "nan")


def _turns(node: Node) -> bool:
    """Whether a transpose exchanges the last two axes."""
    rank = node.output.type.rank
    return ints_attr(node, "perm") == (*range(rank - 2), rank - 1, rank - 2)


def _guarded(guard: Node, r: Rewriter, queries: int) -> Shares | None:
    """Shares that are made 0 where they are NaN, as PyTorch does, or where a mask has hidden the
    scores already, as DeBERTa does."""
    expr = expr_attr(guard, "expr")
    inner = {
        i: shares
        for i, t in enumerate(guard.args)
        if t.shape == guard.output.shape and (shares := shares_of(t, r, queries)) is not None
    }
    if expr.op != "select" or len(inner) != 1:
        return None
    ((place, shares),) = inner.items()
    share, zero, nan = E.inp(place), E.const(0.0), E.unary("isnan", E.inp(place))
    if expr == E.select(nan, zero, share) and len(guard.args) == 1:
        return replace(shares, hidden="zero")
    return _hidden_twice(expr, guard.args, place, shares) if queries == -2 else None


def _hidden_twice(
    expr: E.Expr, args: Sequence[Tensor], place: int, shares: Shares
) -> Shares | None:
    """Shares with 0 where a condition holds under which the score is a very low number: that is minus infinity, and
    a query without scores takes nothing."""
    score, operands = shares.scores.body.expr, shares.scores.body.operands
    if score.op != "select":
        return None
    names = [None if i == place else t.name for i, t in enumerate(args)]
    mapped = [operand for operand in operands if operand is not None and operand.name in names]
    indices = {t.name: operands.index(t) for t in mapped}
    if any(n is not None and n not in indices for n in names):
        return None
    inputs = [E.inp(0) if n is None else E.inp(indices[n]) for n in names]
    condition, *arms = E.substitute(expr, inputs).args
    wanted, *branches = score.args
    for hidden, shown in ((0, 1), (1, 0)):
        low = branches[hidden]
        if (
            condition == wanted
            and arms[hidden] == E.const(0.0)
            and arms[shown] == E.inp(0)
            and low.op == "const"
            and float(low.value or 0) <= VERY_LOW
        ):
            branches[hidden] = E.const(-np.inf)
            body = Body(E.select(wanted, *branches), operands)
            return replace(shares, scores=replace(shares.scores, body=body), hidden="zero")
    return None


class FuseAttention(Rewrite):
    """softmax(f(q k^T)) v is one op."""

    name = "fuse-attention"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        rows = shares_of(node.args[0], r, queries=-2)
        if rows is not None:
            return self._fused(rows, node.args[1], node.args[2:], node, r)
        columns = shares_of(node.args[1], r, queries=-1)
        if columns is None:
            return None
        operands = [turned_operand(r, t, node) for t in node.args[2:]]
        made = self._fused(columns, turned(r, node.args[0], node), operands, node, r)
        return None if made is None else [turned(r, made[0], node)]

    @staticmethod
    def _fused(
        shares: Shares, value: Tensor, operands: Sequence[Tensor], node: Node, r: Rewriter
    ) -> Sequence[Tensor] | None:
        if value.is_const or value.type.dtype != f32:
            return None
        scores = shares.scores
        inputs = [scores.query, scores.key, value, *scores.operands]
        attrs: dict[str, Attr] = {
            "score": scores.body.expr,
            "operands": len(inputs) - 3,
            "hidden": shares.hidden,
            "epilogue": node.attrs["epilogue"],
        }
        shape = score_shape(scores.query.shape, scores.key.shape)
        if not all(broadcasts_to(t, shape) for t in scores.operands):
            return None
        return [r.emit(ATTENTION, [*inputs, *operands], attrs, like=[shares.softmax, node])]

    def example(self) -> Graph:
        b = GraphBuilder("attention")
        q, k, v = (b.input(n, TensorType(f32, (2, 3, 5, 4))) for n in "qkv")
        mask = b.input("mask", TensorType(f32, (2, 1, 1, 5)))
        keys = b.emit(TRANSPOSE, [k], {"perm": (0, 1, 3, 2)}, name="turn")
        scaled: dict[str, Attr] = {"epilogue": E.mul(E.inp(0), E.const(0.5))}
        scores = b.emit(MATMUL, [q, keys], scaled, name="scores")
        sum_: dict[str, Attr] = {"expr": E.add(E.inp(0), E.inp(1))}
        scores = b.emit(POINTWISE, [scores, mask], sum_, name="mask")
        shares = b.emit(SOFTMAX, [scores], {"axis": -1}, name="softmax")
        return b.graph({"y": b.emit(MATMUL, [shares, v], name="values")})


class ShareHeads(Rewrite):
    """Keys and values that are repeated for several heads are read by all of them instead.

    [B,M,1,T,H] > broadcast to [B,M,R,T,H] > reshape to [B,M*R,T,H], as exporters write grouped queries.
    """

    name = "share-heads"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        key, value = (self._shared(t, r) for t in node.args[1:3])
        if key is None or value is None or key[1] != value[1]:
            return None
        before, after = node.output.shape[:-2], key[1]
        wide = [with_heads(r, t, before, after, node) for t in (node.args[0], *node.args[3:])]
        if any(t is None for t in wide):
            return None
        query, *operands = (t for t in wide if t is not None)
        inputs = [query, key[0], value[0], *operands]
        label = f"{node.output.name}:shared"
        y = r.emit(ATTENTION, inputs, node.attrs, like=node, output=label)
        return [r.emit(RESHAPE, [y], {"shape": node.output.shape}, like=node)]

    @staticmethod
    def _shared(t: Tensor, r: Rewriter) -> tuple[Tensor, Shape] | None:
        """[..., M, 1, T, H] and the heads [..., M, R] for which it is repeated, where `t` is
        [..., M * R, T, H]."""
        rank = t.type.rank
        last = r.producer(t, TRANSPOSE)
        order = ints_attr(last, "perm") if last else tuple(range(rank))
        flat = r.producer(last.args[0] if last else t, RESHAPE)
        if flat is None or flat.args[0].type.rank != rank + 1 or rank < 3:
            return None
        turn = r.producer(flat.args[0], TRANSPOSE)
        wide = r.producer((turn or flat).args[0], BROADCAST)
        if wide is None or wide.args[0].type.rank != rank + 1:
            return None
        first = ints_attr(turn, "perm") if turn else tuple(range(rank + 1))
        heads = order[rank - 3]
        split = [
            a
            for axis in order
            for a in ((axis, axis + 1) if axis == heads else (axis + (axis > heads),))
        ]
        perm = tuple(first[a] for a in split)
        narrow, shape = wide.args[0], tuple(wide.output.shape[a] for a in perm)
        if shape[-2:] != t.shape[-2:] or shape[:-4] != t.shape[:-3]:
            return None
        if tuple(narrow.shape[a] for a in perm) != (*shape[:-3], 1, *shape[-2:]):
            return None
        if perm != tuple(range(rank + 1)):
            label = f"{narrow.name}:heads"
            narrow = r.emit(TRANSPOSE, [narrow], {"perm": perm}, like=flat, output=label)
        return narrow, shape[:-2]

    def example(self) -> Graph:
        b = GraphBuilder("grouped-queries")
        q = b.input("q", TensorType(f32, (2, 6, 5, 4)))
        k, v = (b.input(n, TensorType(f32, (2, 3, 1, 7, 4))) for n in "kv")
        wide = [
            b.emit(BROADCAST, [t], {"shape": (2, 3, 2, 7, 4)}, name=f"expand {t.name}")
            for t in (k, v)
        ]
        keys, values = (
            b.emit(RESHAPE, [t], {"shape": (2, 6, 7, 4)}, name=f"flatten {t.name}") for t in wide
        )
        return b.graph({"y": b.emit(ATTENTION, [q, keys, values], name="attention")})


ATTENTION_FUSIONS: tuple[Rewrite, ...] = (
    FuseAttention(),
    ShareHeads(),
    *HEAD_FUSIONS,
    *OPERAND_FUSIONS,
)
