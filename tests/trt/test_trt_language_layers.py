"""Layers of language models beside NumPy: rotary embeddings, caches, experts, and blocks that are quantized as they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop, device, host
from trt_networks import Bench

Array = np.ndarray[Any, Any]


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, np.asarray(want), rtol=1e-4, atol=1e-5)


def turned(x: Array, cos: Array, sin: Array, count: int, interleaved: bool) -> Array:
    """cos, sin: [batch, steps, count / 2]."""
    made = x.astype(np.float64)
    pairs = [(2 * i, 2 * i + 1) if interleaved else (i, i + count // 2) for i in range(count // 2)]
    for i, (a, b) in enumerate(pairs):
        c, s = cos[:, None, :, i], sin[:, None, :, i]
        made[..., a], made[..., b] = x[..., a] * c - x[..., b] * s, x[..., a] * s + x[..., b] * c
    return made


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("count", [0, 4])
def test_rotary_embedding(count: int, interleaved: bool, opened: bool) -> None:
    half = (count or 6) // 2
    b = Bench((2, 3, 5, 6), (2, 5, half), (2, 5, half))
    if opened:
        b.tensors[0].shape = (-1, 3, -1, 6)
        for tensor in b.tensors[1:]:
            tensor.shape = (-1, -1, half)
    layer: Any = b.net.add_rotary_embedding(*b.tensors, interleaved, count)
    assert (layer.interleaved, layer.rotary_embedding_dim) == (interleaved, count)
    close(b.output(layer), turned(*b.arrays, count or 6, interleaved))


def test_rotary_embedding_by_positions() -> None:
    b = Bench((2, 3, 4, 6), (10, 3), (10, 3))
    layer: Any = b.net.add_rotary_embedding(*b.tensors, False, 0)
    positions = np.array([[0, 1, 2, 3], [5, 6, 7, 9]], np.int64)
    layer.set_input(3, b.constant(positions))
    x, cos, sin = b.arrays
    close(b.output(layer), turned(x, cos[positions], sin[positions], 6, False))


def test_rotary_embedding_of_an_odd_count_is_an_error() -> None:
    b = Bench((2, 3, 5, 6), (2, 5, 3), (2, 5, 3))
    assert b.net.add_rotary_embedding(*b.tensors, False, 3) is None
    assert "rotary_embedding_dim=3 must be an even number" in b.log.errors[-1]


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_a_cache_takes_new_steps_and_leaves_out_those_beyond_its_end(
    kind: type, opened: bool
) -> None:
    b = Bench((3, 2, 6, 4), (3, 2, 2, 4), opened=(0, 2) if opened else ())
    places = b.constant(np.array([0, 3, 5], kind))
    layer: Any = b.net.add_kv_cache_update(*b.tensors, places, trt.KVCacheMode.LINEAR)
    assert (layer.cache_mode, layer.update_form) == (
        trt.KVCacheMode.LINEAR,
        trt.AttentionIOForm.PADDED_BHND,
    )
    cache, new = b.arrays
    want = cache.copy()
    want[0, :, 0:2], want[1, :, 3:5], want[2, :, 5] = new[0], new[1], new[2, :, 0]
    assert np.array_equal(b.output(layer), want)


@pytest.mark.parametrize("opened", [False, True])
def test_a_cache_takes_packed_tokens(opened: bool) -> None:
    b = Bench((3, 2, 6, 4), (4, 2, 4), opened=(0,) if opened else ())
    places = b.constant(np.array([2, 0, 4], np.int32))
    layer: Any = b.net.add_kv_cache_update(*b.tensors, places, trt.KVCacheMode.LINEAR)
    layer.update_form = trt.AttentionIOForm.PACKED_NHD
    layer.update_lengths = b.constant(np.array([0, 3, 3, 4], np.int32))
    cache, new = b.arrays
    want = cache.copy()
    want[0, :, 2:5], want[2, :, 4] = new[:3].swapaxes(0, 1), new[3]
    assert np.array_equal(b.output(layer), want)


def test_an_engine_updates_a_cache_in_its_own_memory() -> None:
    shop = Workshop()
    shapes = {"cache": (-1, 2, 6, 4), "new": (-1, 2, -1, 4)}
    given = [shop.network.add_input(n, trt.float32, s) for n, s in shapes.items()]
    at = shop.network.add_input("at", trt.int32, (-1,))
    shop.output(shop.network.add_kv_cache_update(*given, at, trt.KVCacheMode.LINEAR), "grown")
    profile = shop.builder.create_optimization_profile()
    for name, (low, high) in {
        "cache": ((1, 2, 6, 4), (4, 2, 6, 4)),
        "new": ((1, 2, 1, 4), (4, 2, 6, 4)),
        "at": ((1,), (4,)),
    }.items():
        profile.set_shape(name, low, high, high)
    shop.config.add_optimization_profile(profile)
    engine = shop.engine()
    assert engine.get_aliased_input_tensor("grown") == "cache"
    assert engine.get_aliased_input_tensor("cache") is None
    cache, new = np.ones((2, 2, 6, 4), np.float32), np.zeros((2, 2, 3, 4), np.float32)
    context = engine.create_execution_context()
    for name, array in {"cache": cache, "new": new, "at": np.array([1, 3], np.int32)}.items():
        assert context.set_input_shape(name, array.shape)
        assert context.set_tensor_address(name, device(array))
    assert context.set_tensor_address("grown", context.get_tensor_address("cache"))
    assert context.execute_async_v3(0)
    cache[0, :, 1:4] = cache[1, :, 3:6] = 0
    assert np.array_equal(host(context.get_tensor_address("cache"), cache.shape), cache)


EXPERTS, HIDDEN, INNER = 4, 6, 5


def mixture(b: Bench, chosen: Array, *, biases: bool = False) -> Any:
    """Of the bench's hidden states and scores; weights and biases are `parts(biases)`."""
    layer: Any = b.net.add_moe(b.tensors[0], b.constant(chosen), b.tensors[1])
    weights, offsets = parts(biases)
    layer.set_gated_weights(*map(b.constant, weights), trt.MoEActType.SILU)
    if biases:
        layer.set_gated_biases(*map(b.constant, offsets))
    return layer


def parts(biases: bool) -> tuple[list[Array], list[Array]]:
    rng = np.random.default_rng(9)
    shapes = [(EXPERTS, HIDDEN, INNER)] * 2 + [(EXPERTS, INNER, HIDDEN)]
    weights = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    offsets = [rng.standard_normal((EXPERTS, s[-1])).astype(np.float32) for s in shapes]
    return weights, offsets if biases else [np.zeros_like(o) for o in offsets]


def mixed(
    x: Array,
    scores: Array,
    chosen: Array,
    biases: bool,
    limit: float = np.inf,
    alpha: float = 1,
    beta: float = 0,
) -> Array:
    (gate, up, down), (gate_b, up_b, down_b) = parts(biases)
    made = np.zeros(x.shape)
    for at in np.ndindex(*chosen.shape):
        e, token = chosen[at], x[at[:2]].astype(np.float64)
        g = np.minimum(token @ gate[e] + gate_b[e], limit)
        u = np.clip(token @ up[e] + up_b[e], -limit, limit) + beta
        made[at[:2]] += scores[at] * (u * g / (1 + np.exp(-alpha * g)) @ down[e] + down_b[e])
    return made


CHOSEN = np.array([[[0, 2], [3, 1], [2, 2]], [[1, 0], [0, 3], [3, 2]]], np.int32)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_mixture_of_experts(biases: bool, opened: bool) -> None:
    b = Bench((2, 3, HIDDEN), (2, 3, 2), opened=(0, 1) if opened else ())
    layer = mixture(b, CHOSEN, biases=biases)
    assert layer.activation_type == trt.MoEActType.SILU
    close(b.output(layer), mixed(*b.arrays, CHOSEN, biases))


def test_experts_with_the_parameters_of_swiglu() -> None:
    b = Bench((2, 3, HIDDEN), (2, 3, 2))
    layer = mixture(b, CHOSEN, biases=True)
    assert (layer.swiglu_param_limit, layer.swiglu_param_alpha, layer.swiglu_param_beta) == (
        np.inf,
        1,
        0,
    )
    layer.set_swiglu_params(0.5, 1.7, 1.0)
    close(b.output(layer), mixed(*b.arrays, CHOSEN, True, 0.5, 1.7, 1.0))


def test_quantized_experts_are_refused_by_name() -> None:
    b = Bench((2, 3, HIDDEN), (2, 3, 2))
    layer = mixture(b, CHOSEN)
    layer.set_quantization_static(b.constant(np.float32(1)), trt.fp8)
    assert layer.get_output(0).dtype == trt.float32
    assert "experts in DataType.FP8 are not computed here" in b.log.errors[-1]


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("block", [(1, 4), (2, -1), (-1, -1)])
def test_blocks_are_quantized_as_they_come(block: tuple[int, int], opened: bool) -> None:
    b = Bench((4, 8), opened=(0,) if opened else ())
    b.arrays[0][:2] *= 10
    b.arrays[0][3, :4] = 0
    layer: Any = b.net.add_dynamic_quantize_v2(b.tensors[0], block, trt.int8, trt.float32)
    sizes = [n if s == -1 else s for n, s in zip((4, 8), block, strict=True)]
    split = b.arrays[0].reshape(4 // sizes[0], sizes[0], 8 // sizes[1], sizes[1])
    scale = np.abs(split).max((1, 3)) / np.float32(127)
    whole, scales = b.outputs(layer)
    close(scales, scale)
    step = np.where(scale == 0, 1, scale)[:, None, :, None]
    want = np.rint(split / step).reshape(4, 8)
    assert whole.dtype == np.int8
    assert np.abs(whole - want).max() <= 1
    assert np.mean(whole == want) > 0.9


def test_blocks_are_quantized_by_scales_that_are_given() -> None:
    b = Bench((4, 8), opened=(0,))
    scale = np.array([[0.01], [0.03]], np.float32)
    layer: Any = b.net.add_quantize(b.tensors[0], b.constant(scale))
    layer.block_shape = (2, -1)
    want = np.clip(np.rint(b.arrays[0] / scale.repeat(2, 0)), -128, 127)
    got = b.output(layer)
    assert np.abs(got - want).max() <= 1
    assert np.mean(got == want) > 0.9


def test_block_quantization_along_one_axis_and_back() -> None:
    b = Bench((3, 8))
    layer: Any = b.net.add_dynamic_quantize(b.tensors[0], 1, 4, trt.int8, trt.float32)
    assert (layer.axis, layer.block_size, layer.to_type, layer.scale_type) == (
        1,
        4,
        trt.int8,
        trt.float32,
    )
    back: Any = b.net.add_dequantize(layer.get_output(0), layer.get_output(1))
    back.block_shape = (1, 4)
    got = b.output(back)
    step = np.abs(b.arrays[0].reshape(3, 2, 4)).max(-1).repeat(4, -1) / 127
    assert np.all(np.abs(got - b.arrays[0]) <= 0.51 * step)


@pytest.mark.parametrize(
    ("block", "kind", "said"),
    [
        ((1, 3), "INT8", "must divide"),
        ((4,), "INT8", "an extent for each axis"),
        ((1, 4), "FP8", "use INT8 with FLOAT"),
    ],
)
def test_blocks_that_cannot_be_are_errors(block: tuple[int, ...], kind: str, said: str) -> None:
    b = Bench((4, 8))
    layer: Any = b.net.add_dynamic_quantize_v2(
        b.tensors[0], block, getattr(trt.DataType, kind), trt.float32
    )
    with pytest.raises(ValueError, match="no rank"):
        len(layer.get_output(0).shape)
    assert said in b.log.errors[-1]


def test_collectives_are_refused_by_name() -> None:
    b = Bench((4, 8))
    op = trt.CollectiveOperation.ALL_REDUCE
    assert b.net.add_dist_collective(b.tensors[0], op, trt.ReduceOperation.SUM, -1, None) is None
    assert "add_dist_collective(ALL_REDUCE)" in b.log.errors[-1]
    assert "several devices" in b.log.errors[-1]
