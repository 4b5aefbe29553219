"""ONNX Runtime's attention of language models: rotary positions, and fewer key heads than query heads.

B is the batch, N the number of query heads, M that of key heads, S the length of new tokens, P that of
the state that is handed in, T that of the state that is handed on, H the size of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, largest
from camshaft.ir.graph import Tensor
from camshaft.ir.types import i64
from camshaft.ops import functional as F
from camshaft.ops.functional.core import require_same

_UNREAD = {12: "k_scale", 13: "v_scale"}


def rotary_embedding(ctx: NodeContext) -> Results:
    """RotaryEmbedding(x, positions, cos, sin): x [B,S,N*H] or [B,N,S,H]; positions [B,S], or [1], that
    of the first element."""
    b, x, positions = ctx.builder, ctx.arg(0), ctx.arg(1)
    if ctx.attr_int("is_packed_batching"):
        raise ModelError(
            "is_packed_batching=1: rows of a batch that lie behind each other are not supported"
        )
    tables = ctx.arg(2), ctx.arg(3)
    flat = x.type.rank == 3
    heads = x
    if flat:
        size = 2 * tables[0].shape[-1]
        count = ctx.attr_int("num_heads") or x.shape[-1] // size
        if not isinstance(count, int):
            raise ModelError("num_heads is missing")
        heads = F.split_heads(b, x, count)
    length = heads.shape[2]
    if positions.type.rank < 2:
        positions = F.rotary_positions(b, F.reshape(b, positions, (1,)), length)
    cos, sin = (F.rotary_angles(b, t, positions) for t in tables)
    interleaved = bool(ctx.attr_int("interleaved"))
    held = None if flat else ctx.output
    y = F.rotary_embedding(b, heads, cos, sin, interleaved=interleaved, output=held)
    return F.merge_heads(b, y, output=ctx.output) if flat else y


@dataclass(frozen=True)
class _Lengths:
    """first: the place of the first new token, one for all or a tensor [B].  known: tokens of each
    batch, a tensor [B].  total: T."""

    first: Extent | Tensor
    known: Tensor
    total: Extent


def group_query_attention(ctx: NodeContext) -> Results:
    """GroupQueryAttention(query, key, value, past key, past value, last places, total length, cos, sin,
    positions, attention bias, sinks).

    Last places: of each batch's last token, [B].  A state of T = max(P, total length) is handed on; what
    lies in it behind a batch's tokens is not specified.
    """
    b = ctx.builder
    _refuse(ctx)
    query, key, value = _new_heads(ctx)
    length = query.shape[2]
    at = _lengths(ctx, query.shape[0], length)
    if ctx.attr_int("do_rotary"):
        positions = ctx.arg(9) if ctx.has(9) else F.rotary_positions(b, at.first, length)
        cos, sin = (F.rotary_angles(b, ctx.arg(i), positions) for i in (7, 8))
        turned = bool(ctx.attr_int("rotary_interleaved"))
        query, key = (F.rotary_embedding(b, t, cos, sin, interleaved=turned) for t in (query, key))
    if ctx.has(3):
        names = [ctx.output_name(i) if ctx.wants(i) else None for i in (1, 2)]
        key, value = (
            _state(ctx, ctx.arg(i), new, at, name)
            for i, new, name in zip((3, 4), (key, value), names, strict=True)
        )
    scoring = F.Scoring(
        scale=ctx.attr_float("scale") or None,
        softcap=ctx.attr_float("softcap"),
        biases=_biases(ctx, at),
        seen=_seen(ctx, at),
    )
    sinks = _sinks(ctx, query.shape[1])
    if sinks is None:
        mixed = F.attention(b, query, key, value, scoring)
    else:
        mixed = F.with_sinks(b, F.scores(b, query, key, scoring)[2], value, sinks)
    y = F.merge_heads(b, mixed, output=ctx.output)
    return [y, key, value][: len(ctx.proto.output)]


def _refuse(ctx: NodeContext) -> None:
    """ModelError for what this reading does not know."""
    wrong = [f"input {name!r}" for i, name in _UNREAD.items() if ctx.has(i)]
    wrong += [f"attribute {a!r}" for a in ("sliding_window_cache", "qk_output") if ctx.attr_int(a)]
    if wrong or ctx.wants(3):
        raise ModelError(
            f"{' and '.join(wrong) or 'its output of scores'} cannot be read; export the model with states "
            "of floats, whole, and without scores"
        )


def _new_heads(ctx: NodeContext) -> tuple[Tensor, Tensor, Tensor]:
    """Query [B,N,S,H], key and value [B,M,S,H] of the new tokens."""
    b, query = ctx.builder, ctx.arg(0)
    heads, groups = ctx.attr_int("num_heads"), ctx.attr_int("kv_num_heads")
    if ctx.has(1):
        parts = [query, ctx.arg(1), ctx.arg(2)]
    else:
        size = query.shape[-1] // (heads + 2 * groups)
        parts = F.split(b, query, [heads * size, groups * size, groups * size], -1)
    q, k, v = (F.split_heads(b, t, n) for t, n in zip(parts, (heads, groups, groups), strict=True))
    if ctx.has(14) and ctx.has(15):
        eps = ctx.attr_float("qk_norm_epsilon", 1e-6)
        q, k = (F.rms_norm(b, t, -1, ctx.arg(i), eps=eps) for t, i in ((q, 14), (k, 15)))
    return q, k, v


def _lengths(ctx: NodeContext, batch: Extent, length: Extent) -> _Lengths:
    b = ctx.builder
    known = F.add(b, F.cast(b, F.reshape(b, ctx.arg(5), (-1,)), i64), 1)
    misfit = f"last places {ctx.arg(5).type} are not one for each of a batch of {batch}"
    require_same(b, known.type.size, batch, misfit)
    if not ctx.has(3):
        return _Lengths(0, known, length)
    past, total = ctx.arg(3).shape[2], _total(ctx)
    if ctx.arg(3).name in ctx.states:  # which holds the earlier tokens and nothing behind them
        misfit = (
            f"the total length {total} is not that of {past} earlier tokens and {length} new ones"
        )
        require_same(b, total, past + length, misfit)
        total = past + length
    first: Extent | Tensor = total - length
    if batch != 1:
        behind = E.maximum(E.sub(E.inp(0), E.extent(length, i64)), E.const(0, i64))
        first = F.pointwise(b, behind, known)
    return _Lengths(first, known, largest(past, total))


def _total(ctx: NodeContext) -> Extent:
    return (ctx.const_ints(6, "total length") or (0,))[0]


def _state(ctx: NodeContext, past: Tensor, new: Tensor, at: _Lengths, output: str | None) -> Tensor:
    """past [B,M,P,H] with the new rows where each batch has them."""
    b = ctx.builder
    if at.first == past.shape[2]:
        return F.concat(b, [past, new], 2, output=output)
    first = at.first
    if not isinstance(first, Tensor):
        first = b.extents([first], b.local("first"))
    return F.append_rows(b, past, new, first, at.total, output=output)


def _seen(ctx: NodeContext, at: _Lengths) -> F.Seen:
    """Keys that a query sees: those of its batch's tokens, where attention is causal up to its own."""
    if not ctx.attr_int("causal", 1):
        return F.Seen(ends=at.known)
    window = ctx.attr_int("local_window_size", -1)
    return F.Seen(at.first, before=window - 1 if window > 0 else None, behind=0)


def _biases(ctx: NodeContext, at: _Lengths) -> list[Tensor]:
    """The node's bias, as long as the state."""
    if not ctx.has(10):
        return []
    bias = ctx.arg(10)
    missing = at.total - bias.shape[3]
    return [F.pad(ctx.builder, bias, [(0, 0)] * 3 + [(0, missing)]) if missing != 0 else bias]


def _sinks(ctx: NodeContext, heads: Extent) -> Tensor | None:
    """A further score of each head: given, or 0 where softmax is smooth."""
    if ctx.has(11):
        return ctx.arg(11)
    if ctx.attr_int("smooth_softmax", -1) == 1 and isinstance(heads, int):
        return F.full(ctx.builder, (heads,), np.zeros((), np.float32))
    return None


HANDLERS: Mapping[str, Handler] = {
    "GroupQueryAttention": group_query_attention,
    "RotaryEmbedding": rotary_embedding,
}
