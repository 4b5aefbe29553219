"""`camshaft quantize`: files in, an engine, a page and a Q/DQ model out; what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import camshaft
from cli_models import QUICK, RNG, call, call_json, complaint, residual_net

FUNCTION = """
import numpy as np

def closeness(run):
    return -float(np.abs(run({"x": np.ones((1, 3, 8, 8), np.float32)})["y"]).max())

LIMIT = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, calibration.npz (6 batches), judged.py."""
    path = tmp_path_factory.mktemp("quantize")
    residual_net(path / "net.onnx")
    batches = RNG.standard_normal((6, 3, 8, 8)).astype(np.float32)
    np.savez(path / "calibration.npz", x=batches)
    (path / "judged.py").write_text(FUNCTION)
    return path


def test_engine_page_and_model(folder: Path, tmp_path: Path) -> None:
    engine, page, export = (tmp_path / n for n in ("e.engine", "report.html", "qdq.onnx"))
    data = call_json(
        "quantize", folder / "net.onnx", "--calibration", folder / "calibration.npz", "-o", engine,
        "--report", page, "--export", export, "--max-drop", "20", *QUICK,
    )  # fmt: skip
    assert data["score"] >= data["allowed"] == data["reference"] - 20
    assert data["metric"] == "agreement" and data["trials"]
    assert any(why.startswith("int8") for why in data["reasons"].values())
    assert camshaft.load(engine).notes
    assert "<html" in page.read_text()
    ops = {n.op_type for n in onnx.load(export).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= ops


def test_a_function_of_a_module(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    model, data = folder / "net.onnx", folder / "calibration.npz"
    arguments = ["quantize", model, "--calibration", data, "-o", tmp_path / "e.engine", *QUICK]
    text = call(*arguments, "--evaluate", "judged:closeness", "--max-drop", "1000").stdout
    assert "closeness" in text and "1 engines judged" in text
    assert "has no function 'LIMIT'" in complaint(*arguments, "--evaluate", "judged:LIMIT", code=2)
    assert "cannot import 'nowhere'" in complaint(*arguments, "--evaluate", "nowhere:f", code=2)


def test_labels_in_files(folder: Path, tmp_path: Path) -> None:
    model, data = folder / "net.onnx", folder / "calibration.npz"
    arguments = ["quantize", model, "--calibration", data, "-o", tmp_path / "e.engine", *QUICK]
    x = RNG.standard_normal((4, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "odd.npz", x=x, labels=np.arange(5))
    said = complaint(*arguments, "--evaluate", tmp_path / "odd.npz", code=4)
    assert "has 5 labels for 4 batches" in said
