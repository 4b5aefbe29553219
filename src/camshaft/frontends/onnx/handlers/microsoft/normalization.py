"""Normalizations of ONNX Runtime: with a summand before them, channels-last, or in the domain of ONNX."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.ir.graph import Tensor
from camshaft.ir.types import i32
from camshaft.ops import functional as F

_SKIP_EPSILON = 1e-12
"""The default of operators that add before they normalize."""


def _optional(ctx: NodeContext, index: int) -> Tensor | None:
    return ctx.arg(index) if ctx.has(index) else None


def _placed(ctx: NodeContext, made: Mapping[int, Tensor]) -> list[Tensor]:
    """The outputs by their positions; ModelError for one that is wanted and not made."""
    for i in range(len(ctx.proto.output)):
        if ctx.wants(i) and i not in made:
            raise ModelError(f"its output number {i} is for training; cut the model before it")
    return [made.get(i, made[0]) for i in range(len(ctx.proto.output))]


def simplified_layer_normalization(ctx: NodeContext) -> Results:
    """SimplifiedLayerNormalization(x, scale): x over its root mean square."""
    axis, eps = ctx.attr_int("axis", -1), ctx.attr_float("epsilon", 1e-5)
    y = F.rms_norm(ctx.builder, ctx.arg(0), axis, ctx.arg(1), eps=eps, output=ctx.output)
    return _placed(ctx, {0: y})


def skip_layer_normalization(ctx: NodeContext) -> Results:
    """SkipLayerNormalization(x, skip, gamma, beta, bias); output 3 is the sum that is normalized."""
    b, eps = ctx.builder, ctx.attr_float("epsilon", _SKIP_EPSILON)
    total = _sum(ctx, 4)
    y = F.layer_norm(b, total, -1, ctx.arg(2), _optional(ctx, 3), eps=eps, output=ctx.output)
    return _placed(ctx, {0: y, 3: total})


def skip_simplified_layer_normalization(ctx: NodeContext) -> Results:
    """SkipSimplifiedLayerNormalization(x, skip, gamma, bias); output 3 as above."""
    total, eps = _sum(ctx, 3), ctx.attr_float("epsilon", _SKIP_EPSILON)
    y = F.rms_norm(ctx.builder, total, -1, ctx.arg(2), eps=eps, output=ctx.output)
    return _placed(ctx, {0: y, 3: total})


def _sum(ctx: NodeContext, bias: int) -> Tensor:
    """x + skip + bias, where that is given."""
    operands = [ctx.arg(0), ctx.arg(1), *([ctx.arg(bias)] if ctx.has(bias) else [])]
    return F.add(ctx.builder, *operands, output=ctx.output_name(3) if ctx.wants(3) else None)


def group_norm(ctx: NodeContext) -> Results:
    """GroupNorm(x, gamma, beta) and SkipGroupNorm(x, gamma, beta, skip, bias), whose output 1 is the
    sum that is normalized.  Images are channels-last, unless it says otherwise."""
    b, x = ctx.builder, ctx.arg(0)
    last = bool(ctx.attr_int("channels_last", 1))
    if ctx.has(3):
        x = F.add(b, x, *_summands(ctx, last=last))
    rank = x.type.rank
    first = F.transpose(b, x, (0, rank - 1, *range(1, rank - 1))) if last else x
    y = F.group_norm(
        b,
        first,
        ctx.attr_int("groups"),
        ctx.arg(1),
        ctx.arg(2),
        eps=ctx.attr_float("epsilon", 1e-5),
    )
    if ctx.attr_int("activation"):
        y = F.silu(b, y)
    if last:
        y = F.transpose(b, y, (0, *range(2, rank), 1), output=ctx.output)
    return _placed(ctx, {0: y, 1: x})


def _summands(ctx: NodeContext, *, last: bool) -> list[Tensor]:
    """skip, [N,C] or as x, and bias [C], so that they broadcast to x."""
    b, x, skip = ctx.builder, ctx.arg(0), ctx.arg(3)
    behind = [1] * (x.type.rank - 2)
    if skip.type.rank == 2:
        n, c = skip.shape
        skip = F.reshape(b, skip, (n, *behind, c) if last else (n, c, *behind))
    if not ctx.has(4):
        return [skip]
    bias = ctx.arg(4)
    return [skip, bias if last else F.reshape(b, bias, (bias.type.size, *behind))]


# --- embeddings -----------------------------------------------------------------------------


def embed_layer_normalization(ctx: NodeContext) -> Results:
    """EmbedLayerNormalization(ids, segments, words, positions, segment table, gamma, beta, mask,
    position ids); outputs: y, how many words the mask has, the sum of embeddings."""
    tables = [_optional(ctx, i) for i in (2, 3, 4)]
    return _embedded(ctx, tables, ctx.arg(5), ctx.arg(6), _optional(ctx, 8))


def quantized_embed_layer_normalization(ctx: NodeContext) -> Results:
    """QEmbedLayerNormalization: tables, gamma and beta are 8-bit integers, whose scales are inputs 8 to
    12 and whose zero points are inputs 13 to 17."""
    b = ctx.builder
    tables = [
        F.dequantize(b, ctx.arg(2 + i), ctx.arg(8 + i), ctx.arg(13 + i)) if ctx.has(2 + i) else None
        for i in range(5)
    ]
    gamma, beta = tables[3:]
    if gamma is None or beta is None:
        raise ModelError("gamma and beta are missing")
    return _embedded(ctx, tables[:3], gamma, beta, None)


def _embedded(
    ctx: NodeContext,
    tables: list[Tensor | None],
    gamma: Tensor,
    beta: Tensor,
    positions: Tensor | None,
) -> Results:
    """tables: of words, positions and segments (None: none).  positions: [B,S] or [1,S], None: 0 to S-1."""
    b, ids, eps = ctx.builder, ctx.arg(0), ctx.attr_float("epsilon", _SKIP_EPSILON)
    words, places, segments = tables
    if words is None or places is None or ids.type.rank != 2:
        raise ModelError(
            f"takes ids [batch, length], not {ids.type}, and tables of words and places"
        )
    if positions is None:
        place = F.narrow(b, places, 0, 0, ids.shape[1])
    else:
        place = F.take(b, places, positions, 0)
    parts = [F.take(b, words, ids, 0), place]
    if segments is not None and ctx.has(1):
        parts.append(F.take(b, segments, ctx.arg(1), 0))
    total = F.add(b, *parts, output=ctx.output_name(2) if ctx.wants(2) else None)
    made = {0: F.layer_norm(b, total, -1, gamma, beta, eps=eps, output=ctx.output), 2: total}
    if ctx.wants(1):
        name = ctx.output_name(1)
        if ctx.has(7):
            ones = F.cast(b, F.eq(b, ctx.arg(7), 1), i32)
            made[1] = F.sum(b, ones, 1, output=name)
        else:
            made[1] = F.full(b, ids.shape[:1], 0, i32, output=name)
    return _placed(ctx, made)


HANDLERS: Mapping[str, Handler] = {
    "EmbedLayerNormalization": embed_layer_normalization,
    "GroupNorm": group_norm,
    "QEmbedLayerNormalization": quantized_embed_layer_normalization,
    "SkipGroupNorm": group_norm,
    "SkipLayerNormalization": skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": skip_simplified_layer_normalization,
}
