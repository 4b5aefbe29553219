"""Every ONNX file that the packages of `make models` ship: built with nothing said but the path.

Each engine gets three feeds, of different shapes where the file leaves shapes open.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import camshaft
from benchmarks.packages import FetchError
from benchmarks.shipped.__main__ import rows
from benchmarks.shipped.check import distance, moved_file, worst
from benchmarks.shipped.models import FEEDS, MODELS, Shipped


def test_every_shape_differs_where_a_model_leaves_it_open() -> None:
    fixed = {"scrfd", "centerface", "ddddocr_det", "silero_openvino_16k"}
    for model in MODELS:
        shapes = [tuple(a.shape for a in model.feeds(i).values()) for i in range(FEEDS)]
        assert len(set(shapes)) == (1 if model.name in fixed else FEEDS), model.name


def test_feeds_are_the_same_in_every_process() -> None:
    for model in MODELS:
        for first, again in zip(model.feeds(1).values(), model.feeds(1).values(), strict=True):
            np.testing.assert_array_equal(first, again)


def test_distance_is_relative_to_the_range_and_sees_what_is_not_finite() -> None:
    want = {"y": np.float32([0, 50, 100])}
    assert distance({"y": np.float32([0, 50, 101])}, want) == pytest.approx(0.01)
    assert distance({"y": np.float32([0, 50, np.nan])}, want) == np.inf
    assert distance({"y": np.float32([0, 50])}, want) == np.inf
    assert distance({"y": np.float64([0, 50, 100])}, want) == np.inf
    infinite = {"y": np.float32([0, np.inf])}
    assert distance(infinite, infinite) == 0


def test_table_has_a_row_for_each_model_that_was_measured() -> None:
    facts = {"model": "magika", "off": 1e-6, "allowed": 1e-4, "host_steps": ["a"], "build_s": 3.2}
    times = {"samples_ms": {"camshaft": [2.0, 2.0], "onnxruntime": [3.0, 3.0]}, "busy": {}}
    found = [{**facts, **times, "threads": 1}]
    assert rows(found) == [["magika", "1.50", "", "2.000", "1", "3 s", "1e-06 (of 1e-04)"]]
    found.append({"model": "magika", "threads": 2, "failed": "ModelError: no"})
    assert rows(found)[0][:3] == ["magika", "1.50", "failed"]
    assert rows(found[1:]) == [["magika", "failed", "failed", "", "", "", ""]]


@pytest.fixture
def quantized_product(tmp_path: Path) -> Path:
    """x [3, 16] in INT8 by a matrix of floats [16, 20], the product in steps of 0.05."""
    weights = np.linspace(-1, 1, 320, dtype=np.float32).reshape(16, 20)
    weights[0, 0] = 0
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    g (float[3, 16] x) => (float[3, 20] y)
    <float sx = {0.01}, int8 zero = {0}, float sy = {0.05}, float[2] factors = {1.0, 2.0}>
    {
        a = QuantizeLinear(x, sx, zero)
        b = DequantizeLinear(a, sx, zero)
        c = MatMul(b, w)
        d = QuantizeLinear(c, sy, zero)
        y = DequantizeLinear(d, sy, zero)
    }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "product.onnx")
    return tmp_path / "product.onnx"


def test_constants_move_to_neighbours_but_zeros_and_what_may_be_sizes(
    quantized_product: Path,
) -> None:
    def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
        return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    was = constants(onnx.load(quantized_product))
    moved = constants(onnx.load_from_string(moved_file(quantized_product, 3)))
    assert moved["w"][0, 0] == 0
    ulps = np.abs(moved["w"].view(np.int32) - was["w"].view(np.int32))
    assert (ulps.ravel()[1:] == 1).all()
    assert moved["sx"] != was["sx"] and moved["sy"] != was["sy"]
    for name in ("zero", "factors"):
        np.testing.assert_array_equal(moved[name], was[name])


@pytest.mark.peers
def test_a_quantized_engine_may_be_off_as_far_as_onnxruntime_is_from_itself(
    quantized_product: Path,
) -> None:
    pytest.importorskip("onnxruntime", reason="engines are compared with ONNX Runtime")
    engine = camshaft.build(quantized_product)
    # Products far from the middle of two steps: no run of ONNX Runtime moves by one.
    feeds = {"x": np.zeros((3, 16), np.float32)}
    standing = worst(engine, quantized_product, [feeds], quantized=True)
    assert standing.off <= standing.allowed <= 1e-6

    def wrong(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": engine(feeds)["y"] + np.float32(0.05)}

    standing = worst(wrong, quantized_product, [feeds], quantized=True)
    assert standing.off > standing.allowed


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_engine_equals_onnxruntime(model: Shipped) -> None:
    pytest.importorskip("onnxruntime", reason="engines are compared with ONNX Runtime")
    if not model.package.place.is_dir():
        pytest.skip(f"{model.package.name} is not there; `make models` fetches it")
    try:
        path = model.path()
    except FetchError as error:
        pytest.skip(str(error))
    engine = camshaft.build(path)
    feeds = [model.feeds(i) for i in range(FEEDS)]
    standing = worst(engine, path, feeds, quantized=model.quantized)
    assert standing.off <= standing.allowed
