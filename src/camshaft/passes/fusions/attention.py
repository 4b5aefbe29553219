"""Attention is found by what it computes: softmax of an expression of queries times keys, times values.

Whatever lies between the products (scales, masks, biases, soft caps, reshapes of heads) becomes the expression
of the op, so that the rules know nothing of how exporters write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from camshaft.ir import expr as E
from camshaft.ir.attrs import axis_attr, expr_attr, int_attr, ints_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import ATTENTION, BROADCAST, MATMUL, POINTWISE, RESHAPE, SOFTMAX, TRANSPOSE
from camshaft.passes.bodies import Body, Inliner, broadcasts_to, fits
from camshaft.passes.canonical.shapes import reshaped
from camshaft.passes.rewrite import Rewrite, Rewriter


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


class FuseAttention(Rewrite):
    """softmax(f(q k^T)) v is one op."""

    name = "fuse-attention"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        shares, value = node.args[:2]
        found = self._shares(shares, r)
        if found is None or value.is_const or value.type.dtype != f32:
            return None
        softmax, hidden = found
        scores = scores_of(softmax.args[0], softmax, r)
        if scores is None:
            return None
        inputs = [scores.query, scores.key, value, *scores.operands]
        own = len(inputs)
        attrs: dict[str, Attr] = {
            "score": scores.body.expr,
            "operands": own - 3,
            "hidden": hidden,
            "epilogue": node.attrs["epilogue"],
        }
        if not all(broadcasts_to(t, softmax.args[0].shape) for t in scores.operands):
            return None
        return [r.emit(ATTENTION, [*inputs, *node.args[2:]], attrs, like=[softmax, node])]

    @staticmethod
    def _shares(x: Tensor, r: Rewriter) -> tuple[Node, str] | None:
        """The softmax along the last axis whose result `x` is, and what it makes of a row without scores:
        PyTorch puts 0 in the place of NaN."""
        hidden = "nan"
        guard = r.producer(x, POINTWISE)
        if guard is not None and len(guard.args) == 1 and r.single_use(x):
            nan = E.unary("isnan", E.inp(0))
            if guard.attrs["expr"] != E.select(nan, E.const(0.0), E.inp(0)):
                return None
            x, hidden = guard.args[0], "zero"
        softmax = r.producer(x, SOFTMAX)
        if softmax is None or softmax.attrs["log"] or not r.single_use(x):
            return None
        rank = x.type.rank
        if axis_attr(softmax, rank) != rank - 1:
            return None
        return softmax, hidden

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
        flat = r.producer(t, RESHAPE)
        if flat is None:
            return None
        turn = r.producer(flat.args[0], TRANSPOSE)
        wide = r.producer((turn or flat).args[0], BROADCAST)
        if wide is None or wide.args[0].type.rank != len(wide.output.shape):
            return None
        rank, shape = t.type.rank + 1, flat.args[0].shape
        perm = ints_attr(turn, "perm") if turn else tuple(range(rank))
        narrow = wide.args[0]
        if len(perm) != rank or shape[-2:] != t.shape[-2:]:
            return None
        if tuple(narrow.shape[a] for a in perm) != (*shape[:-3], 1, *shape[-2:]):
            return None
        if turn:
            label = f"{narrow.name}:heads"
            narrow = r.emit(TRANSPOSE, [narrow], {"perm": perm}, like=turn, output=label)
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


class ScaleInScore(Rewrite):
    """Queries or keys times a number: the scores are multiplied instead, as they are stored."""

    name = "scale-in-score"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        for i, t in enumerate(node.args[:2]):
            moves: list[Node] = []
            made = r.producer(t)
            while made is not None and made.op in (RESHAPE, TRANSPOSE):
                moves.append(made)
                made = r.producer(made.args[0])
            factor = _factor(made) if made is not None and made.op is POINTWISE else None
            if made is None or factor is None or made.args[0].type != made.output.type:
                continue
            plain = made.args[0]
            for move in reversed(moves):
                label = f"{move.output.name}:unscaled"
                plain = r.emit(move.op, [plain], move.attrs, like=move, output=label)
            inputs = list(node.args)
            inputs[i] = plain
            operands = [E.inp(n + 1) for n in range(int_attr(node, "operands"))]
            product = E.mul(E.inp(0), E.const(factor))
            score = E.substitute(expr_attr(node, "score"), [product, *operands])
            attrs: dict[str, Attr] = {**node.attrs, "score": score}
            return [r.emit(ATTENTION, inputs, attrs, like=[made, node])]
        return None

    def example(self) -> Graph:
        b = GraphBuilder("scaled-queries")
        q, k, v = (b.input(n, TensorType(f32, (2, 3, 4))) for n in "qkv")
        half: dict[str, Attr] = {"expr": E.mul(E.inp(0), E.const(0.5))}
        scaled = b.emit(POINTWISE, [q], half, name="scale")
        return b.graph({"y": b.emit(ATTENTION, [scaled, k, v], name="attention")})


def _factor(node: Node) -> float | None:
    """c where the node computes its only operand times c."""
    expr = expr_attr(node, "expr")
    if len(node.args) != 1 or expr.op != "mul":
        return None
    numbers = [float(a.value or 0) for a in expr.args if a.op == "const"]
    return numbers[0] if len(numbers) == 1 and E.inp(0) in expr.args else None


ATTENTION_FUSIONS: tuple[Rewrite, ...] = (FuseAttention(), ShareHeads(), ScaleInScore())
