"""The documentation is true: its examples run, its dumps are current, its tables are the code's."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import types
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import camshaft
from camshaft import errors
from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.processor import host_target
from camshaft.backends.cpu.tactics import TACTICS
from camshaft.cli import app as cli
from camshaft.frontends.onnx.catalogue import operators_page
from camshaft.frontends.onnx.handlers import HANDLERS, HOSTED
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import f32
from camshaft.machine import backend
from camshaft.ops import ALL_OPS, OPS_BY_NAME
from camshaft.ops.catalogue import catalogue
from camshaft.passes.rewrite import sweep
from doc_pages import (
    DOCUMENTS,
    PAGES,
    ROOT,
    blocks,
    commands,
    python_blocks,
    run_page,
    save_model,
    write_example_files,
)
from graph_checks import same
from kernel_harness import SymbolicKernel, operand_of, run_kernel
from targets import each_target
from test_layering import LAYERS


def named(path: Path) -> str:
    """How tests call a page."""
    return str(path.relative_to(ROOT))


by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=named)


# -- links, quotations, tables -----------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", t).strip().lower().replace(" ", "-") for t in titles}


@by_name
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@by_name
def test_paths_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"`([\w./]+/[\w.]+\.(?:py|md))`", text):
        places = (ROOT, ROOT / "src" / "camshaft", ROOT / "src" / "camshaft" / "backends")
        generated = path.startswith("build/")
        assert generated or any((place / path).exists() for place in places), path


@by_name
def test_quotations_are_in_the_code(document: Path) -> None:
    for block in blocks(document):
        if block.quoted:
            flat = " ".join((ROOT / block.quoted).read_text(encoding="utf-8").split())
            assert " ".join(block.code.split()) in flat, f"{block.quoted} lacks:\n{block.code}"


def test_layer_table_is_the_one_that_is_enforced() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Layers")[2].partition("What stands in no layer")[0]
    table: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`.*) \| (.*) \|$", section, re.MULTILINE):
        layers, allowed = (re.findall(r"`([\w.]+)`", cell) for cell in row)
        table.update({f"camshaft.{layer}": {f"camshaft.{a}" for a in allowed} for layer in layers})
    assert table == {layer: set(allowed) for layer, allowed in LAYERS.items()}


def test_every_error_is_listed_with_its_exit_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE))
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    assert listed == {c.__name__: str(cli.exit_code(c("x"))) for c in classes}
    assert sorted(listed) == sorted(n for n in camshaft.__all__ if n.endswith("Error"))


def test_the_catalogue_of_ops_is_what_their_definitions_say() -> None:
    page = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8")
    assert page == catalogue(ALL_OPS), "run python -m camshaft.ops --write docs/ops.md"


def test_the_table_of_onnx_operators_is_what_the_import_does() -> None:
    page = (ROOT / "docs" / "onnx-operators.md").read_text(encoding="utf-8")
    if onnx.__version__.startswith("1.23."):  # another onnx has other operators
        write = "run python -m camshaft.frontends.onnx --write docs/onnx-operators.md"
        assert page == operators_page(), write


def test_handlers_that_only_say_types_are_listed() -> None:
    ends = re.compile(r"(return _?host(ed|_step)|raise DataDependent)\([^\n]*\)\s*$")
    found = {key for key, h in HANDLERS.items() if ends.search(inspect.getsource(h).rstrip())}
    assert found == set(HOSTED)


def test_as_many_onnx_operators_as_the_readme_says() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"More than (\d+) ONNX operators", text)
    assert len({name for domain, name in HANDLERS if not domain}) > int(said)


# -- examples --------------------------------------------------------------------------------------


EXAMPLES = tuple(p for p in (ROOT / "README.md", *PAGES) if python_blocks(p))
NEEDS = {
    "plugins.md": ("torch",),
    "pytorch.md": ("torch",),
    "tensorflow.md": ("tensorflow", "tf2onnx"),
    "training.md": ("torch",),
}
"""Page -> packages without which its examples do not run."""
MADE = ("fp32.engine", "int8.engine", "timing.json", "result.npz", "fused.onnx", "bench.json")
"""What the README's commands write."""


@by_name
def test_code_blocks_are_run_or_say_that_they_are_text(document: Path) -> None:
    for block in blocks(document):
        assert block.language in ("python", "sh", "text"), block.code
        assert not block.printed or block.language == "text", block.code


@pytest.mark.codegen
@pytest.mark.parametrize("page", EXAMPLES, ids=named)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package, reason=f"the page's examples need the package {package}")
    write_example_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_page(page)
    if page == ROOT / "README.md":
        assert all(Path(name).exists() for name in MADE)


def test_readme_shows_every_command() -> None:
    shown = [c for b in blocks(ROOT / "README.md") if b.language == "sh" for c in commands(b)]
    assert {c[1] for c in shown if c[0] == "camshaft"} == set(cli.COMMANDS)


# -- CONTRIBUTING ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def added() -> dict[str, Any]:
    """The names that CONTRIBUTING's examples define."""
    names: dict[str, Any] = {}
    for code in python_blocks(ROOT / "CONTRIBUTING.md"):
        exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    return names


def test_example_fusion_fires_and_preserves(added: dict[str, Any]) -> None:
    rule = added["SoftmaxIgnoresShift"]()
    graph = rule.example()
    after, fired = sweep(graph, [rule])
    assert fired[rule.name] == 1
    assert [n.op.name for n in after.nodes] == ["softmax"]
    same(graph, after)


@pytest.mark.codegen
@each_target
@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 37), 1), ((3, 7), 1), ((4, 16), 0)], ids=str)
def test_example_tactic_equals_its_reference(
    added: dict[str, Any], target: Any, shape: tuple[int, ...], axis: int
) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (want,) = added["CUMSUM"].reference([x], {"axis": axis})
    spec = KernelSpec("cumsum", (operand_of(x),), (operand_of(want),), (("axis", axis),))
    (got,) = run_kernel(added["CumsumByColumns"](), spec, {}, target, [x], [], threads=3)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.codegen
@each_target
def test_example_tactic_takes_symbolic_extents(added: dict[str, Any], target: Any) -> None:
    n, m = (extent_of(Symbol(name, 1, 5, 90)) for name in ("n", "m"))
    x = Operand(f32, (2, n, m), (n * m, m, 1))
    spec = KernelSpec("cumsum", (x,), (x,), (("axis", 1),))
    (candidate,) = added["CumsumByColumns"]().plan(spec, target, 1)
    kernel = SymbolicKernel(candidate, target)
    for sizes in ({"n": 1, "m": 1}, {"n": 7, "m": 33}, {"n": 90, "m": 16}):
        values = np.random.default_rng(0).standard_normal((2, sizes["n"], sizes["m"]))
        run = kernel.laid_out(sizes, [values.astype(np.float32)], [], threads=3)
        run.run()
        run.check_guards()
        (got,) = run.outputs()
        np.testing.assert_allclose(got, values.cumsum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.codegen
@pytest.mark.parametrize("listed", [False, True], ids=["host step", "tactic"])
def test_example_op_builds(
    added: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    monkeypatch.setitem(HANDLERS, ("", "CumSum"), added["HANDLERS"]["CumSum"])
    monkeypatch.setitem(OPS_BY_NAME, "cumsum", added["CUMSUM"])
    if listed:
        monkeypatch.setattr(backend, "TACTICS", (added["CumsumByColumns"](), *TACTICS))
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("CumSum", ["r", "axis"], ["y"], "cumsum"),
    ]
    axis = numpy_helper.from_array(np.array(-2), "axis")
    path = tmp_path / "cumsum.onnx"
    save_model(path, nodes, ("x", (2, 5, 9)), ("y", (2, 5, 9)), [axis])
    engine = camshaft.build(path, threads=1, optimization_level=2)
    step = engine.inspect()["steps"][-1]
    assert (step["kind"], step["tactic"]) == (
        ("kernel", "cumsum_by_columns") if listed else ("host", "")
    )
    x = np.random.default_rng(0).standard_normal((2, 5, 9)).astype(np.float32)
    np.testing.assert_allclose(engine(x)["y"], np.maximum(x, 0).cumsum(1), rtol=1e-5, atol=1e-6)


# -- the trace -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "trace_example", ROOT / "scripts/trace_example.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trace_example"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


NUMBER = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-]\d+|-?\d+(?:\.\d+)?")


def number(text: str) -> float:
    return float.fromhex(text) if "x" in text else float(text)


@pytest.mark.codegen
def test_dumps_in_the_architecture_page_are_current(script: ModuleType, tmp_path: Path) -> None:
    """Words exactly; numbers within what another machine's rounding may change."""
    held = script.shown((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert set(held) == set(script.ORDER)
    assert all(held.values())
    assert "vpdpbusd" in held["assembly"]
    for name, dump in script.Trace(tmp_path, level=1).dumps(script.STABLE).items():
        stale = f"{name}: run `python scripts/trace_example.py --write docs/architecture.md`"
        assert NUMBER.split(dump) == NUMBER.split(held[name]), stale
        numbers = [[number(n) for n in NUMBER.findall(text)] for text in (dump, held[name])]
        np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-3, err_msg=stale)


def test_stale_dumps_are_replaced(script: ModuleType) -> None:
    page = "a\n<!-- trace:x -->\n```text\nold\n```\n<!-- trace:end -->\nb\n"
    assert script.shown(page) == {"x": "old"}
    assert script.shown(script.written(page, {"x": "new\nlines"})) == {"x": "new\nlines"}


@pytest.mark.parametrize("target", ["this machine's", "another", "none"])
def test_dumps_of_another_target_are_left_alone(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
) -> None:
    marks = "".join(
        f"<!-- trace:{n} -->\n```text\nold\n```\n<!-- trace:end -->\n" for n in script.ORDER
    )
    name = host_target().name if target == "this machine's" else "a64fx"
    page = tmp_path / "page.md"
    page.write_text(marks if target == "none" else f"<!-- traced on {name} -->\n{marks}")
    fake = types.SimpleNamespace(dumps=lambda names: dict.fromkeys(names, "new"))
    monkeypatch.setattr(script, "Trace", lambda folder: fake)
    monkeypatch.setattr(sys, "argv", ["trace_example.py", "--write", str(page)])
    if target == "none":
        with pytest.raises(SystemExit, match=f"add a line <!-- traced on {host_target().name} -->"):
            script.main()
    else:
        assert script.main() == 0
    renewed = {n for n, dump in script.shown(page.read_text()).items() if dump == "new"}
    said = capsys.readouterr().err
    if target == "this machine's":
        assert renewed == set(script.ORDER) and not said
    elif target == "another":
        assert renewed == set(script.STABLE)
        assert "left alone: candidates, llvm" in said and "made on a64fx" in said
    else:
        assert not renewed
