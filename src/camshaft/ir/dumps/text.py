"""A readable one-line-per-node dump of a graph, for people, docs and tests."""

from __future__ import annotations

from camshaft.ir.expr import Expr, text
from camshaft.ir.graph import Graph, Node
from camshaft.ir.op import Attr


def _attr(value: Attr) -> str:
    if isinstance(value, Expr):
        return text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return repr(value)


def node_text(node: Node) -> str:
    """One node: outputs with types, op, inputs, attributes that differ from their defaults."""
    outs = ", ".join(f"{t.name}: {t.type}" for t in node.outputs)
    ins = ", ".join(
        "-" if t is None else f"{t.name}{f': {t.type}' if t.is_const else ''}" for t in node.inputs
    )
    attrs = " ".join(f"{k}={_attr(v)}" for k, v in node.op.changed(node.attrs).items())
    return f"{outs} = {node.op.name}({ins}){' {' + attrs + '}' if attrs else ''}"


def graph_text(graph: Graph) -> str:
    """The whole graph; constants are shown by name and type where they are used."""
    lines = [f"graph {graph.name}"]
    for t in graph.inputs:
        values = f" = ({', '.join(map(str, t.values))})" if t.values else ""
        lines.append(f"  in  {t.name}: {t.type}{values}")
    lines += [f"  {node_text(n)}" for n in graph.nodes]
    outs = zip(graph.output_names, graph.outputs, strict=True)
    lines += [f"  out {name} = {t.name}: {t.type}" for name, t in outs]
    return "\n".join(lines) + "\n"
