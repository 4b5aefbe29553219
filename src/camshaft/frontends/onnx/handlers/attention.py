"""ONNX's own Attention (opset 23 on).

B is the batch, N the number of heads, M that of key heads, S the length of queries, P that of past keys, T
that of all keys, H the size of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F
from camshaft.ops.functional.core import require_same

Heads = tuple[Tensor, Tensor, Tensor]


def attention(ctx: NodeContext) -> Sequence[Tensor]:
    """Attention(Q, K, V, mask, past key, past value, lengths): Y, present key, present value, scores."""
    b = ctx.builder
    query, key, value = _heads(ctx)
    begin: Extent | Tensor = 0
    if ctx.has(4) != ctx.has(5):
        raise ModelError("past_key and past_value are given together or not at all")
    if ctx.has(4):
        begin = ctx.arg(4).shape[2]
        names = [ctx.output_name(i) if ctx.wants(i) else None for i in (1, 2)]
        key, value = (
            F.concat(b, [ctx.arg(i), new], 2, output=name)
            for i, new, name in zip((4, 5), (key, value), names, strict=True)
        )
    lengths = ctx.arg(6) if ctx.has(6) else None
    if lengths is not None:
        begin = F.sub(b, lengths, b.extents([query.shape[2]], b.local("queries")))
    scoring = F.Scoring(
        scale=ctx.attr_float("scale") or None,
        softcap=ctx.attr_float("softcap"),
        biases=_mask(ctx, query.shape, key.shape[2]),
        seen=_seen(ctx, begin, lengths),
    )
    if ctx.wants(3):
        return _with_scores(ctx, (query, key, value), scoring)
    flat = ctx.arg(0).type.rank == 3
    y = F.attention(b, query, key, value, scoring, output=None if flat else ctx.output)
    return _results(ctx, y, key, value)


def _heads(ctx: NodeContext) -> Heads:
    """Q, K and V as [B,N,S,H]."""
    counts = (ctx.attr_int("q_num_heads"), *[ctx.attr_int("kv_num_heads")] * 2)
    made = []
    for i, heads in enumerate(counts):
        t = ctx.arg(i)
        if t.type.rank == 3 and not heads:
            raise ModelError(f"q_num_heads and kv_num_heads are needed for an input {t.type}")
        made.append(F.split_heads(ctx.builder, t, heads) if t.type.rank == 3 else t)
        if made[-1].type.rank != 4:
            raise ModelError(f"input {t.type} is neither [B,S,N*H] nor [B,N,S,H]")
    query, key, value = made
    return query, key, value


def _seen(ctx: NodeContext, begin: Extent | Tensor, lengths: Tensor | None) -> F.Seen:
    left, right = (ctx.attr_int(f"{side}_window_size", -1) for side in ("left", "right"))
    behind = right if right >= 0 else None
    if ctx.attr_int("is_causal"):
        behind = 0
    return F.Seen(begin, left if left >= 0 else None, behind, lengths)


def _mask(ctx: NodeContext, query: Sequence[Extent], total: Extent) -> list[Tensor]:
    """The mask, as long as the keys; those behind its end do not count."""
    if not ctx.has(3):
        return []
    b, mask = ctx.builder, ctx.arg(3)
    if not 1 <= mask.type.rank <= 4:
        raise ModelError(f"mask {mask.type} does not broadcast to [B,N,S,T]")
    last = mask.shape[-1]
    if last not in (1, total) or (last == 1 and total != 1):
        behind = [(0, 0)] * (mask.type.rank - 1) + [(0, total - last)]
        hidden = 0 if mask.type.dtype.kind == "b" else float("-inf")
        mask = F.pad(b, mask, behind, value=hidden)
    misfit = f"mask {ctx.arg(3).type} does not broadcast to scores of queries {list(query)}"
    for have, want in zip(mask.shape[-2::-1], (query[2], query[1], query[0]), strict=False):
        if have != 1:
            require_same(b, have, want, misfit)
    return [mask]


def _with_scores(ctx: NodeContext, heads: Heads, scoring: F.Scoring) -> Sequence[Tensor]:
    """As `qk_matmul_output_mode` says: products, with soft cap, with masks, or shares."""
    b, (query, key, value) = ctx.builder, heads
    found = F.scores(b, query, key, scoring)
    shares = F.shares_of(b, found[2])
    shown = (*found, shares)[ctx.attr_int("qk_matmul_output_mode")]
    y = F.weighted(b, shares, value)
    return [*_results(ctx, y, key, value, every=True), shown]


def _results(
    ctx: NodeContext, y: Tensor, key: Tensor, value: Tensor, *, every: bool = False
) -> list[Tensor]:
    if ctx.arg(0).type.rank == 3:
        y = F.merge_heads(ctx.builder, y, output=ctx.output)
    count = 3 if every else min(3, len(ctx.proto.output))
    return [y, key, value][:count]


HANDLERS: Mapping[str, Handler] = {"Attention": attention}
