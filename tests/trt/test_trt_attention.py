"""IAttention beside NumPy: masks, causal kinds, shared heads, quantized weights, packed tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Bench

Array = np.ndarray[Any, Any]
SOFTMAX, PLAIN = trt.AttentionNormalizationOp.SOFTMAX, trt.AttentionNormalizationOp.NONE
KIND, PACKED = trt.CausalMaskKind, trt.AttentionIOForm.PACKED_NHD
QUERY, KEYS = (2, 4, 3, 8), (2, 2, 5, 8)


def softmax(scores: Array) -> Array:
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def attention(q: Array, k: Array, v: Array, added: Any = 0.0, normalize: Any = softmax) -> Array:
    """float64, heads of keys repeated."""
    k, v = (np.repeat(t.astype(np.float64), q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    return normalize(q @ k.swapaxes(-1, -2) + added) @ v


def hidden(keep: Array) -> Array:
    return np.where(keep, 0.0, -np.inf)


def bench(*, opened: bool = False, norm: Any = SOFTMAX, kind: Any = KIND.NONE) -> tuple[Bench, Any]:
    b = Bench(QUERY, KEYS, KEYS, opened=(0, 2) if opened else ())
    return b, b.net.add_attention_v2(*b.tensors, norm, kind)


def close(b: Bench, got: Any, want: Array, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(b.output(got), want, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("kind", KIND.__members__)
def test_causal_kinds(kind: str, opened: bool) -> None:
    b, layer = bench(opened=opened, kind=getattr(KIND, kind))
    assert (layer.causal, layer.causal_kind) == (kind != "NONE", getattr(KIND, kind))
    at, key_at = np.arange(3)[:, None], np.arange(5)
    keep = {"NONE": key_at >= 0, "UPPER_LEFT": key_at <= at, "LOWER_RIGHT": key_at <= at + 2}[kind]
    close(b, layer, attention(*b.arrays, hidden(keep)))


def test_the_first_form_says_causal_as_a_bool() -> None:
    b = Bench(QUERY, KEYS, KEYS)
    layer: Any = b.net.add_attention(*b.tensors, SOFTMAX, True)
    assert layer.causal_kind == KIND.UPPER_LEFT
    layer.causal = False
    close(b, layer, attention(*b.arrays))


@pytest.mark.parametrize("norm", [SOFTMAX, PLAIN])
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("kind", ["bools", "floats"])
def test_masks(kind: str, opened: bool, norm: Any) -> None:
    b, layer = bench(opened=opened, norm=norm)
    rng = np.random.default_rng(1)
    if kind == "bools":
        mask = rng.random((2, 1, 3, 5)) > 0.3
        mask[..., 0] = True
    else:
        mask = rng.standard_normal((1, 4, 3, 5)).astype(np.float32)
    layer.mask = b.constant(mask)
    assert layer.mask is not None
    if norm == SOFTMAX:
        want = attention(*b.arrays, hidden(mask) if kind == "bools" else mask)
    elif kind == "bools":
        want = attention(*b.arrays, normalize=lambda s: np.where(mask, s, 0))
    else:
        want = attention(*b.arrays, mask, lambda s: s)
    close(b, layer, want, 1e-4)


def test_properties_keep_what_is_set() -> None:
    b, layer = bench()
    assert (layer.norm_op, layer.decomposable, layer.mask, layer.num_ranks) == (
        SOFTMAX,
        False,
        None,
        1,
    )
    layer.name, layer.metadata, layer.decomposable = "heads", "of layer 3", True
    assert (layer.name, layer.metadata, layer.decomposable) == ("heads", "of layer 3", True)
    assert (layer.num_inputs, layer.num_outputs, layer.get_input(3)) == (3, 1, None)
    first, last = b.net.get_layer(0), b.net.get_layer(1)
    assert (first.type, last.type) == (
        trt.LayerType.ATTENTION_INPUT,
        trt.LayerType.ATTENTION_OUTPUT,
    )
    assert first.metadata == "of layer 3"
    first.__class__ = trt.IAttentionInputLayer
    assert first.attention is layer
    assert layer.set_input(1, b.tensors[1])
    assert layer.get_output(0).shape == QUERY
    assert not b.log.errors
    assert not layer.set_input(3, b.tensors[0])
    assert "has no input 3" in b.log.errors[-1]


def test_a_mask_beside_a_causal_kind_is_an_error() -> None:
    b, layer = bench(kind=KIND.LOWER_RIGHT)
    layer.mask = b.constant(np.ones((1, 1, 3, 5), bool))
    with pytest.raises(ValueError, match="no rank"):
        len(layer.get_output(0).shape)
    assert "it has a mask and is causal" in b.log.errors[-1]


@pytest.mark.parametrize("norm", [SOFTMAX, PLAIN])
def test_the_normalized_result_is_quantized(norm: Any) -> None:
    b, layer = bench(norm=norm)
    step = np.float32(1 / 20)
    layer.normalization_quantize_scale = b.constant(step)
    layer.normalization_quantize_to_type = trt.int8
    assert layer.normalization_quantize_to_type == trt.int8
    normalize = softmax if norm == SOFTMAX else lambda s: s
    want = attention(
        *b.arrays, normalize=lambda s: np.clip(np.rint(normalize(s) / step), -128, 127) * step
    )
    plain = attention(*b.arrays, normalize=normalize)
    assert np.abs(want - plain).max() > 0.02
    close(b, layer, want, 1e-4)


def test_what_is_not_computed_is_named() -> None:
    b, layer = bench()
    layer.normalization_quantize_scale = b.constant(np.float32(1))
    layer.normalization_quantize_to_type = trt.fp8
    assert layer.get_output(0).dtype == trt.float32
    assert "FP8 is not computed here; use INT8" in b.log.errors[-1]
    layer.normalization_quantize_to_type = trt.int32
    assert "must be INT8 or FP8" in b.log.errors[-1]


def test_padded_keys_have_lengths() -> None:
    for kind in (KIND.NONE, KIND.LOWER_RIGHT):
        b, layer = bench(opened=True, kind=kind)
        layer.key_value_lengths = b.constant(np.array([5, 4], np.int32))
        counts = np.array([5, 4]).reshape(2, 1, 1, 1)
        at, key_at = np.arange(3)[:, None], np.arange(5)
        keep = key_at < counts
        if kind == KIND.LOWER_RIGHT:
            keep = keep & (key_at <= at + counts - 3)
        close(b, layer, attention(*b.arrays, hidden(keep)))


@pytest.mark.parametrize("kind", KIND.__members__)
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("keys", ["packed", "padded"])
def test_packed_tokens_look_at_their_own_rows(kind: str, opened: bool, keys: str) -> None:
    """Rows of 2 and 3 tokens, with 4 and 3 keys."""
    shape = (7, 2, 8) if keys == "packed" else (2, 2, 4, 8)
    b = Bench((5, 4, 8), shape, shape, opened=((0,) if opened and keys == "packed" else ()))
    layer: Any = b.net.add_attention_v2(*b.tensors, SOFTMAX, getattr(KIND, kind))
    layer.query_form = PACKED
    layer.query_lengths = b.constant(np.array([0, 2, 5], np.int32))
    if keys == "packed":
        layer.key_value_form = PACKED
        layer.key_value_lengths = b.constant(np.array([0, 4, 7], np.int32))
    else:
        layer.key_value_lengths = b.constant(np.array([4, 3], np.int32))
    q, k, v = b.arrays
    want = []
    for row, (of_q, of_k) in enumerate([(slice(0, 2), slice(0, 4)), (slice(2, 5), slice(4, 7))]):
        if keys == "packed":
            mine = [t[of_k].swapaxes(0, 1) for t in (k, v)]
        else:
            mine = [t[row, :, : (4, 3)[row]] for t in (k, v)]
        steps, keys_of_row = of_q.stop - of_q.start, mine[0].shape[1]
        at, key_at = np.arange(steps)[:, None], np.arange(keys_of_row)
        keep = {
            "NONE": key_at >= 0,
            "UPPER_LEFT": key_at <= at,
            "LOWER_RIGHT": key_at <= at + keys_of_row - steps,
        }[kind]
        want.append(attention(q[of_q].swapaxes(0, 1), *mine, hidden(keep)).swapaxes(0, 1))
    close(b, layer, np.concatenate(want))


def test_padded_queries_look_at_packed_keys() -> None:
    b = Bench((2, 2, 3, 8), (7, 2, 8), (7, 2, 8))
    layer: Any = b.net.add_attention_v2(*b.tensors, SOFTMAX, KIND.NONE)
    layer.key_value_form = PACKED
    layer.key_value_lengths = b.constant(np.array([0, 4, 7], np.int32))
    q, k, v = b.arrays
    parts = [[t[s].swapaxes(0, 1) for t in (k, v)] for s in (slice(0, 4), slice(4, 7))]
    close(b, layer, np.stack([attention(q[i], *part) for i, part in enumerate(parts)]))
