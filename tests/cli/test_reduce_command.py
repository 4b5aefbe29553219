"""`camshaft reduce`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from camshaft.cli.arrays import Given
from camshaft.cli.failing import build_check, feeds_for
from camshaft.cli.options import BuildOptions
from camshaft.cli.output import Output
from camshaft.compare import files
from camshaft.compare.others import run_other
from camshaft.compare.reduction.check import INPUTS, Check, Outcome, Rule
from camshaft.compare.reduction.source import Candidate
from cli_models import QUICK, RNG, call, call_json, complaint, residual_net, save
from open_engines import open_model

HAS = "import sys; sys.exit(9 * (sys.argv[2].encode() in open(sys.argv[1], 'rb').read()))"


def has(operator: str) -> str:
    """A check that fails with code 9 for a model in which a name occurs."""
    return shlex.join([sys.executable, "-S", "-c", HAS, "{model}", operator])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("reduce") / "net.onnx")


def test_a_model_is_reduced_by_a_command(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    command = ("reduce", model, "-o", small, "--with", "reference", "--check", has("Conv"))
    data = call_json(*command, "--fail-code", 9)
    assert data["operators"] == {"Conv": 1} and data["complete"]
    assert (data["nodes"], data["nodes_before"]) == (1, 8)
    assert data["failure"] == "ends with exit code 9"
    assert data["command"][-2:] == [str(small), "Conv"]
    proto = onnx.load(small)
    onnx.checker.check_model(proto, full_check=True)
    feeds = dict(np.load(small.with_suffix(".npz")))
    names = [v.name for v in proto.graph.output]
    assert run_other("reference", proto, feeds, names)
    text = call(*command, "--save-inputs", tmp_path / "other.npz").stdout
    assert "8 before, 1 now: 1 Conv" in text and (tmp_path / "other.npz").is_file()


def test_what_does_not_fail_is_told_and_nothing_is_written(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    command = ("reduce", model, "-o", small, "--with", "reference", "--check")
    result = call(*command, has("Det"), code=1)
    assert "does not fail: the check ends with exit code 0" in result.stdout
    call(*command, has("Conv"), "--fail-code", 3, code=1)
    call(*command, has("Conv"), "--ignore-fail-code", 9, code=1)
    call(*command, has("Conv"), "--fail-regex", "wrong", code=1)
    assert list(tmp_path.iterdir()) == []


def test_the_default_check_compares_with_another_runtime(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    command = ("reduce", model, "-o", small, "--with", "reference", *QUICK)
    data = call_json(*command, "--tolerance", 1e-12, "--max-checks", 3)
    assert data["failure"] == "ends with exit code 1" and data["checks"] == 3
    assert data["nodes"] < 8 and not data["complete"]
    assert data["command"][:3] == ["camshaft", "compare", str(small)]
    result = call(*data["command"][1:], code=1)
    assert "failed: " in result.stdout


def test_what_cannot_be_reduced_is_refused(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    command = ("reduce", model, "-o", small, "--with", "reference")
    assert "{model}" in complaint(*command, "--check", "true", code=2)
    assert "--tolerance" in complaint(*command, "--check", has("x"), "--tolerance", 1, code=2)
    assert "--fail-regex" in complaint(*command, "--fail-regex", "(", code=2)
    assert ".onnx" in complaint("reduce", model, "-o", tmp_path / "small.bin", code=2)
    assert ".npz" in complaint(*command, "--save-inputs", tmp_path / "x.npy", code=2)
    assert "--state" in complaint(*command, "--state", "x=y", code=2)
    assert "same file" in complaint("reduce", model, "-o", model, code=2)
    assert "there is no file" in complaint("reduce", tmp_path / "no.onnx", "-o", small, code=3)
    np.savez(tmp_path / "x.npz", z=np.ones(3))
    assert "'x'" in complaint(*command, "--inputs", tmp_path / "x.npz", code=7)
    ranges = ("--int8", "--dynamic-ranges", tmp_path / "x.npz")
    assert "--calibration" in complaint(*command, *ranges, code=2)


# -- the default check ---------------------------------------------------------------------------


def words(candidate: Candidate, **options: Any) -> list[str]:
    check = build_check(BuildOptions(**options), "reference", None, Rule(), 1, Output(None))
    return list(check.words(candidate))[8:]


def test_options_speak_of_what_a_part_has(model: Path) -> None:
    said = {
        "shapes": ["x:1x3x8x8,z:4", "y:2"],
        "layer_precisions": ["conv1:fp32,gone:fp32"],
        "values": ["x=3", "z=1"],
        "threads": 2,
        "int8": True,
        "skip_padding": False,
        "level": 1,
    }
    proto = onnx.load(model)
    found = words(Candidate(proto, {}), **said)
    for option, value in (
        ("--shapes", "x:1x3x8x8"),
        ("--layer-precisions", "conv1:fp32"),
        ("--values", "x=3"),
        ("--threads", "2"),
        ("--level", "1"),
    ):
        assert found[found.index(option) + 1] == value
        assert found.count(option) == 1
    assert "--int8" in found and "--no-skip-padding" in found
    assert "--shapes" not in words(Candidate(proto, {}, fixed=True), **said)


def test_parts_are_calibrated_with_their_own_inputs(model: Path) -> None:
    found = words(Candidate(onnx.load(model), {}), int8=True, calibration=Path("data.npz"))
    assert found[found.index("--calibration") + 1] == INPUTS and "data.npz" not in found


def test_inputs_are_found_for_models_that_cannot_be_imported(tmp_path: Path) -> None:
    nodes = [helper.make_node("Odd", ["x", "n"], ["y"], "odd", domain="com.example")]
    proto = open_model(nodes, {"x": ["batch", 3], "n": [2]}, ["y"], {})
    options = BuildOptions(shapes=["x:batch=1..5..9x3"], values=["n=1,2"])
    changed, feeds = feeds_for(proto, options, Given(), 0, Output(None))
    assert {n: a.shape for n, a in feeds.items()} == {"x": (5, 3)}
    (fixed,) = changed.graph.initializer
    assert numpy_helper.to_array(fixed).tolist() == [1, 2] and fixed.name == "n"
    assert [v.name for v in changed.graph.input] == ["x"]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Outcome]]:
    """Outcomes that checks have, one after the other; the last stays."""
    outcomes: list[Outcome] = []
    monkeypatch.setattr(
        Check, "outcome", lambda self, c: outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
    )
    yield outcomes


@pytest.mark.parametrize(
    ("code", "output", "words"),
    [
        (2, "error: no such option", "--fail-code 2"),
        (3, "error: reference cannot run the model: odd", "--against"),
    ],
)
def test_faults_of_others_are_not_the_models(
    model: Path, tmp_path: Path, failing: list[Outcome], code: int, output: str, words: str
) -> None:
    failing.append(Outcome(code, output))
    result = call("reduce", model, "-o", tmp_path / "s.onnx", "--with", "reference", code=code)
    assert words in result.stderr.splitlines()[-1]
    assert not (tmp_path / "s.onnx").exists()


def test_the_same_failure_is_followed(model: Path, tmp_path: Path, failing: list[Outcome]) -> None:
    failing += [Outcome(5, "error: kernel 'a' is wrong"), Outcome(5, "error: no memory")]
    small = tmp_path / "s.onnx"
    data = call_json("reduce", model, "-o", small, "--with", "reference")
    assert data["nodes"] == 8  # no part fails by the same error


# -- large models --------------------------------------------------------------------------------


@pytest.mark.peers
def test_models_too_large_for_one_file_are_written_as_two(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 1000)
    proto = onnx.load(model)
    assert files.weight_bytes(proto) == 4 * (8 * 3 * 9 + 8 * 8 * 9 + 80)
    files.write_model(proto, tmp_path / "two.onnx")
    assert (tmp_path / "two.onnx.weights").is_file()
    assert (tmp_path / "two.onnx").stat().st_size < 1500
    x = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    found, want = (run_other(o, proto, x, ["y"])["y"] for o in ("onnxruntime", "reference"))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_what_no_file_holds_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 100)
    command = ("reduce", model, "-o", tmp_path / "s.onnx", "--with", "reference")
    result = call(*command, "--check", has("x"), "--max-checks", 1, code=3)
    assert "more than one ONNX file holds" in result.stderr
    assert not (tmp_path / "s.onnx").exists()


def test_outputs_may_be_called_file(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["file"], "neg")]
    save(tmp_path / "net.onnx", nodes, {"x": (2,)}, {"file": (2,)}, [])
    call("run", tmp_path / "net.onnx", *QUICK, "--output", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["file"].shape == (2,)
