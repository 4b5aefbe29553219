"""No command writes its results over a file that it reads, or over another result."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
import typer

import camshaft
from camshaft.cli.app import COMMANDS
from camshaft.cli.files import Use
from camshaft.errors import ConfigError, EngineFileError
from cli_models import QUICK, RNG, call, complaint, residual_net

SHAPES = ("--shapes", "x:1x3x8x8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, net.engine, x.npy; and soft.onnx, hard.onnx, links to net.onnx."""
    path = tmp_path_factory.mktemp("files")
    residual_net(path / "net.onnx")
    call("build", path / "net.onnx", *QUICK)
    np.save(path / "x.npy", RNG.standard_normal((1, 3, 8, 8)).astype(np.float32))
    (path / "soft.onnx").symlink_to("net.onnx")
    os.link(path / "net.onnx", path / "hard.onnx")
    return path


@pytest.mark.parametrize("written", ["net.onnx", "soft.onnx", "hard.onnx", "./net.onnx"])
@pytest.mark.parametrize(
    "words",
    [
        ("build", "net.onnx", "-o"),
        ("build", "net.onnx", "--json"),
        ("build", "net.onnx", "--timing-cache"),
        ("build", "net.onnx", "--int8", "--calibration", "x.npy", "--calibration-cache"),
        ("run", "net.onnx", *SHAPES, "--output"),
        ("run", "net.onnx", "--json"),
        ("bench", "net.onnx", "--json"),
        ("bench", "net.engine", "--against", "onnxruntime", "--model", "net.onnx", "--json"),
        ("inspect", "net.onnx", "--graph", "after", "--output"),
        ("inspect", "net.onnx", "--report"),
        ("compare", "net.onnx", "--json"),
    ],
)
def test_the_model_is_not_written_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], written: str
) -> None:
    monkeypatch.chdir(folder)
    before = Path("net.onnx").read_bytes()
    said = complaint(*words, written, *(() if "net.engine" in words else QUICK), code=2)
    assert written.removeprefix("./") in said and "MODEL" in said.upper() and "same file" in said
    option = "--output" if words[-1] == "-o" else words[-1]
    assert said.startswith(f"error: {option} ") and said.endswith(f"another file for {option}")
    assert Path("net.onnx").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("run", "net.engine", "--output", "net.engine"),
        ("run", "net.engine", "-i", "x.npy", "--output", "x.npy"),
        ("run", "net.engine", "-i", "x=x.npy", "--json", "x.npy"),
        ("run", "net.engine", "--output", "new.npz", "--json", "new.npz"),
        ("build", "net.onnx", "-o", "new.engine", "--json", "new.engine", *QUICK),
        ("build", "net.onnx", "--int8", "--calib", "x.npy", "--timing-cache", "x.npy", *QUICK),
        ("build", "net.onnx", "--int8", "--calib", ".", "-o", "x.npy", *QUICK),
        ("compare", "net.onnx", "--engine", "net.engine", "--json", "net.engine"),
    ],
)
def test_no_file_is_written_over_another_of_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert "same file" in complaint(*words, code=2)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_weights_beside_the_model_are_part_of_it(tmp_path: Path) -> None:
    model = onnx.load(residual_net(tmp_path / "net.onnx"))
    onnx.save_model(
        model, tmp_path / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    before = (tmp_path / "w.bin").read_bytes()
    command = ("build", tmp_path / "net.onnx", *QUICK, "-o")
    assert "weights of MODEL" in complaint(*command, tmp_path / "w.bin", code=2)
    assert (tmp_path / "w.bin").read_bytes() == before
    call(*command, tmp_path / "net.engine")
    call(*command, tmp_path / "net.engine")


def test_the_default_engine_file_may_be_a_link_to_the_model(tmp_path: Path) -> None:
    residual_net(tmp_path / "a.onnx")
    (tmp_path / "a.engine").symlink_to("a.onnx")
    assert "same file" in complaint("build", tmp_path / "a.onnx", *QUICK, code=2)


def test_special_files_are_no_results_that_could_be_lost(folder: Path) -> None:
    call("run", folder / "net.engine", "--output", os.devnull, "--json", os.devnull)


def test_every_parameter_that_names_files_says_what_is_done_with_them() -> None:
    for name in COMMANDS:
        function = getattr(importlib.import_module(f"camshaft.cli.{name}"), name)
        for p in inspect.signature(function, eval_str=True).parameters.values():
            if _names_files(p.annotation):
                assert any(isinstance(a, Use) for a in get_args(p.annotation)), (name, p.name)


def _names_files(annotation: Any) -> bool:
    info = next(a for a in get_args(annotation) if isinstance(a, typer.models.ParameterInfo))
    return "Path" in str(get_args(annotation)[0]) or "FILE" in str(info.metavar)


@pytest.mark.parametrize("cache", ["timing_cache", "calibration_cache"])
def test_a_cache_is_not_the_model(tmp_path: Path, cache: str) -> None:
    model = residual_net(tmp_path / "net.onnx")
    before = model.read_bytes()
    data = [{"x": np.ones((1, 3, 8, 8), np.float32)}]
    with pytest.raises(ConfigError, match=f"{cache} is .*net.onnx.* the model"):
        camshaft.build(model, precision={"int8"}, calibration=data, **{cache: model})
    with pytest.raises(ConfigError, match="the file of timing_cache"):
        one = tmp_path / "c.cache"
        camshaft.build(
            model, precision={"int8"}, calibration=data, timing_cache=one, calibration_cache=one
        )
    assert model.read_bytes() == before


@pytest.mark.parametrize("name", ["net.onnx", "net.bin", "net.engine"])
def test_a_model_that_is_loaded_says_how_it_is_built(tmp_path: Path, name: str) -> None:
    model = residual_net(tmp_path / name)
    with pytest.raises(EngineFileError, match="is an ONNX model") as caught:
        camshaft.load(model)
    said = str(caught.value)
    assert f"camshaft.build({str(model)!r})" in said
    assert f"camshaft build {model} -o " in said and f"-o {model}`" not in said


def test_a_model_that_is_not_there_is_no_file_to_write_an_engine_to(tmp_path: Path) -> None:
    model = tmp_path / "none.onnx"
    with pytest.raises(EngineFileError, match=r"does not exist.*-o .*none\.engine`"):
        camshaft.load(model)
