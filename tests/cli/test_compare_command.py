"""`camshaft compare` and `camshaft bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from camshaft.bench.latency import measure_latency
from camshaft.bench.peers import peer_error, peer_errors
from camshaft.bench.runners import PEERS, Runner
from cli_models import QUICK, RNG, call, call_json, complaint, residual_net
from open_engines import open_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx with net.engine and calibration.npz beside it."""
    path = residual_net(tmp_path_factory.mktemp("cli") / "net.onnx")
    call("build", path, *QUICK)
    batches = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    np.savez(path.with_name("calibration.npz"), x=batches)
    return path


# -- compare -------------------------------------------------------------------------------------


def test_compare_with_the_reference(model: Path) -> None:
    data = call_json("compare", model, "--with", "reference", "--layers", *QUICK)
    assert data["passed"] and data["tolerance"] == 1e-3
    assert {t["name"] for t in data["tensors"]} == {"y", "r1", "r2", "g"}
    text = call("compare", model, "--against", "reference", "--layers", *QUICK).stdout
    for word in ("y (output)", "r1", "SQNR dB", "passed"):
        assert word in text
    text = call("compare", model, "--with", "reference", "--layers", "--worst", 1, *QUICK).stdout
    assert "3 more" in text


def test_compare_judges_outputs_by_the_tolerance(model: Path) -> None:
    command = ("compare", model, "--with", "reference", "--tolerance")
    engine = ("--engine", model.with_suffix(".engine"))
    result = call(*command, 1e-12, *engine, code=1)
    assert "failed: y is off by" in result.stdout
    call(*command, 1e-4, *engine)
    data = json.loads(call(*command, 1e-12, *engine, "--json", code=1).stdout)
    assert data["passed"] is False and data["tensors"][0]["relative"] > 1e-12


def test_the_tolerance_fits_the_precision_of_the_layers(model: Path, tmp_path: Path) -> None:
    command = ("compare", model, "--with", "reference", *QUICK)
    for permitted, tolerance in (
        (("--fp16",), 0.015),
        (("--bf16",), 0.1),
        (("--bf16", "--fp16"), 0.1),
    ):
        data = call_json(*command, *permitted)
        (worst,) = data["tensors"]
        assert data["tolerance"] == tolerance and data["passed"]
        assert tolerance / 1000 < worst["relative"] < tolerance / 4
    engine = tmp_path / "half.engine"
    call("build", model, *QUICK, "--bf16", "-o", engine)
    data = call_json("compare", model, "--with", "reference", "--engine", engine)
    assert data["tolerance"] == 0.1


def test_weights_that_the_model_has_as_halves_are_not_rounded(tmp_path: Path) -> None:
    weights = RNG.standard_normal((16, 16)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["w"], ["wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    onnx.save(open_model(nodes, {"x": [4, 16]}, ["y"], {"w": weights}), tmp_path / "net.onnx")
    data = call_json("compare", tmp_path / "net.onnx", "--with", "reference", *QUICK)
    assert data["tolerance"] == 1e-3 and data["passed"]


def test_outputs_that_nearly_vanish_are_no_measure(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["x", "far"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["y"]),
    ]
    far = {"far": np.array(20, np.float32)}
    onnx.save(open_model(nodes, {"x": [1, 64]}, ["y"], far), tmp_path / "dark.onnx")
    command = (
        "compare",
        tmp_path / "dark.onnx",
        "--with",
        "reference",
        "--tolerance",
        1e-12,
        *QUICK,
    )
    assert "no value of y reaches 0.001: rounding shows" in call(*command, code=1).stdout


def test_zeros_alone_are_told(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "none"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    none = {"none": np.array(0, np.float32)}
    path = tmp_path / "dark.onnx"
    onnx.save(open_model(nodes, {"x": [1, 64]}, ["y", "z"], none), path)
    told = call("compare", path, "--with", "reference", *QUICK).stdout
    assert "warning: y holds zeros alone" in told and "z holds" not in told


def test_an_engine_of_another_model_fails(model: Path, tmp_path: Path) -> None:
    other = residual_net(tmp_path / "other.onnx")
    command = ("compare", other, "--with", "reference", "--engine", model.with_suffix(".engine"))
    result = call(*command, code=1)
    assert "not built from" in result.stderr


@pytest.mark.peers
def test_compare_with_onnxruntime(model: Path) -> None:
    data = call_json("compare", model, "--layers", *QUICK, "--seed", 3)
    assert data["passed"] and data["against"] == "onnxruntime" and data["random_inputs"]
    assert all(t["relative"] < 1e-5 for t in data["tensors"])


def test_compare_names_what_it_cannot_do(model: Path) -> None:
    engine = model.with_suffix(".engine")
    assert "--engine" in complaint("compare", engine, code=2)
    assert "--layers" in complaint("compare", model, "--engine", engine, "--layers", code=2)
    assert "'tvm'" in complaint("compare", model, "--with", "tvm", *QUICK, code=2)


# -- bench ---------------------------------------------------------------------------------------


class Sleeper:
    """A runner whose n-th call takes n milliseconds by its own clock."""

    name, linger = "sleeper", 0.0

    def __init__(self) -> None:
        self.now, self.calls = 0, 0

    def run(self) -> None:
        self.calls += 1
        self.now += self.calls * 1_000_000

    def outputs(self) -> list[np.ndarray]:
        return []


def test_latency_figures_by_hand() -> None:
    runner = Sleeper()
    found = measure_latency(runner, 1.0, 100, warm_up=0.0, clock=lambda: runner.now)
    assert found.calls == 100 and runner.calls == 101  # one call to warm up
    assert (found.min_ms, found.max_ms, found.mean_ms) == (2.0, 101.0, 51.5)
    assert found.percentiles_ms == {"p50": 51.0, "p90": 91.0, "p95": 96.0, "p99": 100.0}
    assert found.throughput == pytest.approx(1e3 / 51.5)


def test_latency_stops_after_its_time() -> None:
    runner = Sleeper()
    found = measure_latency(runner, 0.02, warm_up=0.004, clock=lambda: runner.now)
    assert found.calls == 4  # 1 + 2 + 3 ms to warm up; then 4 + 5 + 6 + 7 ms is enough


def test_bench_an_engine(model: Path) -> None:
    engine = model.with_suffix(".engine")
    data = call_json("bench", engine, "--iterations", 7, "--warm-up", 0, "--dump-profile")
    latency = data["latency"]
    assert latency["calls"] == 7 and data["threads"] == 1
    assert 0 < latency["min_ms"] <= latency["percentiles_ms"]["p50"] <= latency["max_ms"]
    assert data["machine"]["cpus"] >= 1 and len(data["profile"]["layers"]) >= 4
    text = call("bench", engine, "--iterations", 7, "--dump-profile").stdout
    for word in ("p99", "throughput", "conv2 + add + relu2"):
        assert word in text


@pytest.mark.peers
def test_bench_against_onnxruntime(model: Path, tmp_path: Path) -> None:
    command = ("bench", model, *QUICK, "--against", "onnxruntime", "--rounds", 3)
    command = (*command, "--iterations", 3, "--warm-up", 0, "--json", tmp_path / "bench.json")
    text = call(*command).stdout
    assert "onnxruntime" in text and "times as long" in text
    engine = ("bench", model.with_suffix(".engine"), "--model", model, "--iterations", 3)
    found = call_json(*engine, "--against", "onnxruntime", "--rounds", 3)["against"]
    assert set(found) == {"camshaft", "onnxruntime"}
    assert found["camshaft"]["ratio"] == 1.0 and len(found["onnxruntime"]["samples_ms"]) == 3
    assert found["onnxruntime"]["difference"] < 1e-5
    assert (tmp_path / "bench.json").is_file()


class FailsLater:
    """A runtime that raises in its third run."""

    def __init__(self, model: Path, feeds: Any, threads: int) -> None:
        self.name, self.linger, self.runs = "late", 0.0, 0

    def run(self) -> None:
        self.runs += 1
        if self.runs > 2:
            raise peer_error("late", "run the model", RuntimeError("no\nmore"))

    def outputs(self) -> list[np.ndarray]:
        return []


def fails_at_once(model: Path, feeds: Any, threads: int) -> Runner:
    with peer_errors("never", "load it"):
        raise TypeError("not this one")


@pytest.mark.peers
def test_peers_that_raise_are_a_line_each_and_others_are_measured(model: Path, monkeypatch) -> None:
    for name, make in (("late", FailsLater), ("never", fails_at_once)):
        monkeypatch.setitem(PEERS, name, make)
    monkeypatch.setattr("camshaft.cli.bench.require_package", lambda name, purpose: None)
    command = ("bench", model, *QUICK, "--against", "never,late,onnxruntime", "--rounds", 3)
    result = call(*command, "--iterations", 3, "--warm-up", 0, "--json", code=3)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: never cannot load it: TypeError: not this one",
        "error: late cannot run the model: RuntimeError: no more",
    ]
    data = json.loads(result.stdout)
    assert set(data["against"]) == {"camshaft", "onnxruntime"}
    assert set(data["failed"]) == {"never", "late"}


def test_bench_names_what_it_cannot_do(model: Path) -> None:
    engine = model.with_suffix(".engine")
    assert "--model" in complaint("bench", engine, "--against", "onnxruntime", code=2)
    assert "'tvm'" in complaint("bench", model, "--against", "tvm", code=2)
    assert "different" in complaint("bench", model, "--against", "openvino,openvino", code=2)
