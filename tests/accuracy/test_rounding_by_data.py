"""Weights rounded by what a layer reads: less error of results than the nearest levels, on other data too."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir.expr import inp
from camshaft.ir.graph import GraphBuilder, Node
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONV
from camshaft.quant.gptq import COHERENT, Curvature, rounded
from camshaft.quant.scheme import dequantize, quantize, weight_params

SIZE, CHANNELS = 14, 24


def conv(w: np.ndarray, groups: int, stride: int, pads: tuple[int, ...], dilation: int = 1) -> Node:
    b = GraphBuilder("conv")
    x = b.input("x", TensorType(f32, (2, SIZE, SIZE, CHANNELS)))
    attrs = {
        "strides": (stride, stride),
        "dilations": (dilation, dilation),
        "pads": pads,
        "groups": groups,
        "layout": "NHWC",
        "epilogue": inp(0),
    }
    y = b.emit(CONV, [x, b.constant(w, "w")], attrs, name="conv")
    (node,) = b.graph({"y": y}).nodes
    return node


def batch(seed: int) -> np.ndarray:
    """Channels and pixels that hang together."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((2, SIZE, SIZE, 6)) @ np.random.default_rng(7).standard_normal(
        (6, CHANNELS)
    )
    smooth = mixed + np.roll(mixed, 1, 1) + np.roll(mixed, 1, 2)
    return np.maximum(smooth, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("groups", "taps", "stride", "pads"),
    [(1, 1, 1, (0,) * 4), (1, 3, 1, (1,) * 4), (4, 3, 2, (0, 1, 1, 0)), (CHANNELS, 3, 1, (1,) * 4)],
)
def test_results_are_nearer(groups: int, taps: int, stride: int, pads: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    w = rng.standard_normal((CHANNELS, taps, taps, CHANNELS // groups)).astype(np.float32)
    w[3] = 0  # a filter that may not become NaN
    node = conv(w, groups, stride, pads)
    seen = Curvature(node, None, 8)
    for seed in range(8):
        seen.add(batch(seed))
    params = weight_params(w, 0)
    nearest = quantize(w, params)
    made = rounded(w, params, nearest, seen)

    def error(levels: np.ndarray) -> float:
        off = dequantize(levels, params) - w
        result = node.op.reference((batch(99), off), node.attrs)[0]
        return float(result.var(axis=(0, 1, 2)).sum())

    assert made.dtype == np.int8 and np.abs(made.astype(int)).max() <= 127
    assert error(made) < 0.9 * error(nearest)


def test_nothing_seen_changes_nothing() -> None:
    """Images that are zero say nothing."""
    w = np.random.default_rng(1).standard_normal((CHANNELS, 1, 1, CHANNELS)).astype(np.float32)
    node = conv(w, 1, 1, (0,) * 4)
    seen = Curvature(node, None, 1)
    seen.add(np.zeros((1, SIZE, SIZE, CHANNELS), np.float32))
    params = weight_params(w, 0)
    before = quantize(w, params)
    assert np.array_equal(rounded(w, params, before, seen), before)


@pytest.mark.parametrize("groups", [1, 4, CHANNELS])
@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "pads"),
    [
        (1, 1, 1, (0,) * 4),
        (3, 1, 1, (1,) * 4),
        (3, 2, 1, (0, 1, 1, 0)),
        (3, 2, 3, (4, 2, 1, 5)),
        (5, 3, 1, (7, 0, 2, 6)),
    ],
)
@pytest.mark.parametrize("scaled", [False, True])
def test_covariance(
    groups: int, taps: int, stride: int, dilation: int, pads: tuple[int, ...], scaled: bool
) -> None:
    """That of all patches and of the mean patches of images, written out."""
    w = np.zeros((CHANNELS, taps, taps, CHANNELS // groups), np.float32)
    node = conv(w, groups, stride, pads, dilation)
    factors = np.linspace(0.5, 2, CHANNELS, dtype=np.float32) if scaled else None
    seen = Curvature(node, factors, 1)  # so that all patches of a batch are taken
    images = [batch(seed) for seed in range(5)]
    patches = []
    for x in images:
        seen.add(x)
        x = x if factors is None else x * factors
        x = np.pad(x, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)))
        span = dilation * (taps - 1) + 1
        windows = np.lib.stride_tricks.sliding_window_view(x, (span, span), (1, 2))
        windows = windows[:, ::stride, ::stride, :, ::dilation, ::dilation]
        of_groups = windows.reshape(*windows.shape[:3], groups, -1, taps, taps)
        patches.append(np.moveaxis(of_groups, 4, 6).reshape(len(x), -1, groups, w[0].size))
    every = np.concatenate(patches).astype(np.float64)
    for g in range(groups):
        of_pixels = np.cov(every[:, :, g].reshape(-1, w[0].size), rowvar=False, bias=True)
        of_images = np.cov(every[:, :, g].mean(axis=1), rowvar=False, bias=True)
        want = of_pixels + COHERENT * of_images
        got = seen.covariance[g]
        assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()
