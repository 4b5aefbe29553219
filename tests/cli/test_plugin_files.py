"""Plugins on command lines: a Python file or a module that registers them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import camshaft
from camshaft.tensorrt.trtexec.main import main as trtexec
from cli_models import QUICK, call, complaint

SOURCE = """
import camshaft
import numpy as np

@camshaft.plugin("files::Twice")
def twice(x):
    return 2 * x
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ops.py, which registers a plugin, and net.onnx, which has a node of it."""
    (tmp_path / "ops.py").write_text(SOURCE)
    node = helper.make_node("Twice", ["x"], ["y"], domain="files")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (2, 3)) for n in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("files", 1)]
    onnx.save(
        helper.make_model(graph, opset_imports=imports, ir_version=8), str(tmp_path / "net.onnx")
    )
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    yield tmp_path
    camshaft.ir.plugins.registry.unregister("files::Twice")
    for name in set(sys.modules) - modules:
        if name.startswith("camshaft_plugins_") or name == "twice_ops":
            del sys.modules[name]


@pytest.mark.parametrize("before", [False, True])
def test_a_file_of_plugins_is_imported_wherever_it_stands(folder: Path, before: bool) -> None:
    given = ["--plugins", "ops.py"]
    rest = ["build", "net.onnx", "-o", "net.engine", *QUICK]
    call(*([*given, *rest] if before else [*rest, *given]))
    np.savez("in.npz", x=np.ones((2, 3), np.float32))
    call("run", "net.engine", "--inputs", "in.npz", "--output", "out.npz", "--plugins=ops.py")
    np.testing.assert_array_equal(np.load("out.npz")["y"], np.full((2, 3), 2, np.float32))


def test_without_it_the_model_is_refused(folder: Path) -> None:
    assert "Twice" in complaint("build", "net.onnx", "-o", "net.engine", *QUICK, code=3)


def test_a_module_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "twice_ops.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(folder)
    call("build", "net.onnx", "-o", "net.engine", *QUICK, "--plugins", "twice_ops")
    assert Path("net.engine").stat().st_size


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("no.py", None, "--plugins: there is no file 'no.py'"),
        ("no_such_module", None, "--plugins no_such_module: ModuleNotFoundError"),
        ("bad.py", "1 / 0", "--plugins bad.py: ZeroDivisionError"),
        ("bad.py", "x = (", "--plugins bad.py: SyntaxError"),
    ],
)
def test_files_that_cannot_be(folder: Path, name: str, text: str | None, says: str) -> None:
    if text is not None:
        (folder / name).write_text(text)
    command = ["build", "net.onnx", "-o", "net.engine", *QUICK, "--plugins", name]
    assert says in complaint(*command, code=2)
    assert not Path("net.engine").exists()


def test_trtexec_takes_python_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--builderOptimizationLevel=0", "--skipInference"]
    assert trtexec(["--onnx=net.onnx", *quick, "--plugins=ops.py", "--saveEngine=net.plan"]) == 0
    assert "Loaded plugins of ops.py" in capsys.readouterr().out
    for flag in ("--plugins", "--staticPlugins"):
        assert trtexec(["--onnx=net.onnx", *quick, f"{flag}=libmy.so"]) == 1
        assert f"{flag}=libmy.so: plugin libraries hold kernels" in capsys.readouterr().err
    assert trtexec(["--onnx=net.onnx", *quick, "--dynamicPlugins=no.py"]) == 1
    assert "--dynamicPlugins: there is no file 'no.py'" in capsys.readouterr().err
