"""trtexec's builds and runs: exit codes, lines and files as other tools read them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
import camshaft.tensorrt as trt
from camshaft.tensorrt.eras import VARIABLE
from trtexec_runs import QUICK, Trtexec, save_double, save_net

pytestmark = pytest.mark.codegen
TIMES = [
    "startEnqMs",
    "endEnqMs",
    "startH2dMs",
    "endH2dMs",
    "startComputeMs",
    "endComputeMs",
    "startD2hMs",
    "endD2hMs",
    "h2dMs",
    "computeMs",
    "d2hMs",
    "latencyMs",
]
STATISTICS = [
    "min",
    "max",
    "mean",
    "median",
    "percentile(90%)",
    "percentile(95%)",
    "percentile(99%)",
]


@pytest.fixture
def trtexec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Trtexec:
    monkeypatch.chdir(tmp_path)
    return Trtexec(tmp_path, capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model, and its engine, which can tell of its layers."""
    folder = tmp_path_factory.mktemp("trtexec")
    model = save_net(folder / "net.onnx", ("n", 3, 8, 8))
    flags = ["--minShapes=x:1x3x8x8", "--optShapes=x:2x3x8x8", "--maxShapes=x:4x3x8x8"]
    command = [sys.executable, "-m", "camshaft.tensorrt.trtexec", f"--onnx={model}", *flags, *QUICK]
    command += [
        "--profilingVerbosity=detailed",
        f"--saveEngine={folder / 'net.plan'}",
        "--skipInference",
    ]
    source = str(Path(camshaft.__file__).parents[1])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(
        "&&&& RUNNING TensorRT.trtexec [TensorRT v101600] # trtexec --onnx="
    )
    assert "Skipped inference phase since --skipInference is added." in done.stdout
    return folder


def load(folder: Path) -> str:
    return f"--loadEngine={folder / 'net.plan'}"


def test_the_summary_is_what_scrapers_read(trtexec: Trtexec, folder: Path) -> None:
    assert trtexec(load(folder), *QUICK, "--exportTimes=times.json", "--avgRuns=5") == 0
    summary = trtexec.section("Performance summary")
    assert [*summary] == [
        "Throughput", "Latency", "Enqueue Time", "H2D Latency", "GPU Compute Time", "D2H Latency",
        "Total Host Walltime", "Total GPU Compute Time",
    ]  # fmt: skip
    assert re.fullmatch(r"[\d.e+]+ qps", summary["Throughput"])
    assert [*trtexec.latency] == STATISTICS
    times = trtexec.json("times.json")
    assert len(times) >= 12
    assert all([*row] == TIMES for row in times)
    latencies = sorted(row["latencyMs"] for row in times)
    assert trtexec.latency["min"] == pytest.approx(latencies[0], rel=1e-5)
    assert trtexec.latency["max"] == pytest.approx(latencies[-1], rel=1e-5)
    assert trtexec.latency["median"] == pytest.approx(np.median(latencies), rel=1e-5)
    rates = float(summary["Throughput"].split()[0]) * float(
        summary["Total Host Walltime"].split()[0]
    )
    assert rates == pytest.approx(len(times), rel=1e-4)
    assert (
        len(re.findall(r"Average on 5 runs - GPU latency: [\d.e-]+ ms", trtexec.out))
        == len(times) // 5
    )
    assert f"Timing trace has {len(times)} queries over" in trtexec.out


def test_times_of_a_call_follow_each_other(trtexec: Trtexec, folder: Path) -> None:
    assert trtexec(load(folder), *QUICK, "--exportTimes=times.json") == 0
    for row in trtexec.json("times.json"):
        moments = [row[n] for n in TIMES[2:8]]
        assert moments == sorted(moments)
        assert row["latencyMs"] == pytest.approx(row["h2dMs"] + row["computeMs"] + row["d2hMs"])
        assert row["h2dMs"] > 0 and row["d2hMs"] > 0


def test_warm_up_duration_and_percentile(trtexec: Trtexec, folder: Path) -> None:
    flags = ("--warmUp=30", "--duration=0.05", "--iterations=1", "--percentile=50,99.5")
    assert trtexec(load(folder), *flags, "--noDataTransfers", "--exportTimes=times.json") == 0
    times = trtexec.json("times.json")
    assert times[0]["startComputeMs"] >= 30
    assert 80 <= times[-1]["endD2hMs"] < 2000
    assert all(row["h2dMs"] == row["d2hMs"] == 0 for row in times)
    assert [*trtexec.latency][4:] == ["percentile(50%)", "percentile(99.5%)"]
    assert trtexec.section("Inference Options")["Duration"] == "0.05s (+ 30ms warm up)"


def test_outputs_are_those_of_the_inputs_given(trtexec: Trtexec, folder: Path) -> None:
    x = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    x.tofile("x.bin")
    flags = (
        "--shapes=x:3x3x8x8",
        "--loadInputs='x':x.bin",
        "--exportOutput=y.json",
        "--dumpOutput",
    )
    assert trtexec(load(folder), *QUICK, *flags) == 0
    (output,) = trtexec.json("y.json")
    assert (output["name"], output["dimensions"]) == ("y", "3x4x8x8")
    wanted = camshaft.build(folder / "net.onnx", optimization_level=0)({"x": x})["y"]
    np.testing.assert_allclose(
        np.reshape(output["values"], wanted.shape), wanted, rtol=1e-5, atol=1e-5
    )
    assert "[I] y: (3x4x8x8)" in trtexec.out
    assert "Using values loaded from x.bin for input x" in trtexec.out


@pytest.mark.parametrize(
    ("algorithm", "loss"),
    [("l0", 1 / 512), ("l1", 8 / 512), ("l2", 64 / 512), ("lInf", 8.0), ("cos", None)],
)
def test_outputs_are_compared_with_references(
    trtexec: Trtexec, folder: Path, algorithm: str, loss: float | None
) -> None:
    np.ones((2, 3, 8, 8), np.float32).tofile("x.bin")
    flags = (load(folder), *QUICK, "--loadInputs=x:x.bin")
    assert trtexec(*flags, "--exportOutput=y.json") == 0
    y = np.array(trtexec.json("y.json")[0]["values"])
    other = y.copy()
    other[3] += 8
    other.astype(np.float32).tofile("y.bin")
    if loss is None:
        loss = 1 - float(y @ other) / float(np.linalg.norm(y) * np.linalg.norm(other))
    asked = ("--loadRefOutputs=y:y.bin", f"--accuracyAlgorithm={algorithm}")
    assert trtexec(*flags, *asked, f"--accuracyThreshold={loss * 1.1}") == 0
    (line,) = re.findall(r"Accuracy loss for tensor y \((\w+)\): ([\d.]+)\n", trtexec.out)
    assert (line[0], float(line[1])) == (algorithm, pytest.approx(loss, abs=1e-5))
    assert trtexec(*flags, *asked, f"--accuracyThreshold={loss * 0.9}") == 1
    assert "[FAIL: >= threshold" in trtexec.out
    assert "Accuracy validation failed for y" in trtexec.err


def test_a_caller_that_holds_an_empty_file_reads_it(
    trtexec: Trtexec, folder: Path, tmp_path: Path
) -> None:
    with open("y.json", "w+") as held:
        assert trtexec(load(folder), *QUICK, "--exportOutput=y.json") == 0
        assert json.load(held) == trtexec.json("y.json")
    before = (tmp_path / "y.json").read_bytes()
    with open("y.json", "rb") as held_full:
        assert trtexec(load(folder), *QUICK, "--exportOutput=y.json") == 0
        assert held_full.read() == before


def test_layers_and_their_times(trtexec: Trtexec, folder: Path) -> None:
    flags = (
        "--exportProfile=p.json",
        "--exportLayerInfo=l.json",
        "--dumpProfile",
        "--dumpLayerInfo",
    )
    assert trtexec(load(folder), *QUICK, *flags, "--separateProfileRun") == 0
    count, *rows = trtexec.json("p.json")
    layers = trtexec.json("l.json")["Layers"]
    assert count["count"] >= 12
    assert [row["name"] for row in rows] == [layer["Name"] for layer in layers]
    assert all([*row] == ["name", "timeMs", "averageMs", "medianMs", "percentage"] for row in rows)
    assert sum(row["percentage"] for row in rows) == pytest.approx(100)
    for row in rows:
        assert row["averageMs"] == pytest.approx(row["timeMs"] / count["count"])
    assert f"=== Profile ({count['count']} iterations ) ===" in trtexec.out
    assert "Layer Information:" in trtexec.out
    assert "Throughput" in trtexec.section("Performance summary")


def test_one_run_is_timed_by_layers_or_as_a_whole(trtexec: Trtexec, folder: Path) -> None:
    assert trtexec(load(folder), *QUICK, "--dumpProfile") == 0
    assert trtexec.section("Performance summary") == {}
    assert "add --separateProfileRun" in trtexec.out


@pytest.mark.parametrize("threads", [(), ("--threads",)], ids=["one thread", "threads"])
def test_streams_have_tensors_of_their_own(
    trtexec: Trtexec, folder: Path, threads: tuple[str, ...]
) -> None:
    flags = ("--infStreams=3", "--exportTimes=times.json", *threads)
    assert trtexec(load(folder), *QUICK, *flags) == 0
    assert len(trtexec.json("times.json")) >= 36
    assert "Created 3 execution context(s)" in trtexec.out
    assert "Multiple inference streams are used" in trtexec.err


def test_flags_without_an_effect_say_so(trtexec: Trtexec, folder: Path) -> None:
    assert trtexec(load(folder), *QUICK, "--useCudaGraph", "--useSpinWait") == 0
    assert "--useCudaGraph has no effect: " in trtexec.out
    assert trtexec.section("Inference Options")["Spin-wait"] == "Enabled"


def test_sections_of_options(trtexec: Trtexec, tmp_path: Path) -> None:
    model = save_double(tmp_path / "double.onnx", "in:0")
    flags = ("--fp16", "--optShapes=in*:5x3", "--timingCacheFile=t.cache", "--saveEngine=d.plan")
    assert trtexec(f"--onnx={model}", *flags, *QUICK, "--dumpOptimizationProfile") == 0
    assert trtexec.section("Model Options") == {"Format": "ONNX", "Model": model, "Output": ""}
    build = trtexec.section("Build Options")
    assert (build["Precision"], build["Save engine"]) == ("FP32+FP16", "d.plan")
    device = trtexec.section("Device Information")
    assert int(device["SMs"]) >= 1 and float(device["Compute Capability"]) > 0
    assert "Model input in:0 (profile 0): min=5x3, opt=5x3, max=5x3" in trtexec.out
    assert re.search(r"\[I\] Engine built in [\d.e-]+ sec\.", trtexec.out)
    cache = (tmp_path / "t.cache").read_bytes()
    assert trtexec(f"--onnx={model}", *flags, *QUICK, "--skipInference") == 0
    assert f"Timing cache: {len(cache)} bytes read from t.cache" in trtexec.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.plan", "double.onnx", "t.cache"]


def test_open_extents_that_nobody_says_are_1(trtexec: Trtexec, tmp_path: Path) -> None:
    model = save_double(tmp_path / "double.onnx")
    assert trtexec(f"--onnx={model}", *QUICK, "--exportOutput=y.json") == 0
    assert "Automatically overriding shape to: 1x3" in trtexec.err
    assert trtexec.json("y.json")[0]["dimensions"] == "1x3"


def test_the_time_of_deserialization_and_the_plan_s_version(trtexec: Trtexec, folder: Path) -> None:
    assert trtexec(load(folder), "--timeDeserialize") == 0
    assert re.search(
        r"Total deserialization time = [\d.]+ milliseconds in 20 iterations", trtexec.out
    )
    assert trtexec(load(folder), "--getPlanVersionOnly") == 0
    assert f"Plan was created with camshaft version {trt.__camshaft__}" in trtexec.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--shapes=z:1x3x8x8",), "the engine has no input 'z'; it has x"),
        (("--shapes=x:9x3x8x8",), "input x cannot have the shape 9x3x8x8; give another in --shapes"),
        (("--loadInputs=x:short.bin",), "short.bin has 4 bytes, and input x of type float32"),
        (("--loadInputs=x:absent.bin",), "--loadInputs x: there is no file absent.bin"),
        (("--useProfile=2",), "--useProfile=2: the engine has 1 profiles"),
        (("--exportOutput=no/folder.json",), "--exportOutput=no/folder.json cannot be written: No such file or directory"),
        (("--exportOutput=a.json", "--exportTimes=a.json"), "is the file of --exportTimes"),
        (("--exportOutput=short.bin", "--loadInputs=x:short.bin"), "is the file of --loadInputs x"),
        (("--loadRefOutputs=z:short.bin", "--loadInputs=x:in.bin"), "the engine has no output 'z'"),
        (("--loadRefOutputs=y:short.bin", "--loadInputs=x:in.bin"), "short.bin has 4 bytes, and output y"),
        (("--saveDebugTensors=c:c.bin",), "c was not named by --markDebug"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_run_that_cannot_be_fails(
    trtexec: Trtexec, folder: Path, flags: tuple[str, ...], message: str
) -> None:
    Path("short.bin").write_bytes(b"four")
    Path("in.bin").write_bytes(bytes(2 * 3 * 8 * 8 * 4))
    assert trtexec(load(folder), *QUICK, *flags) == 1
    assert message in trtexec.err
    assert trtexec.out.splitlines()[-1].startswith("&&&& FAILED TensorRT.trtexec")
    assert sorted(os.listdir()) == ["in.bin", "short.bin"]


def test_files_that_are_no_models_or_engines(trtexec: Trtexec) -> None:
    Path("bad.onnx").write_bytes(b"no model")
    assert trtexec("--onnx=bad.onnx", "--saveEngine=e.plan", *QUICK) == 1
    assert "Failed to parse onnx file bad.onnx" in trtexec.err
    assert trtexec("--loadEngine=bad.onnx", *QUICK) == 1
    assert "Engine deserialization failed: --loadEngine=bad.onnx is no engine" in trtexec.err
    assert trtexec("--loadEngine=absent.plan") == 1
    assert "--loadEngine: there is no file absent.plan" in trtexec.err
    assert os.listdir() == ["bad.onnx"]


def test_each_era_has_its_flags_and_defaults(folder: Path) -> None:
    source = str(Path(camshaft.__file__).parents[1])
    said: dict[str, Any] = {}
    for era in ("8.6", "11"):
        environment = {**os.environ, "PYTHONPATH": source, VARIABLE: era}
        command = [sys.executable, "-m", "camshaft.tensorrt.trtexec", load(folder), *QUICK]
        runs = [
            subprocess.run(
                [*command, *more], capture_output=True, text=True, env=environment, check=False
            )
            for more in ((), ("--fp16",), ("--includeDataTransfers",))
        ]
        said[era] = [run.returncode for run in runs]
        transfers = "Enabled" if era == "8.6" else "Disabled"
        assert f"Data transfers: {transfers}" in runs[0].stdout
    assert said == {"8.6": [0, 0, 1], "11": [0, 1, 0]}
