"""ONNX Runtime's attention of as many key heads as query heads.

B is the batch, N the number of heads, S the length of queries, L that of new keys, P that of past ones,
T = P + L, H the size of a head.  Layers that project inside, with weights or without, lead here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.microsoft.spelling import Spelling
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F
from camshaft.ops.functional.core import require_same

_FILTER = -10000.0
"""What is added to scores of masked keys where `mask_filter_value` does not say otherwise."""


@dataclass(frozen=True)
class _Heads:
    """Query [B,N,S,H], new keys [B,N,L,H] and values [B,N,L,G]."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class _Extras:
    """What may come with them; None: not given.

    mask: see `_mask`.  bias: broadcasts to the scores.  past: keys [B,N,P,H] and values.
    """

    mask: Tensor | None
    bias: Tensor | None
    past: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class _Made:
    """The output [B,S,N*G], all keys and values, and the scores [B,N,S,T] before softmax where they are
    wanted."""

    output: Tensor
    key: Tensor
    value: Tensor
    scores: Tensor | None


def _attention(ctx: NodeContext, heads: _Heads, extras: _Extras) -> _Made:
    b, key, value = ctx.builder, heads.key, heads.value
    begin: Extent = 0
    if extras.past is not None:
        begin = extras.past[0].shape[2]
        key, value = (
            F.concat(b, [p, n], 2) for p, n in zip(extras.past, (key, value), strict=True)
        )
    batch, _, length, _ = heads.query.shape
    biases = [] if extras.bias is None else [extras.bias]
    if extras.mask is not None:
        sizes = batch, length, begin, key.shape[2]
        found = _mask(ctx, extras.mask, *sizes)
        biases += [] if found is None else [found]
    scoring = F.Scoring(
        scale=ctx.attr_float("scale") or None,
        biases=biases,
        seen=F.Seen(begin, behind=0) if ctx.attr_int("unidirectional") else F.Seen(),
    )
    return _mixed(ctx, heads.query, key, value, scoring)


def _mixed(
    ctx: NodeContext, query: Tensor, key: Tensor, value: Tensor, scoring: F.Scoring
) -> _Made:
    b = ctx.builder
    if not ctx.wants(3):
        y = F.attention(b, query, key, value, scoring)
        return _Made(F.merge_heads(b, y, output=ctx.output), key, value, None)
    scores = F.scores(b, query, key, scoring)[2]
    y = F.weighted(b, F.shares_of(b, scores), value)
    return _Made(F.merge_heads(b, y, output=ctx.output), key, value, scores)


def _mask(
    ctx: NodeContext, mask: Tensor, batch: Extent, length: Extent, begin: Extent, total: Extent
) -> Tensor | None:
    """A mask as a bias of scores [B,N,S,T]; None where it hides all keys of a row, or none.

    By its shape: [B] where keys end, [2B] these and where they start, [3B+2] the former and two lists of
    offsets; [B,T], [B,S,T] or [B,1,M,M] (whose rows count from the first past key) 1 or 0 for each key.
    """
    b, shape = ctx.builder, mask.shape
    value = ctx.attr_float("mask_filter_value", _FILTER)
    misfit = f"mask {mask.type} does not fit a batch of {batch}, {length} queries and {total} keys"
    if len(shape) == 1:
        if shape[0] == 2 * batch:
            ends, starts = (F.narrow(b, mask, 0, i * batch, batch) for i in (0, 1))
            return F.length_bias(b, total, ends, starts, value)
        if shape[0] == 3 * batch + 2:
            mask = F.narrow(b, mask, 0, 0, batch)
        require_same(b, mask.shape[0], batch, misfit)
        return F.length_bias(b, total, mask, value=value)
    if len(shape) == 2 and shape[1] == 1 and total != 1:
        return None
    if len(shape) == 4:
        mask = F.slice(b, mask, [begin, 0], [begin + length, total], [2, 3])
    wanted = {2: (batch, total), 3: (batch, length, total), 4: (batch, 1, length, total)}
    if len(shape) not in wanted:
        raise ModelError(misfit)
    for given, extent in zip(mask.shape, wanted[len(shape)], strict=True):
        require_same(b, given, extent, misfit)
    axes = {2: (1, 2), 3: (1,), 4: ()}[len(shape)]
    return F.mask_bias(b, F.unsqueeze(b, mask, axes) if axes else mask, value)


def _optional(ctx: NodeContext, index: int) -> Tensor | None:
    return ctx.arg(index) if ctx.has(index) else None


def _refuse(ctx: NodeContext, attributes: Sequence[str], inputs: Mapping[int, str]) -> None:
    """ModelError for attributes that are set and inputs that are given."""
    wrong = [f"attribute {a!r}" for a in attributes if ctx.attr_int(a)]
    wrong += [f"input {name!r}" for i, name in inputs.items() if ctx.has(i)]
    if wrong:
        raise ModelError(
            f"{' and '.join(wrong)} cannot be read: buffers that inputs and outputs share and rotary "
            "positions inside of this operator; export the model for the CPU provider"
        )


# --- Attention ------------------------------------------------------------------------------


def attention(ctx: NodeContext) -> Results:
    """Attention(x, weights, bias, mask, past, attention bias): x times weights gives q, k and v."""
    b = ctx.builder
    _refuse(ctx, ["do_rotary", "past_present_share_buffer"], {6: "past_sequence_length"})
    projected = F.matmul(b, ctx.arg(0), ctx.arg(1))
    if ctx.has(2):
        projected = F.add(b, projected, ctx.arg(2))
    return _projected(ctx, projected, _optional(ctx, 3), _optional(ctx, 4), _optional(ctx, 5))


def quantized_attention(ctx: NodeContext) -> Results:
    """QAttention(x, weights, bias, x scale, weights scale, mask, x zero point, weights zero point,
    past): Attention whose projection is a product of 8-bit integers."""
    _refuse(ctx, ["do_rotary", "past_present_share_buffer"], {})
    s = Spelling(ctx)
    sums = s.node("MatMulInteger", [s.name(i) for i in (0, 1, 6, 7)], "sums")
    scale = F.mul(ctx.builder, ctx.arg(3), ctx.arg(4))
    real = s.node("Cast", [sums], "real", to=1)
    scaled = s.node("Mul", [real, s.bind("scale", scale)], "scaled")
    projected = s.imported(s.node("Add", [scaled, s.name(2)], "projected"), named=False)
    return _projected(ctx, projected, _optional(ctx, 5), _optional(ctx, 8), None)


def _projected(
    ctx: NodeContext,
    projected: Tensor,
    mask: Tensor | None,
    past: Tensor | None,
    bias: Tensor | None,
) -> Results:
    """Attention of q, k and v that lie beside each other: [B,S,D+D+E].  past: [2,B,N,P,H]."""
    b, heads = ctx.builder, ctx.attr_int("num_heads")
    sizes: Sequence[Extent] = ctx.attr_ints("qkv_hidden_sizes") or [projected.shape[-1] // 3] * 3
    parts = [F.split_heads(b, t, heads) for t in F.split(b, projected, sizes, -1)]
    state = None if past is None else (F.select(b, past, 0, 0), F.select(b, past, 0, 1))
    made = _attention(ctx, _Heads(*parts), _Extras(mask, bias, state))
    if not ctx.wants(1):
        return made.output
    return made.output, F.stack(b, [made.key, made.value], 0, output=ctx.output_name(1))


# --- MultiHeadAttention ---------------------------------------------------------------------


def multi_head_attention(ctx: NodeContext) -> Results:
    """MultiHeadAttention(query, key, value, bias, mask, attention bias, past key, past value)."""
    _refuse(ctx, [], {8: "past_sequence_length", 9: "cache_indirection"})
    extras = _Extras(_optional(ctx, 4), _optional(ctx, 5), _past(ctx, 6))
    heads = _heads(ctx, ctx.arg(0), _optional(ctx, 1), _optional(ctx, 2), _optional(ctx, 3))
    return _separate(ctx, _attention(ctx, heads, extras))


def decoder_masked_attention(ctx: NodeContext) -> Results:
    """DecoderMaskedMultiHeadAttention(query, key, value, mask, attention bias, past key, past value,
    past length, beam width, cache indirection, bias): MultiHeadAttention of one new token.

    With past_present_share_buffer the states are M long, of which the first `past length` places count;
    the new token's follow them.
    """
    _refuse(ctx, ["output_qk"], {9: "cache_indirection"})
    query, bias = ctx.arg(0), _optional(ctx, 10)
    key, value = _optional(ctx, 1), _optional(ctx, 2)
    if key is None and query.type.rank == 3:
        query, key, value = F.split(ctx.builder, query, [query.shape[-1] // 3] * 3, -1)
    heads = _heads(ctx, query, key, value, bias)
    if ctx.has(5) and ctx.attr_int("past_present_share_buffer"):
        return _separate(ctx, _buffered(ctx, heads, (ctx.arg(5), ctx.arg(6)), ctx.arg(7)))
    extras = _Extras(_optional(ctx, 3), _optional(ctx, 4), _past(ctx, 5))
    return _separate(ctx, _attention(ctx, heads, extras))


def _buffered(
    ctx: NodeContext, heads: _Heads, past: tuple[Tensor, Tensor], length: Tensor
) -> _Made:
    """Attention of one token over states of M places [B,N,M,H], of which `length` are taken."""
    b, total = ctx.builder, past[0].shape[2]
    first = F.reshape(b, length, (1,))
    place = F.arange(b, 0, total, dtype=length.type.dtype)
    here = F.reshape(b, F.eq(b, place, first), (total, 1))
    names = [ctx.output_name(i) if ctx.wants(i) else None for i in (1, 2)]
    key, value = (
        F.where(b, here, new, old, output=name)
        for new, old, name in zip((heads.key, heads.value), past, names, strict=True)
    )
    biases = []
    if ctx.has(3):
        mask = F.mask_bias(b, ctx.arg(3), ctx.attr_float("mask_filter_value", _FILTER))
        biases.append(F.unsqueeze(b, mask, (1, 2)))
    if ctx.has(4):
        biases.append(ctx.arg(4))
    full = [
        F.pad(b, t, [(0, 0), (0, 0), (0, 0), (0, total - t.shape[3])]) for t in biases
    ]  # of places that are not taken nothing counts
    scale = ctx.attr_float("scale") or None
    scoring = F.Scoring(scale=scale, biases=full, seen=F.Seen(first, behind=0))
    return _mixed(ctx, heads.query, key, value, scoring)


def _past(ctx: NodeContext, index: int) -> tuple[Tensor, Tensor] | None:
    return (ctx.arg(index), ctx.arg(index + 1)) if ctx.has(index) else None


def _separate(ctx: NodeContext, made: _Made) -> list[Tensor]:
    """The outputs of operators that give keys and values apart."""
    found = [made.output, made.key, made.value, made.scores]
    return [t for t in found if t is not None][: len(ctx.proto.output)]


def _heads(
    ctx: NodeContext, query: Tensor, key: Tensor | None, value: Tensor | None, bias: Tensor | None
) -> _Heads:
    """Heads of query [B,S,D] with key [B,L,D] and value [B,L,E], with both as they are, [B,N,L,H], or
    with both packed in key [B,L,N,2,H]; of query, key and value packed in query [B,L,N,3,H].

    bias: [D+D+E], of what is not yet heads.
    """
    b, heads = ctx.builder, ctx.attr_int("num_heads")
    tensors = [query, key, value]
    if key is None and query.type.rank == 5:
        tensors = [_flat(ctx, query, i) for i in range(3)]
    elif key is not None and key.type.rank == 5:
        tensors[1:] = [_flat(ctx, key, i) for i in range(2)]
    if any(t is None for t in tensors):
        raise ModelError(f"takes a query {query.type} with a key and a value, or packed with them")
    given = [t for t in tensors if t is not None]
    if bias is not None:
        if any(t.type.rank != 3 for t in given):
            raise ModelError("a bias goes with keys and values [batch, length, width] only")
        parts = F.split(b, bias, [t.shape[-1] for t in given], 0)
        given = [F.add(b, t, part) for t, part in zip(given, parts, strict=True)]
    return _Heads(*(t if t.type.rank == 4 else F.split_heads(b, t, heads) for t in given))


def _flat(ctx: NodeContext, packed: Tensor, index: int) -> Tensor:
    """[B,L,N*H] of [B,L,N,count,H] at `index` of the count."""
    part = F.select(ctx.builder, packed, 3, index)
    return F.flatten(ctx.builder, part, 2, 3)


HANDLERS: Mapping[str, Handler] = {
    "Attention": attention,
    "DecoderMaskedMultiHeadAttention": decoder_masked_attention,
    "MultiHeadAttention": multi_head_attention,
    "QAttention": quantized_attention,
}
