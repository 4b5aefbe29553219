"""Scripts for TensorRT 7 and 8, as talks, slides and threads about it show them, run unchanged on the CPU beside ONNX Runtime."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="compared with ONNX Runtime (extra onnxruntime)")

from seed_models import ResNet, images, largest, run  # noqa: E402

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
Array = np.ndarray[Any, Any]
CHANNELS, SIZE = 3, 16


def launch(name: str, *arguments: Path) -> str:
    """What a script prints."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("CAMSHAFT_TRT")}
    command = [sys.executable, "-m", "camshaft.tensorrt", HERE / name, *arguments]
    done = subprocess.run(command, env=known | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kept(folder: Path, name: str, model: Any) -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def saved(folder: Path, name: str, array: Array) -> Path:
    np.save(folder / name, array)
    return folder / name


def error(got: Array, want: Array) -> float:
    """Relative to what there is."""
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.fixture(scope="module")
def pictures() -> Array:
    return images(8, CHANNELS, SIZE, 1)


@pytest.fixture(scope="module")
def ranges() -> dict[str, float]:
    return largest(ResNet(CHANNELS, SIZE).model(), images(20, CHANNELS, SIZE, 2))


@pytest.fixture(scope="module")
def narrow(ranges: dict[str, float]) -> dict[str, float]:
    """Ranges in which elements saturate, so that a result tells whether they are used."""
    return ranges | {"input": ranges["input"] / 3, "a.relu": ranges["a.relu"] / 2}


def test_a_resnet_trained_with_quantization(
    tmp_path: Path, pictures: Array, narrow: dict[str, float]
) -> None:
    model = ResNet(CHANNELS, SIZE, narrow).model()
    printed = launch(
        "qat_resnet.py", kept(tmp_path, "qat.onnx", model), saved(tmp_path, "images.npy", pictures), tmp_path / "results.npy"
    )  # fmt: skip
    got, want = np.load(tmp_path / "results.npy"), run(model, pictures)
    plain = run(ResNet(CHANNELS, SIZE).model(), pictures)
    assert error(got, want) < 0.01
    assert error(want, plain) > 0.1
    assert np.array_equal(got.argmax(-1), want.argmax(-1))
    assert "[TRT] [V]" in printed
    assert "[TRT] [E]" not in printed


def test_ranges_of_a_file_say_where_bytes_saturate(
    tmp_path: Path, pictures: Array, ranges: dict[str, float], narrow: dict[str, float]
) -> None:
    (tmp_path / "ranges.txt").write_text("".join(f"{n}:{v}\n" for n, v in narrow.items()))
    plain = ResNet(CHANNELS, SIZE).model()
    launch(
        "per_tensor_ranges.py", kept(tmp_path, "plain.onnx", plain), tmp_path / "ranges.txt",
        saved(tmp_path, "images.npy", pictures), tmp_path / "results.npy",
    )  # fmt: skip
    got = np.load(tmp_path / "results.npy")
    want = run(ResNet(CHANNELS, SIZE, narrow).model(), pictures)
    wide = run(ResNet(CHANNELS, SIZE, ranges).model(), pictures)
    assert error(got, want) < 0.03
    assert error(wide, want) > 0.1


def test_an_entropy_calibrator_reads_batches_once(tmp_path: Path, pictures: Array) -> None:
    folder = tmp_path / "calibration"
    folder.mkdir()
    for i, image in enumerate(images(20, CHANNELS, SIZE, 2)):
        np.save(folder / f"{i:02}.npy", image)
    given = [
        kept(tmp_path, "plain.onnx", ResNet(CHANNELS, SIZE).model("batch")), folder, tmp_path / "calibration.cache",
        saved(tmp_path, "images.npy", pictures), tmp_path / "results.npy",
    ]  # fmt: skip
    want = run(ResNet(CHANNELS, SIZE).model(), pictures)
    printed = launch("entropy_calibration.py", *given)
    first = np.load(tmp_path / "results.npy")
    assert printed.count("batch ") >= 4
    assert error(first, want) < 0.1
    assert np.mean(first.argmax(-1) == want.argmax(-1)) >= 0.75
    header, *entries = (tmp_path / "calibration.cache").read_text().splitlines()
    assert header.endswith("EntropyCalibration2")
    names = {entry.split(":")[0] for entry in entries}
    assert {"input", "stem.relu"} <= names
    again = launch("entropy_calibration.py", *given)
    assert "batch 1" not in again
    assert error(np.load(tmp_path / "results.npy"), want) < 0.1


def idx(path: Path, magic: int, array: Array) -> None:
    """One of MNIST's files."""
    path.write_bytes(struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes())


def test_the_sample_for_int8_compares_three_precisions(tmp_path: Path) -> None:
    digits = images(60, 1, 28, 3)[:, 0]
    raw = np.clip(digits * 60 + 128, 0, 255).astype(np.uint8)
    model = ResNet(1, 28).model()
    want = run(model, raw[:, None].astype(np.float32) / 255)
    idx(tmp_path / "train-images-idx3-ubyte", 0x803, raw)
    idx(tmp_path / "train-labels-idx1-ubyte", 0x801, want.argmax(-1).astype(np.uint8))
    printed = launch(
        "sample_int8.py", kept(tmp_path, "mnist.onnx", model), tmp_path, tmp_path / "results.npz"
    )
    got = dict(np.load(tmp_path / "results.npz"))
    for name, most in {"FLOAT": 1e-4, "HALF": 1e-2, "INT8": 0.1}.items():
        assert error(got[name].reshape(want.shape), want) < most, name
    assert "FLOAT: top 1 is right for 100%" in printed
    assert "CalibrationTablemnist" in printed
