"""The shape of the house: who imports whom, how large rooms get, how light the front door is.

The table below is docs/architecture.md's.  To let a layer import one more, change both.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = SOURCE / "camshaft"

EXTENTS = ("camshaft.ir.extents.extent", "camshaft.ir.extents.sizes", "camshaft.ir.extents.symbol")

LAYERS: dict[str, tuple[str, ...]] = {
    "camshaft.atomic": (),
    "camshaft.cpus": (),
    "camshaft.errors": (),
    "camshaft.version": (),
    "camshaft.config": ("camshaft.ir.extents.said", "camshaft.program"),
    "camshaft.ir": (),
    "camshaft.ops": ("camshaft.ir",),
    "camshaft.recurrence": ("camshaft.ir", "camshaft.ops"),
    "camshaft.frontends": ("camshaft.ir", "camshaft.ops", "camshaft.recurrence"),
    "camshaft.passes": ("camshaft.ir", "camshaft.ops", "camshaft.recurrence"),
    "camshaft.quant": ("camshaft.ir", "camshaft.ops", "camshaft.passes"),
    "camshaft.program": ("camshaft.ir",),
    "camshaft.backends.base": ("camshaft.ir", "camshaft.program"),
    "camshaft.backends.cpu": ("camshaft.backends.base", "camshaft.ir", "camshaft.program"),
    "camshaft.backends.cuda": ("camshaft.backends.base", "camshaft.ir", "camshaft.program"),
    "camshaft.runtime": (
        *EXTENTS,
        "camshaft.ir.script",
        "camshaft.ir.types",
        "camshaft.program",
    ),
    "camshaft.builder": (
        "camshaft.ir",
        "camshaft.ops",
        "camshaft.passes",
        "camshaft.backends.base",
        "camshaft.program",
        "camshaft.runtime",
    ),
    "camshaft.serve": ("camshaft.runtime",),
}
"""Layer -> the layers it may import, besides itself and EVERYWHERE.

What stands in no layer (camshaft itself, api, session, cli, ...) is the face and may import
everything, but no layer may import the face.
"""

EVERYWHERE = ("camshaft.atomic", "camshaft.cpus", "camshaft.errors", "camshaft.version")
"""Modules that import nothing of ours, so that any layer may use them."""

LIGHT = (
    "torch",
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "polygraphy",
    "PIL",
    "pycocotools",
)
"""Third-party packages that no module may import at its top."""
FOR = {
    "polygraphy": ("camshaft.polygraphy",),
    "torch": ("camshaft.torch", "camshaft.frontends.torch.importer"),
    **dict.fromkeys(("tensorflow", "keras", "tf2onnx"), ("camshaft.tensorflow",)),
}
"""But for these, which are imported by who uses that package."""

FILE_LINES = 420
FUNCTION_LINES = 60


def within(module: str, layer: str) -> bool:
    return module == layer or module.startswith(layer + ".")


def layer_of(module: str) -> str | None:
    return next((layer for layer in LAYERS if within(module, layer)), None)


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(
    path: Path, tree: ast.AST, inside: bool = False
) -> Iterator[tuple[str, ast.stmt, bool]]:
    """(imported module, statement, whether a function holds it); type-checking blocks count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for name in absolute(path, node):
                yield name, node, inside
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(path, node, inside or function)


def absolute(path: Path, node: ast.ImportFrom) -> list[str]:
    base = node.module or ""
    if node.level:
        package = module_name(path).split(".")
        if path.name != "__init__.py":
            package = package[:-1]
        package = package[: len(package) - node.level + 1]
        base = ".".join([*package, *([base] if base else [])])
    return [submodule_or(base, alias.name) for alias in node.names]


def submodule_or(base: str, name: str) -> str:
    """`from camshaft import ir` imports camshaft.ir; `from camshaft.ir import Graph` only ir."""
    path = SOURCE.joinpath(*base.split("."), name)
    return f"{base}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else base


FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def place(path: Path, node: ast.stmt) -> str:
    return f"{path.relative_to(SOURCE)}:{node.lineno}"


def violations(path: Path, tree: ast.AST) -> list[str]:
    found = []
    own = layer_of(module_name(path))
    for name, node, _ in imports(path, tree):
        if own is None or not within(name, "camshaft") or name in EVERYWHERE:
            continue
        if within(name, own) or any(within(name, layer) for layer in LAYERS[own]):
            continue
        if any(within(layer, name) for layer in LAYERS[own]):
            continue  # `import camshaft.backends.base` names its parents too
        found.append(f"{place(path, node)}: {own} must not import {name}")
    return found


def test_layers_import_only_what_lies_below() -> None:
    assert not [v for path, tree in TREES.items() for v in violations(path, tree)]


def test_the_layer_test_sees_a_violation() -> None:
    path = PACKAGE / "ops" / "sample.py"
    for code in ("from camshaft.builder import tuner", "from ..runtime import plan"):
        assert violations(path, ast.parse(code)), code
    for code in ("from camshaft.ir.types import f32", "import camshaft.errors", "import onnx"):
        assert not violations(path, ast.parse(code)), code


def test_no_first_party_import_inside_a_function() -> None:
    hidden = [
        f"{place(path, node)}: {name}"
        for path, tree in TREES.items()
        for name, node, inside in imports(path, tree)
        if inside and within(name, "camshaft")
    ]
    assert not hidden


def test_no_module_imports_a_heavy_package_at_its_top() -> None:
    heavy = [
        f"{place(path, node)}: {name}"
        for path, tree in TREES.items()
        for name, node, inside in imports(path, tree)
        if not inside and name.split(".")[0] in LIGHT and not _is_for(path, name)
    ]
    assert not heavy


def _is_for(path: Path, name: str) -> bool:
    """Whether a module is there for the package that it imports."""
    module = module_name(path)
    return any(within(module, m) for m in FOR.get(name.split(".")[0], ()))


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their names alone, and refuses a second one."""
    names = [
        path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "__init__.py"
    ]
    assert sorted(set(names)) == sorted(names)


def test_files_and_functions_stay_small() -> None:
    large = [
        f"{path.relative_to(SOURCE)}: {count} lines"
        for path in FILES
        if (count := path.read_text(encoding="utf-8").count("\n")) > FILE_LINES
    ]
    large += [
        f"{place(path, node)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert not large


def fresh(code: str) -> str:
    """Standard output of `code` in a new interpreter that finds camshaft in the source tree."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize("module", ["camshaft", "camshaft.cli"])
def test_import_brings_no_peer(module: str) -> None:
    code = f"import {module}\nprint(*[n for n in {LIGHT!r} if n in sys.modules])"
    assert fresh(code).split() == []


def test_runtime_needs_neither_onnx_nor_torch() -> None:
    blocked = "for n in ('onnx', 'torch'): sys.modules[n] = None\n"
    assert fresh(blocked + "import camshaft.runtime\nprint('ok')") == "ok\n"


def test_import_is_fast() -> None:
    # Processor time, not wall time: other processes of a busy machine are not our imports.
    code = "import time; t = time.process_time(); import camshaft; print(time.process_time() - t)"
    best = min(float(fresh(code)) for _ in range(5))
    assert best < 0.3, f"import camshaft takes {best:.2f} s"
