"""trtexec refits engines: what it prints, with which weights the engine then runs, and what it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import camshaft
import camshaft.tensorrt as trt
from camshaft.tensorrt.eras import VARIABLE
from trtexec_runs import QUICK, WEIGHTS, Trtexec, save_net

pytestmark = pytest.mark.codegen
BUILD = ("--onnx=net.onnx", *QUICK)
X = np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def trtexec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Trtexec:
    monkeypatch.chdir(tmp_path)
    other = onnx.load(save_net(tmp_path / "net.onnx"))
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(-2 * WEIGHTS, "w"))
    onnx.save(other, "other.onnx")
    X.tofile("x.bin")
    return Trtexec(tmp_path, capsys)


def output(trtexec: Trtexec, *flags: str) -> np.ndarray:
    """What a run prints of its output, for X."""
    assert trtexec(*flags, "--loadInputs=x:x.bin", "--exportOutput=y.json") == 0, trtexec.err
    return np.array(trtexec.json("y.json")[0]["values"], np.float32)


def test_an_engine_takes_the_weights_of_another_model(trtexec: Trtexec) -> None:
    assert trtexec(*BUILD, "--refit", "--saveEngine=net.plan", "--skipInference") == 0
    own, others = output(trtexec, *BUILD), output(trtexec, "--onnx=other.onnx", *QUICK)
    assert np.abs(own - others).max() > 1
    loaded = ("--loadEngine=net.plan", *QUICK)
    np.testing.assert_allclose(output(trtexec, *loaded), own, rtol=1e-5, atol=1e-5)
    refitted = output(trtexec, *loaded, "--refitFromOnnx=other.onnx", "--threads")
    np.testing.assert_allclose(refitted, others, rtol=1e-5, atol=1e-5)
    lines = [line.split("[I] ")[-1] for line in trtexec.out.splitlines()]
    done = lines.index("Engine successfully refitted from ONNX model other.onnx")
    assert lines[done - 1] == "Refitting engine from ONNX model other.onnx"
    # The plan stays as it was: only this process has the others.
    np.testing.assert_allclose(output(trtexec, *loaded), own, rtol=1e-5, atol=1e-5)


def test_refits_are_timed_and_what_can_be_replaced_is_printed(trtexec: Trtexec) -> None:
    others = output(trtexec, "--onnx=other.onnx", *QUICK)
    flags = ("--refit", "--dumpRefit", "--timeRefit", "--refitFromOnnx=other.onnx")
    np.testing.assert_allclose(output(trtexec, *BUILD, *flags), others, rtol=1e-5, atol=1e-5)
    assert "[I] conv Kernel\n" in trtexec.out
    (ms,) = re.findall(r"\[I\] Engine refitted in ([\d.e-]+) ms\.\n", trtexec.out)
    assert 0 < float(ms) < 1000
    assert trtexec.section("Inference Options")["Time Refit"] == "Enabled"
    assert trtexec.section("Reporting Options")["Dump refittable layers"] == "Enabled"


@pytest.mark.parametrize("era", ["8.6", "11"])
def test_refits_are_timed_in_all_eras(trtexec: Trtexec, era: str) -> None:
    source = str(Path(camshaft.__file__).parents[1])
    done = subprocess.run(
        [*(sys.executable, "-m", "camshaft.tensorrt.trtexec"), *BUILD, "--refit", "--timeRefit"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source, VARIABLE: era},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Engine refitted in " in done.stdout


def test_a_refit_of_a_loaded_engine_has_no_network_to_time(trtexec: Trtexec) -> None:
    assert trtexec(*BUILD, "--refit", "--saveEngine=net.plan", "--skipInference") == 0
    assert trtexec("--loadEngine=net.plan", "--timeRefit", "--skipInference") == 0
    assert "[W] Network not available, skipped timing refit." in trtexec.err


@pytest.mark.parametrize("strip", ["--stripWeights", "--stripAllWeights", "--weightless"])
def test_an_engine_without_weights_runs_with_those_of_its_model(
    trtexec: Trtexec, strip: str
) -> None:
    own = output(trtexec, *BUILD, "--saveEngine=whole.plan")
    stripped = output(trtexec, *BUILD, strip, "--saveEngine=net.plan")
    np.testing.assert_allclose(stripped, own, rtol=1e-5, atol=1e-5)
    assert "The engine holds no weights: for the inference it takes those of --onnx" in trtexec.out
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(Path("net.plan").read_bytes())
    assert engine is not None
    assert engine.get_engine_stat(trt.EngineStat.STRIPPED_WEIGHTS_SIZE) >= WEIGHTS.nbytes
    assert trt.Refitter(engine, trt.Logger()).get_missing_weights() == ["w"]


def test_a_plan_without_weights_says_what_to_give(trtexec: Trtexec) -> None:
    assert trtexec(*BUILD, "--stripWeights", "--saveEngine=net.plan", "--skipInference") == 0
    loaded = ("--loadEngine=net.plan", *QUICK)
    assert trtexec(*loaded, "--exportOutput=y.json") == 1
    said = "the engine of --loadEngine=net.plan holds no weights; give --refitFromOnnx=<file>, or --skipInference"
    assert f"[E] {said}\n" in trtexec.err
    assert trtexec.err.count("[E]") == 1
    assert not Path("y.json").exists()
    own = output(trtexec, *BUILD)
    filled = output(trtexec, *loaded, "--refitFromOnnx=net.onnx")
    np.testing.assert_allclose(filled, own, rtol=1e-5, atol=1e-5)
    for stop in (("--skipInference", "--dumpLayerInfo"), ("--timeDeserialize",)):
        assert trtexec(*loaded, *stop) == 0


def test_refits_that_cannot_be(trtexec: Trtexec) -> None:
    assert trtexec(*BUILD, "--saveEngine=net.plan", "--skipInference", "--dumpRefit") == 0
    assert "--dumpRefit is skipped: the engine is built without --refit" in trtexec.err
    loaded = ("--loadEngine=net.plan", *QUICK)
    assert trtexec(*loaded, "--refitFromOnnx=other.onnx") == 1
    assert (
        "--refitFromOnnx: the engine of --loadEngine=net.plan was built without --refit"
        in trtexec.err
    )
    wrong = onnx.load("net.onnx")
    wrong.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHTS[:2], "w"))
    onnx.save(wrong, "wrong.onnx")
    assert trtexec(*BUILD, "--refit", "--refitFromOnnx=wrong.onnx") == 1
    assert "[E] Engine refit from ONNX model failed." in trtexec.err
    assert trtexec(*BUILD, "--refit", "--refitFromOnnx=absent.onnx") == 1
    assert "--refitFromOnnx: there is no file absent.onnx" in trtexec.err
    assert "Start parsing" not in trtexec.out
