"""`camshaft bench --streams`: callers side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, save

from camshaft.bench.many import measure_throughput
from camshaft.runtime.streams.stream import Stream
from cli_models import call, call_json
from open_engines import open_model

QUICK = ("--level", 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams") / "net.onnx"
    weights = {"w": np.ones((8, 8), np.float32)}
    save(
        open_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [4, 8]}, ["y"], weights),
        path,
    )
    return path


def test_streams_are_measured_together(model: Path) -> None:
    data = call_json("bench", model, *QUICK, "--streams", 3, "--seconds", 0.2, "--warm-up", 10)
    many = data["streams"]
    assert many["streams"] == 3 and data["threads"] == 1 and many["calls"] >= 3
    assert many["throughput"] == pytest.approx(many["calls"] / many["seconds"])
    assert 0.2 <= many["seconds"] < 5
    told = call("bench", model, *QUICK, "--streams", 2, "--threads", 2, "--seconds", 0.1).stdout
    assert "2 streams of 2 threads" in told and "calls/s" in told


@pytest.mark.parametrize(
    "other", [("--iterations", 3), ("--against", "onnxruntime"), ("--dump-profile",)]
)
def test_what_streams_exclude(model: Path, other: tuple[object, ...]) -> None:
    told = call("bench", model, *QUICK, "--streams", 2, *other, code=2).stderr
    assert f"--streams excludes {other[0]}" in told


def test_every_stream_calls_a_runner_of_its_own() -> None:
    class Counting:
        name, linger, calls = "counting", 0.0, 0

        def run(self) -> None:
            self.calls += 1

        def outputs(self) -> list[np.ndarray]:
            return []

    made: list[Counting] = []

    def make() -> Counting:
        made.append(Counting())
        return made[-1]

    with Stream() as first, Stream() as second:
        found = measure_throughput(make, [first, second], 0.05, 0.0)
    assert len(made) == 2 and all(m.calls > 1 for m in made)
    assert found.calls == sum(m.calls for m in made) - 2  # one each to warm up
