"""Every ONNX file that the packages of `make models` ship: built with nothing said but the path.

Each engine gets three feeds, of different shapes where the file leaves shapes open.
"""

from __future__ import annotations

import numpy as np
import pytest

import camshaft
from benchmarks.packages import FetchError
from benchmarks.shipped.__main__ import rows
from benchmarks.shipped.check import distance, worst
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
