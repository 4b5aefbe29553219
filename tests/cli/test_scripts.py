"""Models that decide while they run, on the command line: what random inputs are, numbers given, strings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from cli_models import QUICK, call, call_json, complaint
from script_models import text_model

COUNTED = """(int64[1] most, bool go, float[4] x, int64[k] ids) => (float[4] y, int64[k] same) {
    one = Constant <value_ints = [1]> ()
    empty = Constant <value = int64[0] {}> ()
    count = Reshape (most, empty)
    true = Constant <value = bool {1}> ()
    y = Loop (count, go, x) <body = round (int64 i, bool on, float[4] a) => (bool more, float[4] b) {
        more = Identity (on)
        s = Add (a, a)
        b = Neg (s)
    }>
    same = Identity (ids)
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scripts")
    onnx.save(text_model(COUNTED), path / "net.onnx")
    call("build", path / "net.onnx", "-o", path / "net.engine", *QUICK)
    np.savez(path / "x.npz", x=np.ones(4, np.float32), ids=np.arange(3))
    return path


def largest(*arguments: object) -> float:
    found: float = call_json("run", *arguments)["outputs"]["y"]["max"]
    return found


def test_loops_run_on_random_inputs(folder: Path) -> None:
    for source in ((folder / "net.engine",), (folder / "net.onnx", *QUICK)):
        assert "most = 8" in call("run", *source).stderr
    ran = largest(folder / "net.engine")
    none = largest(folder / "net.engine", "--values", "most=0")
    assert ran == pytest.approx(none * 2**8)
    assert largest(folder / "net.engine", "--values", "go=false") == none


def test_numbers_of_one_run(folder: Path) -> None:
    engine, given = folder / "net.engine", ("--inputs", folder / "x.npz")
    assert largest(engine, *given, "--values", "most=4", "--values", "go=true") == 16
    out = call_json("run", engine, "--values", "ids=4,5,6")["outputs"]["same"]
    assert (out["shape"], out["min"], out["max"]) == ([3], 4, 6)
    for wrong, words in (
        ("x=1", r"'x' holds f32\[4\]; give it with --input x=FILE.npy"),
        ("nothing=1", "'nothing'; the engine's integer and bool inputs are most, go, ids"),
        ("go=1", "input 'go' holds bool, not 1"),
        ("most=1,2", r"2 numbers, and it is i64\[1\]"),
    ):
        assert words.replace("\\", "") in complaint("run", engine, "--values", wrong, code=2)
    twice = complaint("run", engine, *given, "--values", "ids=1", code=2)
    assert "'ids' is given by --values and as an input" in twice


def test_strings_are_given_in_files(tmp_path: Path) -> None:
    model = text_model(
        """(string[n] t) => (string[n] u) { u = StringNormalizer <case_change_action = "UPPER"> (t) }"""
    )
    onnx.save(model, tmp_path / "net.onnx")
    assert "give it with --input t=FILE.npy" in complaint(
        "run", tmp_path / "net.onnx", *QUICK, code=2
    )
    np.save(tmp_path / "t.npy", np.array(["ab", "c"]))
    given = ("-i", f"t={tmp_path / 't.npy'}")
    found = call_json("run", tmp_path / "net.onnx", *QUICK, *given)["outputs"]["u"]
    assert (found["dtype"], found["shape"]) == ("str", [2])
    call("build", tmp_path / "net.onnx", "-o", tmp_path / "net.engine", *QUICK)
    assert call_json("run", tmp_path / "net.engine", *given)["outputs"]["u"] == found
