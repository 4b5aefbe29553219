"""The catalogue of ops, printed from their definitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from camshaft.ir.expr import Expr, text
from camshaft.ir.op import REQUIRED, OpDef

_HEADER = """# The ops

Every graph is made of these, all ONNX operators are expressed in them, and kernels are held against
their references. This page is printed from the definitions by `python -m camshaft.ops --write
docs/ops.md`; what the fields of a definition mean is said in `ir/op.py`.
"""


def catalogue(ops: Sequence[OpDef]) -> str:
    """A page of Markdown: what each op computes, its attributes, and what passes know of it."""
    parts = [_HEADER]
    for family, members in groupby(ops, lambda op: op.family):
        parts.append(f"## {family.capitalize()}\n")
        parts += [_entry(op) for op in members]
    return "\n".join(parts)


def _entry(op: OpDef) -> str:
    lines = [f"### {op.name}\n", f"{op.doc}\n"]
    if op.attributes:
        lines += ["| attribute | default | meaning |", "|---|---|---|"]
        for name, attribute in op.attributes.items():
            lines.append(f"| `{name}` | {_default(attribute.default)} | {attribute.doc} |")
        lines.append("")
    facts = _facts(op)
    if facts:
        lines.append(f"{'; '.join(facts).capitalize()}.\n")
    return "\n".join(lines)


def _default(value: object) -> str:
    if value is REQUIRED:
        return "required"
    return f"`{text(value) if isinstance(value, Expr) else repr(value)}`"


def _facts(op: OpDef) -> list[str]:
    """What distinguishes the op for passes, in words."""
    weighted = op.int8 is not None and op.int8.weights is not None
    images = op.reordering is not None and op.reordering.of_images
    facts = {
        "moves elements and computes nothing": op.moves,
        "has an epilogue": bool(op.anchors),
        "becomes channels-last": images,
        "works on axes in any order": op.reordering is not None and not images,
        f"commutes with quantization {op.commutes.condition if op.commutes else ''}".rstrip(): (
            op.commutes is not None
        ),
        "is computed on 8-bit integers where that is faster": weighted,
        "takes 8-bit integers between layers that do": op.int8 is not None and not weighted,
        "makes sums in which errors average out": op.smooths,
        "is a view of its input where strides allow it": op.view is not None,
        "is written in parts by what makes its inputs": op.parts is not None,
        "never has a kernel": op.hosted,
        "is never folded": not op.folds,
        "may give other results on equal inputs": not op.deterministic,
    }
    return [fact for fact, holds in facts.items() if holds]
