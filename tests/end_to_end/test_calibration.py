"""Calibration from model to engine: several inputs, batches of several, batch sizes left open."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import camshaft
from camshaft.compare.comparison import compare
from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError
from camshaft.quant.calibration.cache import read_cache, write_cache
from camshaft.session import BuildSession
from cli_models import call, residual_net, save, weight
from onnx_models import model_of
from script_models import text_model

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


QKV = {n: images(2, 64, 64)[None] for n in "qkv"}


def attention(path: Path) -> Path:
    """A model without products that take ranges."""
    node = helper.make_node("Attention", [*"qkv"], ["y"], "att")
    path.write_bytes(model_of([node], QKV, ["y"], opset=23).SerializeToString())
    return path


@pytest.mark.parametrize("data", [[QKV], None], ids=["data", "no data"])
def test_a_cache_that_is_named_for_nothing_is_named_in_a_warning(
    data: Batches | None, tmp_path: Path
) -> None:
    cache = tmp_path / "ranges.cache"
    options = {"precision": {"int8"}, "optimization_level": 1, "layer_precision": {"att": "int8"}}
    done = "written" if data else "read"
    words = (
        rf"ranges\.cache' was not {done}: ranges do not make 'att' INT8, whose rows.*; leave it out"
    )
    model = attention(tmp_path / "m.onnx")
    with pytest.warns(UserWarning, match=words):
        camshaft.build(model, calibration=data, calibration_cache=cache, **options)
    assert not cache.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        camshaft.build(model, calibration=data, **options)


def test_the_command_line_warns_of_it_too(tmp_path: Path) -> None:
    model, cache = attention(tmp_path / "m.onnx"), tmp_path / "ranges.cache"
    np.savez(tmp_path / "data.npz", **QKV)
    said = call(
        *("build", model, "--level", 1, "--threads", 1, "--int8", "--layer-precisions", "att:int8"),
        *("--calibration", tmp_path / "data.npz", "--calibration-cache", cache),
    ).stderr
    assert "was not written" in said and said.count("warning:") == 1
    assert "ranges.cache" in said.replace("\n", "")


def test_a_cache_for_graphs_that_no_batch_ran_is_named_in_a_warning(tmp_path: Path) -> None:
    """Written where one ran."""
    model = text_model(
        """(float[n,3,8,8] x, bool flag) => (float[n,8,8,8] y) {
            y = If (flag) <
                then_branch = a () => (float[n,8,8,8] p) { p = Conv <pads = [1,1,1,1]> (x, w) },
                else_branch = b () => (float[n,8,8,8] q) { c = Concat <axis = 1> (x, x, x) q = Slice (c, s0, s8, one) }
            > }""",
        w=images(8, 3, 3, 3),
        s0=np.array([0]),
        s8=np.array([8]),
        one=np.array([1]),
    )
    options = {"precision": {"int8"}, "optimization_level": 1, "threads": 1}
    for flag in (False, True):
        cache = tmp_path / f"{flag}.cache"
        data = [{"x": images(1, 3, 8, 8), "flag": np.array(flag)}]
        session = BuildSession(
            model, BuildConfig.of(None, {**options, "calibration_cache": cache}), data
        )
        session.run()
        assert cache.exists() is flag
        assert bool(session.remarks) is not flag
        assert all("calibration data ran none" in r for r in session.remarks)


def test_a_range_that_nothing_takes_is_told(two_branches: Path) -> None:
    """That of a float output, and of what a layer in float reads alone."""
    batches = [{"left": images(3, 4, 8, 8), "right": images(3, 2, 16, 16)}]
    ranges = {"left": 2.0, "right": 3.0, "y": 1.0}
    options = {"dynamic_ranges": ranges, "layer_precision": {"conv_right": "fp32"}}
    told = [r for r in built(two_branches, batches, **options).remarks if "dynamic_ranges" in r]
    assert [r.split("'")[1] for r in told] == ["right", "y"]


@pytest.mark.parametrize("as_cache", [True, False])
def test_ranges_under_the_names_of_the_models_tensors(tmp_path: Path, as_cache: bool) -> None:
    """As TensorRT's caches have them: graphs hold operands of products as rows, under names of their own."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["first"]),
        helper.make_node("Relu", ["first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["y"]),
    ]
    drawn = images(2, 16, 16, scale=0.25, seed=3)
    weights = [
        numpy_helper.from_array(w, name) for w, name in zip(drawn, ("w1", "w2"), strict=True)
    ]
    shapes = {"x": (2, 5, 16)}, {"y": (2, 5, 16)}
    model = save(tmp_path / "rows.onnx", nodes, *shapes, weights)
    x = images(2, 5, 16)
    ranges = {"x": float(np.abs(x).max()), "hidden": float(np.abs(x @ drawn[0]).max())}
    options: dict[str, Any] = {"dynamic_ranges": ranges}
    if as_cache:
        options = {"calibration_cache": tmp_path / "rows.cache"}
        write_cache(options["calibration_cache"], ranges, "entropy2")
    engine = camshaft.build(model, precision={"int8"}, optimization_level=1, **options)
    assert [note.precision for note in engine.manifest.notes].count("u8") == 2
    want = camshaft.build(model, optimization_level=1)({"x": x})["y"]
    assert np.abs(engine({"x": x})["y"] - want).max() < 0.05 * np.abs(want).max()
    with pytest.raises(CalibrationError, match="'nothing', which is no tensor"):
        camshaft.build(model, precision={"int8"}, dynamic_ranges={**ranges, "nothing": 1.0})
