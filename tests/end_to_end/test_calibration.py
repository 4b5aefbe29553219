"""Calibration from model to engine: several inputs, batches of several, batch sizes left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from camshaft.compare.comparison import compare
from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError
from camshaft.quant.cache import read_cache
from camshaft.session import BuildSession
from cli_models import residual_net, save, weight

Batches = Sequence[Mapping[str, np.ndarray]]


def images(count: int, *shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, *shape)) * scale).astype(np.float32)


def built(model: Path, batches: Batches, **options: Any) -> BuildSession:
    options = {"precision": {"int8"}, "optimization_level": 1, "threads": 1, **options}
    session = BuildSession(model, BuildConfig.of(None, options), batches)
    session.run()
    return session


@pytest.fixture
def two_branches(tmp_path: Path) -> Path:
    """Inputs of different shapes and ranges, batch 3, that meet in an addition."""
    nodes = [
        helper.make_node("Conv", ["left", "w1"], ["a"], "conv_left", pads=[1] * 4),
        helper.make_node("Conv", ["right", "w2"], ["b"], "conv_right", strides=[2, 2]),
        helper.make_node("Add", ["a", "b"], ["s"], "add"),
        helper.make_node("Relu", ["s"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w3"], ["y"], "conv_last"),
    ]
    inputs = {"left": (3, 4, 8, 8), "right": (3, 2, 16, 16)}
    weights = [weight("w1", 8, 4, 3, 3), weight("w2", 8, 2, 1, 1), weight("w3", 5, 8, 1, 1)]
    return save(tmp_path / "two.onnx", nodes, inputs, {"y": (3, 5, 8, 8)}, weights)


def test_several_inputs_and_batches_of_several(two_branches: Path, tmp_path: Path) -> None:
    left, right = images(6, 4, 8, 8), images(6, 2, 16, 16, scale=20.0)
    batches = [{"left": left[i : i + 3], "right": right[i : i + 3]} for i in (0, 3)]
    cache = tmp_path / "ranges.cache"
    convs = dict.fromkeys(("conv_left", "conv_right", "conv_last"), "int8")
    options = {"calibration_cache": cache, "calibrator": "minmax", "layer_precision": convs}
    session = built(two_branches, batches, **options)
    ranges = read_cache(cache).ranges
    assert ranges["left"] == (float(left.min()), float(left.max()))
    assert ranges["right"] == (float(right.min()), float(right.max()))
    result = compare(two_branches, session.run(), batches[0], "reference", session)
    assert {t.name for t in result.tensors} >= {"y", "r"}
    assert all(t.relative < 0.05 for t in result.tensors)
    (output,) = result.outputs
    assert output.shape == (3, 5, 8, 8)
    assert output.relative > 1e-5, "nothing was quantized"


def test_an_input_forgotten_in_one_batch_is_named(two_branches: Path) -> None:
    whole = {"left": images(3, 4, 8, 8), "right": images(3, 2, 16, 16)}
    with pytest.raises(CalibrationError, match=r"batch 1 has inputs \['left'\]"):
        built(two_branches, [whole, {"left": whole["left"]}])


def test_ranges_depend_on_neither_batch_size_nor_order_nor_threads(tmp_path: Path) -> None:
    model, data = residual_net(tmp_path / "free.onnx", "batch"), images(12, 3, 8, 8)
    data *= np.linspace(0.1, 3.0, 12, dtype=np.float32)[:, None, None, None]
    caches = []
    for size, order, threads in ((1, 1, 1), (1, -1, 1), (4, 1, 1), (12, 1, 1), (4, -1, 2)):
        batches = [{"x": data[i : i + size]} for i in range(0, 12, size)][::order]
        path = tmp_path / f"{len(caches)}.cache"
        shapes = {"x": (size, 3, 8, 8)}
        built(model, batches, shapes=shapes, threads=threads, calibration_cache=path)
        caches.append(path)
    assert caches[0].read_bytes() == caches[1].read_bytes()
    first = read_cache(caches[0]).ranges
    assert len(first) >= 3
    for path in caches[2:]:  # kernels for other shapes may round otherwise
        other = read_cache(path).ranges
        assert list(other) == list(first)
        for name, interval in first.items():
            np.testing.assert_allclose(other[name], interval, rtol=1e-5, atol=1e-6)


def test_a_batch_of_another_size_than_the_engine_s_is_refused(tmp_path: Path) -> None:
    model = residual_net(tmp_path / "free.onnx", "batch")
    with pytest.raises(CalibrationError, match=r"batch 0: 'x' is float32\[2, 3, 8, 8\]"):
        built(model, [{"x": images(2, 3, 8, 8)}], shapes={"x": (4, 3, 8, 8)})
