"""Attention: softmax of scores times values, the scores never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.op import Attribute, OpDef, Types
from camshaft.ir.types import Shape, TensorType, bf16, broadcast_shapes, dtype_of, f32
from camshaft.ops.common import EPILOGUE, IDENTITY, accumulator, apply_epilogue, epilogue_type

Attrs = Mapping[str, Any]


PRODUCTS = ("f32", "bf16", "i8")
"""What the attribute "products" may be; the first one stands for the type that q, k and v have."""


def score_shape(query: Shape, key: Shape) -> Shape:
    """[..., S, T] of queries [..., S, H] and keys [..., T, H]."""
    return (*broadcast_shapes(query[:-2], key[:-2]), query[-2], key[-2])


def _attention_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    q, k, v = types[:3]
    count = 3 + attrs["operands"]
    misfit = f"queries {q}, keys {k} and values {v} do not belong together"
    if min(q.rank, k.rank, v.rank) < 2 or len(types) < count:
        raise ModelError(misfit)
    require_equal(q.shape[-1], k.shape[-1], misfit)
    require_equal(k.shape[-2], v.shape[-2], misfit)
    lead = broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    dtype = accumulator(accumulator(q.dtype.accumulator, k.dtype.accumulator), v.dtype.accumulator)
    if attrs["products"] not in (PRODUCTS if dtype == f32 else PRODUCTS[:1]):
        raise ModelError(f"products of {attrs['products']!r} do not exist for {q}, {k} and {v}")
    scores = TensorType(dtype, (*lead, q.shape[-2], k.shape[-2]))
    score = epilogue_type(scores, types[3:count], {"epilogue": attrs["score"]})
    if score.dtype != dtype:
        raise ModelError(f"scores of {dtype} cannot become {score.dtype}")
    result = TensorType(dtype, (*lead, q.shape[-2], v.shape[-1]))
    return [epilogue_type(result, types[count:], attrs)]


def _attention_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    heads = _Heads(arrays, attrs)
    q, v = arrays[0], arrays[2]
    y = np.empty((*heads.lead, q.shape[-2], v.shape[-1]), dtype_of(q).accumulator.numpy)
    for at in np.ndindex(*heads.lead):  # one matrix of scores at a time
        powers = heads.powers(at)
        with np.errstate(invalid="ignore"):  # infinite scores; a row without scores
            total = powers.sum(axis=-1, keepdims=True)
            shares = powers / total
        if attrs["hidden"] == "zero":
            shares = np.where(total == 0, 0.0, shares)
        y[at] = np.matmul(shares, heads.values[at].astype(np.float64))
    return [apply_epilogue(y, arrays[3 + attrs["operands"] :], attrs)]


class _Heads:
    """The operands of attention, head by head.  lead: axes of heads.  values: v, as it is multiplied."""

    def __init__(self, arrays: Sequence[np.ndarray], attrs: Attrs) -> None:
        self.attrs = attrs
        q, k, v = arrays[:3]
        self.lead = np.broadcast_shapes(*(a.shape[:-2] for a in (q, k, v)))
        scores = (*self.lead, q.shape[-2], k.shape[-2])
        self._operands = [np.broadcast_to(a, scores) for a in arrays[3 : 3 + attrs["operands"]]]
        dtype = dtype_of(q).accumulator.numpy
        if attrs["products"] == "bf16":
            q, k, v = (a.astype(bf16.numpy) for a in (q, k, v))
        q, k, v = (a.astype(dtype, copy=False) for a in (q, k, v))
        if attrs["products"] == "i8":
            q, k = (_through_bytes(a) for a in (q, k))
        self._q, self._k, self.values = (
            np.broadcast_to(a, (*self.lead, *a.shape[-2:])) for a in (q, k, v)
        )
        self._dtype = dtype

    def powers(self, at: tuple[int, ...]) -> np.ndarray:
        """Exponentials [S, T] of scores less the largest of their row, in f64."""
        attrs = self.attrs
        s = np.matmul(self._q[at], self._k[at].T).astype(self._dtype, copy=False)
        if attrs["score"] != IDENTITY:
            operands = [a[at] for a in self._operands]
            s = np.broadcast_to(E.evaluate(attrs["score"], [s, *operands]), s.shape)
        if attrs["causal"]:
            seen = visible(s.shape[0], s.shape[1], attrs["first"], attrs["window"])
            s = np.where(seen, s, -np.inf)
        wide = s.astype(np.float64)
        top = wide.max(axis=-1, keepdims=True, initial=-dtype_of(s).largest)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp(wide - top))


def visible(queries: int, keys: int, first: int, window: int) -> np.ndarray:
    """Bools [queries, keys]: whether causal attention lets a query see a key."""
    place = first + np.arange(queries)[:, None]
    key = np.arange(keys)
    seen = key <= place
    return seen & (key > place - window) if window else seen


LEVELS = 127
"""The largest level of rows that are rounded to bytes."""
SMALLEST = 1e-30
"""The least magnitude that a row is scaled by."""


def row_levels(x: np.ndarray, levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of f32 as integers from -levels to levels, and their scales [..., 1]: as kernels compute them, to the
    bit."""
    largest = np.abs(x).max(axis=-1, keepdims=True, initial=np.float32(SMALLEST))
    scale = largest * np.float32(1 / levels)
    with np.errstate(invalid="ignore"):  # rows with an infinity or NaN
        return np.rint(x * (np.float32(1) / scale)), scale


def _through_bytes(x: np.ndarray) -> np.ndarray:
    levels, scale = row_levels(x)
    with np.errstate(invalid="ignore"):
        return np.asarray(levels.astype(np.float64) * scale)


def _inner_rounding(arrays: Sequence[np.ndarray], attrs: Attrs) -> Sequence[np.ndarray] | None:
    """How far results are off by what powers and values are rounded to."""
    if attrs["products"] == "f32":
        return None
    if "longest" in attrs:  # whose products are of bf16
        own = 4 + attrs["operands"]
        plain = {**attrs, "epilogue": IDENTITY}
        q, k, v = arrays[:3]
        (most,) = _ragged_reference([q, k, np.abs(v), *arrays[3:own]], plain)
        return [np.nan_to_num(2.02 * 2.0**-8 * most, nan=0.0, posinf=0.0)]
    heads = _Heads(arrays, attrs)
    slack = np.empty((*heads.lead, arrays[0].shape[-2], arrays[2].shape[-1]))
    for at in np.ndindex(*heads.lead):
        powers, v = heads.powers(at), heads.values[at].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            slack[at] = (_of_pairs if attrs["products"] == "bf16" else _of_bytes)(powers, v)
    return [np.nan_to_num(slack, nan=0.0, posinf=0.0)]


def _of_pairs(p: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Powers are p (1 + e) with |e| <= 2^-8, in the sums of p v and in that of p which divides them."""
    return np.asarray(2.02 * 2.0**-8 * (p @ np.abs(v)) / p.sum(axis=-1, keepdims=True))


def _of_bytes(p: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Powers that are not 0 are off by half of a 4095th, values by half of a level, of which there are 1023.

    Bounds of sums of independent roundings, which nine of their standard deviations (Hoeffding 1963) are: the
    worst case of thousands of keys would allow everything.  The largest power is exact, so that the sum is 1 or more.
    """
    half = 0.5 / 4095
    seen = (p > 0).astype(np.float64)
    total = p.sum(axis=-1, keepdims=True)
    least = np.maximum(total - 9 * half * np.sqrt(seen.sum(axis=-1, keepdims=True)), 1)
    y = p @ v / total
    spread = np.maximum(
        seen @ v**2 - 2 * y * (seen @ v) + y**2 * seen.sum(axis=-1, keepdims=True), 0
    )
    levels = np.abs(v).max(axis=0) / 1023 / 2
    alike = np.minimum(9 * np.sqrt((p**2).sum(axis=-1, keepdims=True)), total) / total
    return np.asarray(9 * half * np.sqrt(spread) / least + 1.02 * levels * alike)


def _attention_macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    q, k, v = types[:3]
    return prod(output.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


ATTENTION = OpDef(
    "attention",
    "softmax(score(q k^T)) v of queries q [..., S, H], keys k [..., T, H] and values v [..., T, G]; leading "
    "axes broadcast, so that several heads may share keys and values.  Behind v come the operands of "
    "`score`, which broadcast to [..., S, T], then those of the epilogue.  Half floats are summed in f32.",
    _attention_infer,
    _attention_reference,
    {
        "score": Attribute(
            "scalar expression of a product of a query and a key (i0) and of the operands (i1, ...)",
            IDENTITY,
        ),
        "operands": Attribute("how many operands `score` has", 0),
        "causal": Attribute("whether keys behind the place of a query are hidden", False),
        "first": Attribute("causal: the place of the first query among the keys", 0),
        "window": Attribute("causal: how many last keys a query sees; 0: all", 0),
        "hidden": Attribute(
            'what a query that sees no key (whose scores are all minus infinity) gives: "nan" or "zero"',
            "nan",
        ),
        "products": Attribute(
            'of what the two products are: "f32" (nothing is rounded); "bf16": q, k and v, and the exponentials '
            'before they meet v; "i8": rows of q and k become bytes, exponentials and channels of v integers of '
            "13 and 11 bits",
            "f32",
        ),
        "epilogue": EPILOGUE,
    },
    "contraction",
    anchors=3,
    more_anchors="operands",
    smooths=True,
    macs=_attention_macs,
    inner_rounding=_inner_rounding,
)


def _ragged_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    if len(types) < 4 or types[3].rank != 1 or not types[3].dtype.is_int:
        raise ModelError(
            "ragged attention wants the rows at which segments begin, integers [B + 1]"
        )
    if attrs["products"] == "i8":
        raise ModelError("ragged attention has products of f32 and of bf16 only")
    rest = (*types[:3], *types[4:])
    require_equal(
        types[0].shape[-2], types[1].shape[-2], f"as many queries {types[0]} as keys {types[1]}"
    )
    return _attention_infer(rest, {**attrs, "first": 0, "window": 0})


def _ragged_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    q, k, v, starts = arrays[:4]
    count = 4 + attrs["operands"]
    rows = q.shape[-2]
    lead = np.broadcast_shapes(*(a.shape[:-2] for a in (q, k, v)))
    y = np.zeros((*lead, rows, v.shape[-1]), dtype_of(q).accumulator.numpy)
    inner = {**attrs, "first": 0, "window": 0, "epilogue": IDENTITY}
    for a, b in pairwise(starts.tolist()):
        if b - a > attrs["longest"]:
            raise ModelError(f"a segment of {b - a} rows, of at most {attrs['longest']}")
        own = [x[..., a:b, :] for x in (q, k, v)]
        operands = [_of_segment(x, rows, slice(a, b)) for x in arrays[4:count]]
        y[..., a:b, :] = _attention_reference([*own, *operands], inner)[0]
    return [apply_epilogue(y, arrays[count:], attrs)]


def _of_segment(operand: np.ndarray, rows: int, segment: slice) -> np.ndarray:
    """An operand of scores [..., rows, rows] at the queries and keys of a segment."""
    for axis in range(-min(2, operand.ndim), 0):
        if operand.shape[axis] == rows:
            index = [slice(None)] * operand.ndim
            index[axis] = segment
            operand = operand[tuple(index)]
    return operand


def _ragged_macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    q, v = types[0], types[2]
    mean = ceil_div(q.shape[-2], types[3].shape[0] - 1)
    return prod(output.shape[:-1]) * mean * (q.shape[-1] + v.shape[-1])


RAGGED_ATTENTION = OpDef(
    "ragged_attention",
    "Attention within segments of rows: q [..., n, H], k [..., n, H] and v [..., n, G], and the rows at which segments "
    "begin, integers [B + 1] that ascend from 0 to n.  A query sees the keys of its segment.  Behind them come the "
    "operands of `score`, which broadcast to [..., n, n], then those of the epilogue.",
    _ragged_infer,
    _ragged_reference,
    {
        **{
            n: ATTENTION.attributes[n]
            for n in ("score", "operands", "hidden", "products", "epilogue")
        },
        "causal": Attribute("whether keys behind a query are hidden", False),
        "longest": Attribute("the most rows of a segment"),
    },
    "contraction",
    anchors=4,
    more_anchors="operands",
    smooths=True,
    macs=_ragged_macs,
    inner_rounding=_inner_rounding,
    integers=lambda types, attrs: {3: (0, types[0].shape[-2])},
    ascending=(3,),
)

ATTENTIONS = OPS = (ATTENTION, RAGGED_ATTENTION)
