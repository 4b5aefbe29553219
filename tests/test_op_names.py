"""An op in one place: what the pipeline knows of single ops stands on their `OpDef`.

A module outside the table may make nodes of an op (`emit(POINTWISE, ...)`) and run its reference, but
not ask whether it has one before it.  To let another module match ops, add it to the table with the
reason why the knowledge is its own and not the op's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from camshaft.ops import OPS_BY_NAME

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = SOURCE / "camshaft"

MAY_MATCH_OPS: dict[str, str] = {
    "camshaft.ops": "defines them, and says in ops.functional what layers mean in them",
    "camshaft.frontends": "says which nodes of the source they stand for",
    "camshaft.passes.canonical": "rewrites, each about the ops that it matches",
    "camshaft.passes.fusions": "rewrites, each about the ops that it matches",
    "camshaft.passes.qdq": "lowering rules: what quantize and dequantize become next to an op",
    "camshaft.passes.independent": "through which ops the axis of a batch can be followed",
    "camshaft.passes.padding": "which ops work row by row, and which move elements of masks",
    "camshaft.passes.half": "lowering rules: which ops take weights that are halves",
    "camshaft.passes.stored_halves": "which ops read halves as they are, or move them",
    "camshaft.passes.half_states": "which concatenations append halves to a state",
    "camshaft.passes.layout.channels_last": "makes transposes and reshapes, and cancels them",
    "camshaft.passes.standard": "takes back what the fusions and the layout made of single ops",
    "camshaft.recurrence": "what recurrent cells are made of",
    "camshaft.quant.apart.products": "which products have rows whose channels may be carried apart",
    "camshaft.quant.channels.equalize": "which convolutions read each channel by itself",
    "camshaft.quant.calibration.magnitudes": "which layers multiply activations by weights",
    "camshaft.quant.dynamic": "which products have rows that are tokens",
    "camshaft.quant.recurrent": "which recurrent layers have states between -1 and 1",
    "camshaft.backends.cpu.attention": "the tactic of attention",
    "camshaft.backends.cpu.conv": "tactics of conv",
    "camshaft.backends.cpu.matmul": "tactics of matmul",
    "camshaft.backends.cpu.matmul_nbits": "tactics of matmul_nbits",
    "camshaft.backends.cpu.movement": "tactics of extents, gather, iota, kept_rows, pad, resample",
    "camshaft.backends.cpu.pointwise": "the tactic of pointwise",
    "camshaft.backends.cpu.pool": "tactics of pool",
    "camshaft.backends.cpu.recurrent": "the tactic of recurrent",
    "camshaft.backends.cpu.reduce": "tactics of reduce, softmax and tally",
    "camshaft.backends.cpu.tactics": "lists the tactics, and what their kernels take",
    "camshaft.backends.cpu.plugin": "a tactic of plugin",
    "camshaft.backends.cpu.winograd": "a tactic of conv",
    "camshaft.tensorrt.plugins": "has plugins of its own, that are called so in TensorRT",
}
"""Module or package -> why it may ask which op a node or spec has."""

NAMES = frozenset(OPS_BY_NAME)
CONSTANTS = frozenset(name.upper() for name in NAMES)
FAMILIES = frozenset({"ops", *(p.stem for p in (PACKAGE / "ops").glob("*.py"))})
"""Names that modules with ops have where they are imported whole."""
MAKES_NODES = ("add", "emit", "Node")
"""What is called with an op as its first argument to make a node of it."""
OF_THE_OP = ("complete", "infer", "name", "reference")
"""What a module that makes nodes may use of the op's own definition."""


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imported_ops(tree: ast.AST) -> set[str]:
    """Names under which a module imports op definitions."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in CONSTANTS
    }


def matches(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, op) wherever a module does more with a single op than to make nodes of it."""
    ops = imported_ops(tree)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if name in ops and not makes(node, parents[node]):
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id=module), attr=name) if (
                name in CONSTANTS and module in FAMILIES and not makes(node, parents[node])
            ):
                yield node.lineno, name
            case ast.Compare() if any(is_name_of_op(n) for n in operands(node)):
                yield from ((node.lineno, name) for name in strings(node) if name in NAMES)
            case ast.Match() if is_name_of_op(node.subject):
                yield from ((node.lineno, name) for name in strings(node) if name in NAMES)
            case ast.Dict(keys=[_, *_]) if keys(node) <= NAMES:
                yield from ((node.lineno, name) for name in sorted(keys(node)))


@cache
def matches_in(path: Path) -> list[tuple[int, str]]:
    return list(matches(ast.parse(path.read_text(encoding="utf-8"))))


def makes(node: ast.expr, parent: ast.AST) -> bool:
    """Whether an op is only made, or its own definition asked."""
    match parent:
        case ast.Attribute(attr=attr):
            return attr in OF_THE_OP
        case ast.Call(func=ast.Attribute(attr=maker) | ast.Name(id=maker), args=[first, *_]):
            return maker in MAKES_NODES and first is node
    return False


def keys(node: ast.Dict) -> set[object]:
    return {k.value if isinstance(k, ast.Constant) else None for k in node.keys}


def operands(node: ast.Compare) -> list[ast.expr]:
    return [node.left, *node.comparators]


def is_name_of_op(node: ast.expr) -> bool:
    """Whether an expression is an op's name by its look: `spec.op`, `task.op`, `node.op.name`.

    Scalar expressions have functions in a field of that name; none is called like an op.
    """
    if not isinstance(node, ast.Attribute):
        return False
    inner = node.value
    return node.attr == "op" or (
        node.attr == "name" and isinstance(inner, ast.Attribute) and inner.attr == "op"
    )


def strings(node: ast.AST) -> list[str]:
    return [
        n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


def violations() -> list[str]:
    return [
        f"{path.relative_to(SOURCE)}:{line} matches {op}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not any(within(module_name(path), package) for package in MAY_MATCH_OPS)
        for line, op in matches_in(path)
    ]


def test_only_modules_of_the_table_match_ops() -> None:
    assert not violations(), "say it on OpDef (ir/op.py), or add the module to the table"


def test_the_table_holds_nothing_that_matches_no_op() -> None:
    for package in MAY_MATCH_OPS:
        paths = [p for p in PACKAGE.rglob("*.py") if within(module_name(p), package)]
        assert any(matches_in(p) for p in paths), package


@pytest.mark.parametrize(
    "code",
    [
        "from camshaft.ops import CONV\nif node.op is CONV: pass",
        "from camshaft.ops import CONV as C\nSMOOTH = (C,)",
        "from camshaft.ops.contraction import MATMUL\nrules = {MATMUL: 1}",
        "from camshaft.ops import POOL\nr.producer(t, POOL)",
        "from camshaft import ops\nnode.op in (ops.CONV, other)",
        "from camshaft.ops import contraction\nnode.op == contraction.CONV",
        "if spec.op == 'conv': pass",
        "if node.op.name in ('pool', 'reduce'): pass",
        "COST = {'conv': 2, 'pool': 1}",
        "match task.op:\n    case 'softmax': pass",
    ],
)
def test_the_walk_sees_a_match(code: str) -> None:
    assert list(matches(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "from camshaft.ops import POINTWISE\nb.emit(POINTWISE, [x], attrs)",
        "from camshaft.ops import QUANTIZE\nQUANTIZE.reference(arrays, attrs)",
        "if expr.op == 'cast': pass",
        "step = {'kind': 'host', 'pool': 1}",
        "if step['kind'] == 'host': pass",
    ],
)
def test_the_walk_lets_ops_be_made(code: str) -> None:
    assert not list(matches(ast.parse(code)))
