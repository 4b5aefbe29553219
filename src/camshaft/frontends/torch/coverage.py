"""Which nodes of an FX graph have a form here: found by walking them, not by a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from camshaft.errors import ModelError
from camshaft.frontends.torch.sizes import Sizes
from camshaft.frontends.torch.walk import Walk
from camshaft.ir.graph import GraphBuilder


def uncovered(graph: Any, sizes: Sizes, constants: Mapping[Any, tuple[str, Any]]) -> dict[Any, str]:
    """Nodes that cannot be part of an engine -> why.

    constants: placeholders -> name and tensor of weights.  What a node makes that has no form stands in as an input for those behind it.
    """
    walk = Walk(GraphBuilder("torch"), sizes)
    walk.shaped = shaped(graph, constants)
    found: dict[Any, str] = {}
    for node in graph.nodes:
        try:
            if node.op == "placeholder":
                begin(walk, node, constants)
            elif node.op != "output":
                walk.node(node)
        except ModelError as error:
            found[node] = str(error)
            try:
                walk.stand_in(node)
            except ModelError:
                continue  # of a type that graphs do not hold: what reads it stays outside, too
    for node in graph.nodes:
        if node.op == "get_attr" and hasattr(walk.values.get(node), "graph"):
            outside = next((u for u in node.users if u in found), None)
            if outside is not None:
                found[node] = f"a graph that {outside.name} runs"
    return found


def begin(walk: Walk, node: Any, constants: Mapping[Any, tuple[str, Any]]) -> str | None:
    """Declare a placeholder; its name where it becomes an input of the graph."""
    if node in constants:
        name, tensor = constants[node]
        walk.weight(node, tensor, name)
        return None
    meta = node.meta.get("val")
    if hasattr(meta, "shape") and hasattr(meta, "dtype"):
        walk.declare(node, node.name)
        return str(node.name)
    if meta is None or isinstance(meta, bool | int | float | str):
        walk.values[node] = meta
        return None
    return walk.whole(node, node.name)


def shaped(graph: Any, constants: Collection[Any] = ()) -> frozenset[str]:
    """Symbols that are the size of an axis of an input: a call's tensors say them."""
    found = set()
    for node in graph.nodes:
        if node.op == "placeholder" and node not in constants:
            for size in getattr(node.meta.get("val"), "shape", ()):
                expr = getattr(getattr(size, "node", None), "expr", None)
                if getattr(expr, "is_Symbol", False):
                    found.add(str(expr))
    return frozenset(found)
