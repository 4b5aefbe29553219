"""Plugins on command lines: a Python file or a module that registers them."""

from __future__ import annotations

import json
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
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("camshaft.ir.plugins.modules._IMPORTED", {})
    modules = set(sys.modules)
    yield tmp_path
    camshaft.ir.plugins.registry.unregister("files::Twice")
    for name in set(sys.modules) - modules:
        if name.startswith(("ops_", "twice_ops", "beside")):
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
        ("", None, "--plugins: '' is no Python file or module"),
        (".", None, "--plugins: '.' is no Python file or module"),
        ("bad.py", "raise SystemExit(0)", "--plugins bad.py: SystemExit: 0"),
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


def test_an_option_without_a_value(folder: Path) -> None:
    result = call("build", "net.onnx", "-o", "net.engine", "--plugins", code=2)
    assert "--plugins" in result.stderr and "it needs a Python file or module" in result.stderr


def test_files_import_what_lies_beside_them_and_print_to_standard_error(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "beside.py").write_text(SOURCE)
    (folder / "sub" / "ops.py").write_text("import beside\nprint('hello')\n")
    command = ["build", "net.onnx", "-o", "net.engine", *QUICK, "--json", "-"]
    result = call(*command, "--plugins", "sub/ops.py")
    assert json.loads(result.stdout) and "hello" in result.stderr


def test_files_of_one_name_in_two_folders_are_two(folder: Path) -> None:
    for name, factor in (("a", 2), ("b", 5)):
        (folder / name).mkdir()
        (folder / name / "ops.py").write_text(SOURCE.replace("2 * x", f"{factor} * x"))
    both = ["--plugins", "a/ops.py", "--plugins", "b/ops.py"]
    with pytest.warns(UserWarning, match="'files::Twice' of module ops_.* is replaced by"):
        call("build", "net.onnx", "-o", "net.engine", *QUICK, *both)


def test_reduce_gives_them_to_its_checks(folder: Path) -> None:
    """A check without the plugin would fail by that, and not as the model does."""
    wrong = "@twice.kernel()\ndef empty(k, work, x, y):\n    pass\n"
    (folder / "ops.py").write_text(SOURCE + wrong)
    command = ["reduce", "net.onnx", "-o", "small.onnx", "--plugins", "ops.py", *QUICK]
    result = call(*command)
    assert "kernel 'empty' of plugin 'files::Twice' computes something else" in result.output
    assert f"--plugins {folder / 'ops.py'}" in " ".join(result.output.split())


def test_trtexec_takes_python_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--builderOptimizationLevel=0", "--skipInference"]
    assert trtexec(["--onnx=net.onnx", *quick, "--plugins=ops.py", "--saveEngine=net.plan"]) == 0
    assert "Loaded plugins of ops.py" in capsys.readouterr().out
    for flag in ("--plugins", "--staticPlugins"):
        assert trtexec(["--onnx=net.onnx", *quick, f"{flag}=libmy.so"]) == 1
        assert f"{flag}=libmy.so: plugin libraries hold kernels" in capsys.readouterr().err
    assert trtexec(["--onnx=net.onnx", *quick, "--dynamicPlugins=no.py"]) == 1
    assert "--dynamicPlugins: there is no file 'no.py'" in capsys.readouterr().err
