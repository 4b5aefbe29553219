"""Attention as one op: what models say of scores becomes its expression, and what only follows from positions its
attributes.

B is the batch, N the number of heads, M that of key heads, S the length of queries, T that of keys, H and G
the sizes of keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent, is_positive
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import f32, i32
from camshaft.ops.attention import ATTENTION
from camshaft.ops.functional.attention import places
from camshaft.ops.functional.core import emit, require_same
from camshaft.ops.functional.elementwise.arithmetic import cast, pointwise
from camshaft.ops.functional.elementwise.comparison import isnan, where
from camshaft.ops.functional.matmul import matmul
from camshaft.ops.functional.movement.counting import arange
from camshaft.ops.functional.movement.shape import (
    broadcast_to,
    concat,
    reshape,
    transpose,
    unsqueeze,
)
from camshaft.ops.functional.movement.slicing import narrow
from camshaft.ops.functional.reduction import softmax

HIDDEN = float("-inf")


@dataclass(frozen=True)
class Seen:
    """Which keys a query sees: those at places place - before .. place + behind, below `ends`.

    first: the place of the first query among the keys, which may be a tensor [B] of integers.
    before, behind: None where there is no such bound; causal attention has behind=0.
    ends: a tensor [B] of integers, the number of keys of each batch.
    """

    first: Extent | Tensor = 0
    before: int | None = None
    behind: int | None = None
    ends: Tensor | None = None

    @property
    def by_attribute(self) -> bool:
        """Whether the op's own attributes say it."""
        causal = self.behind == 0 and not isinstance(self.first, Tensor)
        return self.ends is None and (causal or self.is_everything)

    @property
    def is_everything(self) -> bool:
        """Whether all keys are seen."""
        return self.before is None and self.behind is None and self.ends is None


@dataclass(frozen=True)
class Scoring:
    """What scores are: softcap(scale * q k^T) plus biases, minus infinity for keys that are not seen.

    scale: 1 / sqrt(H) where None.  softcap: c * tanh(score / c), where not 0.  biases: broadcast to
    [B,N,S,T]; bools say which keys count.
    """

    scale: float | None = None
    softcap: float = 0.0
    biases: Sequence[Tensor] = ()
    seen: Seen = field(default_factory=Seen)


def attention(
    builder: GraphBuilder,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scoring: Scoring,
    *,
    output: str | None = None,
) -> Tensor:
    """softmax(scores) times value: [B,N,S,G] of query [B,N,S,H], key [B,M,T,H] and value [B,M,T,G]; N is a multiple
    of M.  A query that sees no key gives 0.

    Sizes of heads that are open, and types but f32, are computed from products and softmax.
    """
    known = isinstance(query.shape[-1], int) and isinstance(value.shape[-1], int)
    if not known or query.type.dtype != f32 or not is_positive(key.shape[2]):
        return _by_parts(builder, query, key, value, scoring, output=output)
    b, n, s, _ = query.shape
    m = key.shape[1]
    expr, operands = _score(builder, query, key, scoring)
    attrs: dict[str, Attr] = {"score": expr, "operands": len(operands), "hidden": "zero"}
    seen = scoring.seen
    if seen.by_attribute and not seen.is_everything:
        assert not isinstance(seen.first, Tensor)
        window = 0 if seen.before is None else seen.before + 1
        attrs |= {"causal": True, "first": seen.first, "window": window}
    if m == n:
        return emit(builder, ATTENTION, [query, key, value, *operands], attrs, output)
    require_same(builder, n % m, 0, f"{n} heads do not share {m} heads of keys")
    shared = [_by_group(builder, t, m, n) for t in (query, *operands)]
    wide = [unsqueeze(builder, t, 2) for t in (key, value)]
    y = emit(builder, ATTENTION, [shared[0], *wide, *shared[1:]], attrs)
    return reshape(builder, y, (b, n, s, value.shape[3]), output=output)


def scores(
    builder: GraphBuilder, query: Tensor, key: Tensor, scoring: Scoring
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [B,N,S,T]: scaled products; the same with soft cap; and with biases, of hidden keys
    minus infinity."""
    b, n, s, h = query.shape
    m, length = key.shape[1], key.shape[2]
    rows = query if m == n else reshape(builder, query, (b, m, n // m * s, h))
    raw = matmul(builder, rows, transpose(builder, key, (0, 1, 3, 2)))
    raw = reshape(builder, raw, (b, n, s, length))
    dtype = raw.type.dtype
    scaled = pointwise(builder, E.mul(E.inp(0), E.const(_scale(query, scoring), dtype)), raw)
    capped = scaled
    if scoring.softcap:
        capped = pointwise(builder, _capped(E.inp(0), scoring.softcap), scaled)
    expr, operands = _masked(builder, query, key, scoring, E.inp(0), by_attribute=False)
    return scaled, capped, pointwise(builder, expr, capped, *operands) if operands else capped


def shares_of(builder: GraphBuilder, scores: Tensor, *, output: str | None = None) -> Tensor:
    """softmax(scores) along the last axis; 0 where a query sees no key."""
    shares = softmax(builder, scores)
    return where(builder, isnan(builder, shares), 0.0, shares, output=output)


def weighted(
    builder: GraphBuilder, shares: Tensor, value: Tensor, *, output: str | None = None
) -> Tensor:
    """shares [B,N,S,T] times value [B,M,T,G]: [B,N,S,G]."""
    b, n, s, length = shares.shape
    m, size = value.shape[1], value.shape[3]
    if m == n:
        return matmul(builder, shares, value, output=output)
    rows = reshape(builder, shares, (b, m, n // m * s, length))
    return reshape(builder, matmul(builder, rows, value), (b, n, s, size), output=output)


def with_sinks(
    builder: GraphBuilder,
    scores: Tensor,
    value: Tensor,
    sinks: Tensor,
    *,
    output: str | None = None,
) -> Tensor:
    """Scores [B,N,S,T] and a further one of each head, sinks [N], that takes its share and has no value."""
    b, n, s, length = scores.shape
    column = broadcast_to(builder, reshape(builder, sinks, (n, 1, 1)), (b, n, s, 1))
    shares = softmax(builder, concat(builder, [scores, column], 3))
    return weighted(builder, narrow(builder, shares, 3, 0, length), value, output=output)


def _by_parts(
    builder: GraphBuilder,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scoring: Scoring,
    *,
    output: str | None,
) -> Tensor:
    last = scores(builder, query, key, scoring)[2]
    return weighted(builder, shares_of(builder, last), value, output=output)


def _scale(query: Tensor, scoring: Scoring) -> float:
    if scoring.scale is not None:
        return scoring.scale
    return 1 / sqrt(fixed_extent(query.shape[-1], "the size of attention's heads"))


def _capped(score: Expr, softcap: float) -> Expr:
    return E.mul(E.unary("tanh", E.mul(score, E.const(1 / softcap))), E.const(softcap))


def _score(
    builder: GraphBuilder, query: Tensor, key: Tensor, scoring: Scoring
) -> tuple[Expr, list[Tensor]]:
    """The op's expression of a score, and its operands."""
    score = E.mul(E.inp(0), E.const(_scale(query, scoring)))
    if scoring.softcap:
        score = _capped(score, scoring.softcap)
    return _masked(builder, query, key, scoring, score, by_attribute=True)


def _masked(
    builder: GraphBuilder,
    query: Tensor,
    key: Tensor,
    scoring: Scoring,
    score: Expr,
    *,
    by_attribute: bool,
) -> tuple[Expr, list[Tensor]]:
    """A score with biases and what hides keys.  by_attribute: leave out what the op's attributes say."""
    operands: list[Tensor] = []

    def operand(t: Tensor) -> Expr:
        operands.append(t)
        return E.inp(len(operands))

    conditions = [operand(t) for t in scoring.biases if t.type.dtype.kind == "b"]
    for bias in scoring.biases:
        if bias.type.dtype.kind != "b":
            score = E.add(score, operand(bias))
    seen = scoring.seen
    if not seen.is_everything and not (by_attribute and seen.by_attribute):
        conditions += _places_seen(builder, query.shape[2], key.shape[2], seen, operand)
    for condition in conditions:
        score = E.select(condition, score, E.const(HIDDEN))
    return score, operands


def _places_seen(
    builder: GraphBuilder,
    length: Extent,
    total: Extent,
    seen: Seen,
    operand: Callable[[Tensor], Expr],
) -> list[Expr]:
    """Conditions of places that a score's key must meet."""
    place = cast(builder, unsqueeze(builder, places(builder, seen.first, length), -1), i32)
    column = operand(arange(builder, 0, total, dtype=i32))
    row = operand(place) if seen.before is not None or seen.behind is not None else None
    conditions: list[Expr] = []
    if seen.behind is not None:
        assert row is not None
        last = E.add(row, E.const(seen.behind, i32)) if seen.behind else row
        conditions.append(E.binary("le", column, last))
    if seen.before is not None:
        assert row is not None
        conditions.append(E.binary("le", E.sub(row, E.const(seen.before, i32)), column))
    if seen.ends is not None:
        count = cast(builder, reshape(builder, seen.ends, (seen.ends.type.size, 1, 1, 1)), i32)
        conditions.append(E.binary("lt", column, operand(count)))
    return conditions


def _by_group(builder: GraphBuilder, t: Tensor, m: Extent, n: Extent) -> Tensor:
    """A tensor that broadcasts to [B,N,.,.], as one that broadcasts to [B,M,N/M,.,.]."""
    if t.type.rank < 3:
        return t
    *batch, heads, rows, columns = t.shape
    split = (1, 1) if heads == 1 else (m, n // m)
    return reshape(builder, t, (*batch, *split, rows, columns))
