"""A graph as DOT text (Graphviz), for people: `inspect --graph` writes it before and after passes.

One box a node with its name, op and attributes that differ from their defaults; constants are lines
inside the box; edges carry types.
"""

from __future__ import annotations

from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr

_COLOURS = {
    "contraction": "#cfe2f3",
    "pointwise": "#d9ead3",
    "movement": "#eeeeee",
    "rowwise": "#fff2cc",
    "pooling": "#ead1dc",
    "host": "#f4cccc",
}
"""Fill colours by the op's family."""
_LONGEST = 60


def graph_dot(graph: Graph) -> str:
    """The graph in the DOT language; deterministic, one line a box and an edge."""
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        '  node [shape=box style="filled,rounded" fontname="Helvetica" fontsize=10];',
        '  edge [fontname="Helvetica" fontsize=9];',
    ]
    for t in graph.inputs:
        lines.append(f"  {_input_id(t)} [shape=ellipse label={_quoted(_titled(t.name, t))}];")
    ids = {node: f"n{i}" for i, node in enumerate(graph.nodes)}
    for node, id_ in ids.items():
        lines.append(f'  {id_} [fillcolor="{_colour(node)}" label={_quoted(_label(node))}];')
    for node, id_ in ids.items():
        for t in node.args:
            if not t.is_const:
                lines.append(
                    f"  {_source(graph, ids, t)} -> {id_} [label={_quoted(repr(t.type))}];"
                )
    for i, (name, t) in enumerate(zip(graph.output_names, graph.outputs, strict=True)):
        lines.append(f"  o{i} [shape=ellipse label={_quoted(_titled(name, t))}];")
        if not t.is_const:
            lines.append(f"  {_source(graph, ids, t)} -> o{i} [label={_quoted(repr(t.type))}];")
    return "\n".join(lines) + "\n}\n"


_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "=="}


def readable(expr: Expr) -> str:
    """An expression for people: infix, decimal literals.  `expr.text` is the exact form."""
    if expr.op == "input":
        return f"i{expr.value}"
    if expr.op == "const":
        assert expr.dtype is not None
        number = f"{expr.value:.7g}" if expr.dtype.is_float else str(expr.value)
        return number if expr.dtype.name == "f32" else f"{expr.dtype.name}({number})"
    args = [readable(a) for a in expr.args]
    if expr.op in _INFIX:
        return f"({args[0]} {_INFIX[expr.op]} {args[1]})"
    name = expr.dtype.name if expr.op == "cast" and expr.dtype else expr.op
    return f"{name}({', '.join(args)})"


def _source(graph: Graph, ids: dict[Node, str], tensor: Tensor) -> str:
    made = graph.producers.get(tensor.name)
    return _input_id(tensor) if made is None else ids[made]


def _input_id(tensor: Tensor) -> str:
    return _quoted(f"input {tensor.name}")


def _titled(name: str, tensor: Tensor) -> str:
    return f"{name}\n{tensor.type}" + ("\nconstant" if tensor.is_const else "")


def _label(node: Node) -> str:
    return "\n".join([node.name, kind(node), *attribute_lines(node)])


def kind(node: Node) -> str:
    """What a node computes, and whether in Python."""
    return node.op.title(node.attrs) + (" (host)" if node.op.hosted else "")


def attribute_lines(node: Node) -> list[str]:
    """Attributes that differ from their defaults, then constants with their types, a line each."""
    lines = [
        _short(f"{key}={_shown(value)}")
        for key, value in node.op.changed(node.attrs).items()
        if node.op.attributes[key].drawn
    ]
    return lines + [_short(f"{t.name}: {t.type}") for t in node.args if t.is_const]


def _shown(value: Attr) -> str:
    return readable(value) if isinstance(value, Expr) else str(value)


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _colour(node: Node) -> str:
    return _COLOURS.get(node.op.family, "#ffffff")


def _quoted(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
