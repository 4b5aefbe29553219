"""NVIDIA's samples in Python run unchanged on substitute data.  TENSORRT_SAMPLES names a clone of NVIDIA/TensorRT."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import camshaft.tensorrt as trt
from checkouts import checkout, under
from sample_data import (
    COLOURS,
    classifier,
    write_bidaf,
    write_digits,
    write_picture,
    write_resnet50,
)

pytestmark = pytest.mark.slow
VARIABLE = "TENSORRT_SAMPLES"
Run = Callable[..., str]
refits = pytest.mark.skipif(not hasattr(trt, "Refitter"), reason="there is no Refitter yet")

RUNNER = """
import runpy, sys
del sys.argv[0]
sys.path[0] = {folder!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Ends a script that runs a sample after a preparation."""
PILLOW = """\
from PIL import Image
Image.ANTIALIAS = Image.LANCZOS  # its name before Pillow 10
"""
TOKENS = """\
import re
class data:
    find = staticmethod(lambda name: name)
def word_tokenize(text):
    return re.findall(r"\\w+|[^\\w\\s]", text)
"""
"""Stands in for the package nltk, which would fetch its tables."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_resnet50(folder)
    return folder


@pytest.fixture
def samples(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder samples/python of the release that the test names."""
    return (
        checkout(VARIABLE, tmp_path / "samples", request.param, "samples/python") / "samples/python"
    )


@pytest.fixture
def run(samples: Path, tmp_path: Path) -> Run:
    """Runs a sample with its arguments in an empty folder; returns what it prints.  It must exit with 0.

    path: a folder of modules that it finds.  first: what runs before it.
    """
    (work := tmp_path / "work").mkdir()

    def go(*command: Any, path: Path | None = None, first: str = "") -> str:
        if first:
            (script := tmp_path / "prepared.py").write_text(
                first + RUNNER.format(folder=str(command[0].parent))
            )
            command = (script, *command)
        done = subprocess.run(
            [sys.executable, "-m", "camshaft.tensorrt", *map(str, command)],
            cwd=work,
            env=os.environ | {"PYTHONPATH": under(*([path] if path else []))},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
        return done.stdout + done.stderr

    return go


def releases(*names: str) -> Any:
    return pytest.mark.parametrize("samples", names, indirect=True)


@releases("v8.6.1", "v10.13.3", "v11.1")
def test_introductory_parser_sample(samples: Path, run: Run, data: Path) -> None:
    said = run(samples / "introductory_parser_samples/onnx_resnet50.py", "-d", data, first=PILLOW)
    assert "\nCorrectly recognized" in "\n" + said


@releases("v10.13.3", "v11.1")
def test_progress_monitor(samples: Path, run: Run, data: Path) -> None:
    said = run(samples / "simple_progress_monitor/simple_progress_monitor.py", "-d", data)
    assert "Correctly recognized" in said
    bars = re.findall(r"( *)\[[=-]{10}\] (.+?) (\d+)/(\d+)$", said, re.M)
    assert {bool(indent) for indent, *_ in bars} == {False, True}  # a build, and phases of it
    last = {title: int(most) - 1 - int(done) for _, title, done, most in bars}
    assert len(last) > 3
    assert set(last.values()) == {0}  # each counts its steps to the end


@refits
@releases("v10.13.3", "v11.1")
def test_weight_stripping(samples: Path, run: Run, data: Path) -> None:
    folder = samples / "sample_weight_stripping"
    run(folder / "build_engines.py", "-d", data)
    sizes = [
        (folder.parents[2].parent / "work" / f"{n}_engine.trt").stat().st_size
        for n in ("stripped", "normal")
    ]
    assert sizes[0] < sizes[1]
    said = run(folder / "refit_engine_and_infer.py", "-d", data)
    for engine in ("Normal", "Refitted stripped"):
        assert f"{engine} engine correctly recognized" in said
    assert float(said.split("The MSE of the final layer output is")[1].split()[0]) == 0


@releases("v8.6.1", "v10.13.3", "v11.1")
def test_network_api_mnist(samples: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `torch`")
    write_digits(tmp_path / "digits")
    sample = samples / "network_api_pytorch_mnist"
    said = run(sample / "sample.py", path=tmp_path / "digits")
    case, found = (re.search(rf"^{n}: (\d)$", said, re.M) for n in ("Test Case", "Prediction"))
    assert case and found and case[1] == found[1]
    assert re.search(r"Accuracy: \d+/400 \((9\d|100)%\)", said.split("Test set")[-1])


@refits
@pytest.mark.parametrize(
    ("samples", "options"),
    [
        ("v8.6.1", ""),
        ("v10.13.3", "--weights-location=CPU"),
        ("v10.13.3", "--weights-location=GPU"),
        ("v11.1", "--weights-location=GPU"),
        ("v11.1", "--weights-location=CPU --version-compatible"),
    ],
    indirect=["samples"],
)
def test_refit(samples: Path, run: Run, tmp_path: Path, options: str) -> None:
    write_bidaf(tmp_path / "work")
    (stand := tmp_path / "stand" / "nltk").mkdir(parents=True)
    (stand / "__init__.py").write_text(TOKENS)
    script = samples / "engine_refit_onnx_bidaf/build_and_refit_engine.py"
    said = run(script, *options.split(), path=stand.parent)
    assert "Passed" in said.splitlines()  # behind it is the line that says who answers for tensorrt


@releases("v8.6.1", "v10.13.3")
def test_efficientnet_in_int8_by_its_calibrator(samples: Path, run: Run, tmp_path: Path) -> None:
    model = classifier("images", [1, 224, 224, 3], "Softmax", nhwc=True)
    (tmp_path / "work/model.onnx").write_bytes(model.SerializeToString())
    (pictures := tmp_path / "pictures").mkdir()
    for name in COLOURS:
        write_picture(pictures / name)
    folder = samples / "efficientnet"
    build = [folder / "build_engine.py", "-o", "model.onnx", "-e", "out/engine.trt"]
    calibrated = ["-p", "int8", "--calib_input", pictures, "--calib_batch_size", 1]
    said = run(*build, *calibrated)
    assert "Calibrating image 3 / 3" in said
    assert "Writing calibration cache" in said
    again = run(*build, *calibrated)
    assert "Using calibration cache" in again
    assert "Calibrating image" not in again
    inspected = _inspected(tmp_path / "work/out/engine.trt")
    assert "quantize" in inspected
    lines = run(folder / "infer.py", "-e", "out/engine.trt", "-i", pictures).splitlines()
    found = {Path(n).name: int(k) for n, k, *_ in (x.split("\t") for x in lines if "\t" in x)}
    assert found == COLOURS


def _inspected(plan: Path) -> str:
    """What the engine inspector says of a sample's engine; no sample asks it."""
    engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(plan.read_bytes())
    assert engine is not None
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    assert json.loads(text)["Layers"]
    return text
