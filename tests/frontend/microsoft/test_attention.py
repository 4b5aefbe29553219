"""Attention as ONNX Runtime writes it: masks of every form, states, packed operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir.interpret import interpret
from foreign_models import Fixed, check_foreign, foreign, runtime_results
from onnx_models import compare, imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(12)
B, S, P, N, H = 2, 5, 3, 2, 4
D = N * H


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def ones(*shape: int) -> np.ndarray:
    """A mask of 0 and 1 that leaves every row a key."""
    mask = RNG.integers(0, 2, shape).astype(np.int32)
    mask[..., 0] = 1
    return mask


def mask_of(form: str, past: int) -> tuple[np.ndarray | None, str]:
    """A mask, and its declared extents; "p": past keys, which open extents keep fixed."""
    total = S + past
    return {
        "none": (None, ""),
        "end": (ints(3, total), "b"),
        "end, start": (ints(total - 1, total, 1, 2), "2*b"),
        "key lengths": (ints(4, total, 0, S, 2 * S, 0, total, 2 * total), ""),
        "keys": (ones(B, total), "b t"),
        "one": (np.ones((B, 1), np.int32), ""),
        "queries, keys": (ones(B, S, total), "b s t"),
    }[form]


MASKS = ["none", "end", "end, start", "keys", "one", "queries, keys"]


@pytest.mark.parametrize("past", [0, P])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("form", MASKS)
def test_attention(form: str, causal: int, past: int) -> None:
    mask, _ = mask_of(form, past)
    operands = [f(B, S, 6), f(6, 3 * D), f(3 * D), mask, f(2, B, N, P, H) if past else None]
    while operands[-1] is None:
        operands.pop()
    dims = {0: "b s 6"}
    if form == "keys":
        dims[3] = "b t"
    if form == "queries, keys":
        dims[3] = "b s t"
    if form == "end":
        dims[3] = "b"
    if past:
        dims[4] = f"2 b {N} p {H}"
    if form in ("end, start", "one"):
        dims = {0: f"{B} s 6"}
    attrs = {"num_heads": N, "unidirectional": causal}
    check_foreign("Attention", operands, outputs=("y0", "y1"), dims=dims, **attrs)


def test_attention_with_other_attributes() -> None:
    x, w, b = f(B, S, 6), f(6, 2 * D + 6), f(2 * D + 6)
    mask, bias = ones(B, S), f(B, N, S, S)
    attrs: dict[str, Any] = {"num_heads": N, "qkv_hidden_sizes": [D, D, 6]}
    dims = {0: "b s 6", 3: "b s", 5: f"b {N} s s"}
    for more in ({}, {"scale": 0.3}, {"mask_filter_value": -1.5}, {"unidirectional": 1}):
        operands = [x, w, b, mask, None, bias]
        check_foreign("Attention", operands, dims=dims, **attrs, **more)
    check_foreign("Attention", [x, w, b, mask, None, f(1, 1, S, S)], **attrs)
    zeros = np.zeros_like(b)  # without a bias ONNX Runtime crashes
    want = runtime_results(*foreign("Attention", [x, w, zeros], **attrs))
    check_foreign("Attention", [x, w], want=want, **attrs)


def test_a_mask_of_the_largest_length() -> None:
    """[B,1,M,M]: rows from the first new query on, columns of all keys.  (No ONNX Runtime runs it on CPUs.)"""
    x, w, b = f(B, S, 6), f(6, 3 * D), f(3 * D)
    past, mask = f(2, B, N, P, H), ones(B, 1, 10, 10)
    same = np.ascontiguousarray(mask[:, 0, P : P + S, : P + S])
    more: dict[str, Any] = {"num_heads": N, "outputs": ("y0", "y1")}
    want = runtime_results(*foreign("Attention", [x, w, b, same, past], **more))
    check_foreign("Attention", [x, w, b, mask, past], want=want, **more)


def test_what_attention_cannot_do_is_refused() -> None:
    x, w, b = f(B, S, 6), f(6, 3 * D), f(3 * D)
    for attrs in ({"do_rotary": 1}, {"past_present_share_buffer": 1}):
        with pytest.raises(ModelError, match=rf"node 'node' .*{next(iter(attrs))}"):
            imported(foreign("Attention", [x, w, b], num_heads=N, **attrs)[0])
    with pytest.raises(ModelError, match=r"mask .* does not fit"):
        imported(foreign("Attention", [x, w, b, ones(B, S + 1)], num_heads=N)[0])
    with pytest.raises(ModelError, match="does not divide into 5 heads"):
        imported(foreign("Attention", [x, w, b], num_heads=5)[0])


@pytest.mark.parametrize("weights", [np.uint8, np.int8])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("past", [0, P])
def test_quantized_attention(past: int, by_column: bool, weights: Any) -> None:
    """u8 inputs with small weights, of which ONNX Runtime sums exact products everywhere."""
    shape = (3 * D,) if by_column else ()
    low = 96 if weights is np.uint8 else -32
    w = RNG.integers(low, low + 64, (6, 3 * D)).astype(weights)
    zero = np.full(shape, low + 32, weights)
    operands = [
        RNG.integers(0, 256, (B, S, 6)).astype(np.uint8),
        Fixed(w),
        f(3 * D),
        np.array(0.02, np.float32),
        Fixed(np.asarray(np.abs(f(*shape)) * 0.02 + 0.01, np.float32)),
        ones(B, S + past),
        Fixed(np.array(120, np.uint8)),
        Fixed(zero),
        f(2, B, N, P, H) if past else None,
    ]
    dims = {0: "b s 6", 5: "b t", **({8: f"2 b {N} p {H}"} if past else {})}
    attrs = {"num_heads": N, "unidirectional": 1}
    check_foreign("QAttention", operands, outputs=("y0", "y1"), dims=dims, **attrs)
    check_foreign("QAttention", operands[:5], num_heads=N)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("form", ["none", "end", "keys", "queries, keys", "key lengths"])
@pytest.mark.parametrize("past", [0, P])
def test_multi_head_attention(past: int, form: str, bias: bool) -> None:
    mask, _ = mask_of(form, past)
    operands = [
        f(B, S, D),
        f(B, S, D),
        f(B, S, D),
        f(3 * D) if bias else None,
        mask,
        f(1, 1, S, S + past) if form == "none" else None,
        f(B, N, past, H) if past else None,
        f(B, N, past, H) if past else None,
    ]
    names = ("y0", "y1", "y2")
    rows = dict.fromkeys(range(3), f"b s {D}")
    masks = {"end": {4: "b"}, "keys": {4: "b t"}, "queries, keys": {4: "b s t"}}.get(form, {})
    states = dict.fromkeys((6, 7), f"b {N} p {H}") if past else {}
    scores = {5: "1 1 s t"} if form == "none" else {}
    dims = {**rows, **masks, **states, **scores} if form != "key lengths" else None
    check_foreign("MultiHeadAttention", operands, outputs=names, num_heads=N, dims=dims)
    more = {"num_heads": N, "unidirectional": 1, "scale": 0.4}
    check_foreign("MultiHeadAttention", operands, outputs=names, **more)


def test_scores_are_an_output() -> None:
    operands = [f(B, S, D), f(B, S, D), f(B, S, D)]
    names = ("y0", "", "", "y3")
    check_foreign("MultiHeadAttention", operands, outputs=names, num_heads=N)


def test_cross_attention() -> None:
    """More keys than queries, values of another width; keys and values that are heads already."""
    dims = {0: f"b s {D}", 1: f"b k {D}", 2: "b k 6", 4: "b k"}
    operands = [f(B, S, D), f(B, 7, D), f(B, 7, 6), f(2 * D + 6), ones(B, 7)]
    check_foreign("MultiHeadAttention", operands, num_heads=N, dims=dims)
    heads = [f(B, S, D), f(B, N, 7, H), f(B, N, 7, H)]
    dims = {0: f"b s {D}", 1: f"b {N} k {H}", 2: f"b {N} k {H}"}
    check_foreign("MultiHeadAttention", heads, num_heads=N, dims=dims)


def test_packed_operands() -> None:
    """Query, key and value in one tensor, or key and value: as the same apart."""
    q, k, v = (f(B, S, N, H) for _ in range(3))
    apart = [t.reshape(B, S, D) for t in (q, k, v)]
    want = runtime_results(*foreign("MultiHeadAttention", apart, num_heads=N))
    dims = {0: f"b s {N} 3 {H}"}
    check_foreign("MultiHeadAttention", [np.stack([q, k, v], 3)], num_heads=N, want=want, dims=dims)
    operands = [apart[0], np.stack([k, v], 3)]
    check_foreign("MultiHeadAttention", operands, num_heads=N, want=want)


def test_decoder_masked_attention_over_keys_that_are_given() -> None:
    operands = [f(B, 1, D), f(B, N, 6, H), f(B, N, 6, H), ones(B, 6)]
    check_foreign("DecoderMaskedMultiHeadAttention", operands, num_heads=N)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_decoder_masked_attention_in_a_buffer(mask: bool, bias: bool) -> None:
    """States of 8 places, of which 3 are taken; what lies behind the new token is not compared."""
    width, places = N * 16, 8
    operands = [
        *(f(B, 1, width) for _ in range(3)),
        ones(B, P + 1) if mask else None,
        None if mask else f(1, N, 1, P + 1),
        f(B, N, places, 16),
        f(B, N, places, 16),
        ints(P),
        None,
        None,
        f(3 * width) if bias else None,
    ]
    names = ("y0", "y1", "y2")
    attrs = {"num_heads": N, "past_present_share_buffer": 1}
    while operands[-1] is None:
        operands.pop()
    dims = {3: "b t", 4: "1 2 1 t", **dict.fromkeys((5, 6), f"b {N} m 16")}
    dims |= dict.fromkeys(range(3), f"b 1 {width}")
    for open_ in (None, dims):
        model, feeds = foreign(
            "DecoderMaskedMultiHeadAttention", operands, outputs=names, dims=open_, **attrs
        )
        there = runtime_results(model, {n: a.copy() for n, a in feeds.items()})
        here = interpret(imported(model), feeds)
        compare(here["y0"], there[0], 2e-5)
        for name, state in zip(names[1:], there[1:], strict=True):
            compare(here[name][:, :, : P + 1], state[:, :, : P + 1], 2e-5)
