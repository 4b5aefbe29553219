"""`camshaft quantize`: files in, an engine, a page and a Q/DQ model out; what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import camshaft
from cli_models import QUICK, RNG, call, call_json, complaint, residual_net
from onnx_models import one_node

FUNCTION = """
import numpy as np

def closeness(run):
    return -float(np.abs(run({"x": np.ones((1, 3, 8, 8), np.float32)})["y"]).max())

LIMIT = 3

def broken(run):
    return {}["nope"]

def nan(run):
    return float("nan")
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
    assert "closeness" in text and "1 engine judged" in text
    assert "has no function 'LIMIT'" in complaint(*arguments, "--evaluate", "judged:LIMIT", code=2)
    said = complaint(*arguments, "--evaluate", "judged:broken", "--max-drop", "1", code=2)
    assert "--evaluate 'judged:broken': the function raised KeyError: 'nope'" in said
    said = complaint(*arguments, "--evaluate", "judged:nan", "--max-drop", "1", code=2)
    assert "nan returned nan for the float network" in said
    assert "cannot import 'nowhere'" in complaint(*arguments, "--evaluate", "nowhere:f", code=2)


def test_labels_in_files(folder: Path, tmp_path: Path) -> None:
    model, data = folder / "net.onnx", folder / "calibration.npz"
    arguments = ["quantize", model, "--calibration", data, "-o", tmp_path / "e.engine", *QUICK]
    x = RNG.standard_normal((4, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "odd.npz", x=x, labels=np.arange(5))
    said = complaint(*arguments, "--evaluate", tmp_path / "odd.npz", code=4)
    assert "has 5 labels for 4 batches" in said


DETECTOR = """
import numpy as np

def squares(outputs):
    \"\"\"A square for each output, as large as it says.\"\"\"
    values = outputs["y"].reshape(1, -1)[0].astype(float)
    corner = np.stack([100.0 * np.arange(10), np.zeros(10)], 1)
    side = 10 + np.abs(values)[:, None]
    return np.concatenate([corner, corner + side], 1), values, np.zeros(10, int)
"""


def test_boxes_in_files_and_a_function_that_decodes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squares.py").write_text(DETECTOR)
    model, data = folder / "net.onnx", folder / "calibration.npz"
    arguments = ["quantize", model, "--calibration", data, "-o", tmp_path / "e.engine", *QUICK]
    x = np.load(data)["x"][:2]
    boxes = np.array([[[0, 0, 10, 10], [100, 0, 110, 10]], [[0, 0, 10, 10], [0, 0, 0, 0]]])
    np.savez("truth.npz", x=x, boxes=boxes, labels=[[0, 0], [0, -1]])
    judged = ["--evaluate", "truth.npz", "--max-drop", "100"]
    made = call_json(*arguments, *judged, "--decode", "squares:squares", "--metric", "map50")
    assert made["metric"] == "map50" and 0 < made["reference"] <= 100
    assert call_json(*arguments, *judged, "--decode", "squares:squares")["metric"] == "map"
    said = complaint(*arguments, *judged, code=2)
    assert "no boxes, scores and labels" in said and "(--decode)" in said
    np.savez("odd.npz", x=x, boxes=boxes[0], labels=[0, 0])
    said = complaint(*arguments, "--evaluate", "odd.npz", code=4)
    assert "boxes [2, 4]" in said and "for 2 batches" in said
    assert "give MODULE:FUNCTION" in complaint(*arguments, *judged, "--decode", "squares", code=2)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ("--metric", "top1"),
            2,
            "--metric 'top1' needs labels: give files with an array 'labels'",
        ),
        (("--metric", "best"), 2, "--metric 'best' is unknown"),
        (("--metric", "map"), 2, "give files with arrays 'boxes' and 'labels' beside the inputs"),
        (("--strongly-typed",), 2, "--strongly-typed given to quantize"),
        (("--evaluate", "judged:closeness"), 2, "say --max-drop in it"),
        (("--evaluate", "judged:closeness", "--metric", "top1"), 2, "a function as --evaluate,"),
        (("--evaluate", "wrong.npz"), 2, "--evaluate: top1 of the float network is 0"),
        (("--evaluate", "wrong.npz", "--metric", "map"), 2, "a detector's are arrays 'boxes' and"),
    ],
)
def test_mistakes_are_told_in_options(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(folder)
    data = np.load("calibration.npz")["x"][:1]
    want = camshaft.build("net.onnx", threads=1, optimization_level=1)({"x": data})["y"]
    np.savez("wrong.npz", x=data, labels=[int(want.reshape(-1).argmin())])
    told = complaint(
        "quantize", "net.onnx", "--calibration", "calibration.npz", *QUICK, *options, code=code
    )
    assert said in told
    for python in ("evaluate=", "metric=", "max_drop", "decode=", "[(", "{"):
        assert python not in told


def test_without_calibration_data_the_option_is_named(folder: Path) -> None:
    told = complaint(
        "quantize", folder / "net.onnx", "--evaluate", folder / "calibration.npz", *QUICK, code=4
    )
    assert "(--calibration)" in told and "samples of --evaluate are no calibration data" in told


def test_what_cannot_be_exported_leaves_the_engine_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard ONNX has no form for recurrent layers as they are built."""
    monkeypatch.chdir(tmp_path)
    weights = {1: RNG.standard_normal((1, 32, 16)), 2: RNG.standard_normal((1, 32, 8))}
    x = RNG.standard_normal((5, 1, 16)).astype(np.float32)
    given = {n: w.astype(np.float32) for n, w in weights.items()}
    model, _ = one_node("LSTM", [x], given, hidden_size=8)
    onnx.save(model, "net.onnx")
    np.savez("data.npz", **{model.graph.input[0].name: x[None]})
    files = ["--export", "qdq.onnx", "-o", "e.engine"]
    quantize = ["quantize", "net.onnx", "--calibration", "data.npz", "--report", "r.html", *files]
    for arguments in (quantize, ["build", "net.onnx", *files]):
        result = call(*arguments, *QUICK, code=3)
        assert "cannot be exported: recurrent has no form" in result.stderr
        assert "engine     e.engine" in result.stdout and "qdq.onnx" not in result.stdout
        assert camshaft.load("e.engine").notes and not Path("qdq.onnx").exists()
        Path("e.engine").unlink()
    assert "<html" in Path("r.html").read_text()
