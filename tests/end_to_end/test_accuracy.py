"""What INT8 costs: the accuracy targets on real photos (slow), and what a build says of its biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camshaft.config import BuildConfig
from camshaft.session import BuildSession
from onnx_models import two_convs


def test_a_build_without_data_says_that_biases_are_not_corrected(tmp_path: Path) -> None:
    options = {
        "precision": {"int8"},
        "optimization_level": 1,
        "threads": 1,
        "calibration_cache": tmp_path / "ranges.cache",
    }
    config = BuildConfig.of(None, options)
    rng = np.random.default_rng(0)
    batches = [{"x": rng.standard_normal((1, 4, 9, 9)).astype(np.float32)} for _ in range(4)]
    stories = []
    for calibration, changes in ((batches, {}), (None, {}), (None, {"bias_correction": False})):
        session = BuildSession(two_convs(), BuildConfig.of(config, changes), calibration)
        session.run()
        stories.append("not corrected" in session.precision_summary)
    assert stories == [False, True, False]


@pytest.mark.peers
def test_verdicts_compare_with_the_targets() -> None:
    accuracy = pytest.importorskip("benchmarks.accuracy", reason="needs onnxruntime and pillow")

    def row(engine: str, top1: float, agreement: float, error: float) -> object:
        return accuracy.Accuracy("efficientnet_lite0", engine, top1, agreement, 25.0, error)

    rows = [
        row(accuracy.FP32, 87.6, 100.0, 2e-6),
        row(accuracy.INT8, 87.3, 98.0, 0.1),
        row(accuracy.ALL_INT8, 87.2, 97.8, 0.1),
    ]
    words = [line.partition(" ")[0] for line in accuracy.verdicts(rows)]
    assert words == ["MET", "MET", "MET", "MISSED", "MISSED"]


@pytest.mark.peers
def test_accuracy_is_skipped_without_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = pytest.importorskip("benchmarks.accuracy", reason="needs onnxruntime and pillow")
    monkeypatch.setattr(accuracy, "SHARED", tmp_path)
    accuracy.main([])
    assert str(tmp_path) in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1.1"])
def test_int8_meets_its_accuracy_targets(name: str) -> None:
    pytest.importorskip("onnxruntime", reason="the reference needs onnxruntime")
    if name == "efficientnet_lite0":
        pytest.importorskip("torch", reason="the model is exported with torch")
    accuracy = pytest.importorskip("benchmarks.accuracy", reason="needs pillow")
    if not (accuracy.SHARED / "data" / "photos-labelled").is_dir():
        pytest.skip(f"needs the labelled photos in {accuracy.SHARED / 'data'}")
    verdicts = accuracy.verdicts(accuracy.evaluate(name, level=1))
    assert len(verdicts) >= 3
    assert not [line for line in verdicts if not line.startswith("MET")]
