"""The page of ONNX's operators: what becomes of each, by opset (docs/onnx-operators.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import onnx
from onnx import helper

from camshaft.frontends.onnx.ancient import CHANGES, OLDEST_OPSET
from camshaft.frontends.onnx.handlers import HANDLERS, HOSTED
from camshaft.frontends.onnx.scripts.control import CONTROL
from camshaft.ops.host import has_reference
from camshaft.ops.hosted.table import FOREIGN, implementation

DOMAINS = ("", "ai.onnx.ml")
OTHERS = "com.microsoft"
WORDS = {
    "kernels": "our own ops, which have kernels, and what they are fused into",
    "function": "the operators that ONNX defines it by, each of which stands in this table",
    "script": "a script of graphs, or unrolled into one ([how](control-flow.md))",
    "host step": "our own implementation in NumPy, by the specification of the opset",
    "reference": "ONNX's reference implementation in Python, where that was found right",
    "none": "refused by name",
}
_PAGE = """# ONNX operators

What each operator becomes, from which opset on. Written by `python -m camshaft.frontends.onnx --write docs/onnx-operators.md`,
from the tables that the import itself uses; a test keeps it true.

{legend}

An operator with kernels becomes a host step where none of our ops can say what it does: windows over three and more spatial axes,
modes of Resize that nothing else has. One whose operands decide shapes and are not known at build time becomes a step
[between graphs](control-flow.md). Nodes of opsets 1 to 6 are first respelled as opset 7 has them.

Sin, Cos and Tan of float32 are good to 2e-7 up to 1e15 (1e12 on processors without fused multiply-add). Beyond, the digits of the period
run out, and a result is a number between -1 and 1 without meaning.
"""


def operators_page() -> str:
    """The page, in Markdown."""
    legend = "\n".join(f"- **{word}**: {text}." for word, text in WORDS.items())
    parts = [_PAGE.format(legend=legend)]
    for domain in DOMAINS:
        rows = [f"| {name} | {_history(domain, name)} |" for name in sorted(_names(domain))]
        parts.append(f"\n## {domain or 'ai.onnx'}\n\n| operator | what it becomes |\n|---|---|\n")
        parts.append("\n".join(rows) + "\n")
    rows = [f"| {name} | {_status(OTHERS, name, 1)} |" for name in sorted(_others())]
    parts.append(
        f"\n## {OTHERS}\n\nOperators that ONNX Runtime's optimizer and quantizer write.\n\n"
    )
    parts.append("| operator | what it becomes |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _names(domain: str) -> set[str]:
    return {name for d, name in _schemas() if d == domain}


def _others() -> set[str]:
    return {op_type for domain, op_type in (*HANDLERS, *FOREIGN) if domain == OTHERS}


def versions(domain: str, name: str) -> Sequence[int]:
    """The opsets in which the operator was defined or changed, in order."""
    return sorted(_schemas()[domain, name])


@cache
def _schemas() -> Mapping[tuple[str, str], Sequence[int]]:
    """Domain and name of every operator -> the opsets in which it was defined or changed."""
    found: dict[tuple[str, str], list[int]] = {}
    for s in onnx.defs.get_all_schemas_with_history():
        found.setdefault((s.domain, s.name), []).append(s.since_version)
    return found


def _history(domain: str, name: str) -> str:
    """ "kernels", or "1: respelled; 7: kernels" where it changes."""
    found: list[tuple[int, str]] = []
    for since in versions(domain, name):
        status = _status(domain, name, since)
        if not found or found[-1][1] != status:
            found.append((since, status))
    first = found[0][0]
    if len(found) == 1:
        return found[0][1] if first == 1 else f"{found[0][1]} (from opset {first})"
    return "; ".join(f"{since}: {status}" for since, status in found)


def _status(domain: str, name: str, since: int) -> str:
    if domain == "" and since < OLDEST_OPSET and (name, since) in CHANGES:
        newer = [v for v in versions(domain, name) if v <= OLDEST_OPSET]
        since = max(newer)
    if domain == "" and name in CONTROL:
        return "script"
    if (domain, name) in HOSTED:
        return "host step"
    if (domain, name) in HANDLERS:
        return "kernels"
    if domain in DOMAINS:
        schema: Any = onnx.defs.get_schema(name, since, domain)
        if schema.deprecated:
            return "none"
        if schema.has_function or schema.has_context_dependent_function:
            return "function"
    if implementation(domain, name, since) is not None:
        return "host step"
    shape: dict[str, Any] = {"shape": [1]} if name in ("RandomNormal", "RandomUniform") else {}
    node = helper.make_node(name, ["x"], ["y"], domain=domain, **shape)
    return "reference" if has_reference(node.SerializeToString(), since) else "none"
