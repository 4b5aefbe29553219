"""Which nodes of an FX graph have a form here: found by walking them, not by a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camshaft.errors import ModelError
from camshaft.frontends.torch.sizes import Sizes
from camshaft.frontends.torch.walk import Walk
from camshaft.ir.graph import GraphBuilder


def uncovered(graph: Any, sizes: Sizes, constants: Mapping[Any, Any]) -> dict[Any, str]:
    """Nodes that cannot be part of an engine -> why.

    constants: placeholders whose tensors are weights.  What a node makes that has no form stands in as an input for those behind it.
    """
    walk = Walk(GraphBuilder("torch"), sizes)
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
    return found


def begin(walk: Walk, node: Any, constants: Mapping[Any, Any]) -> str | None:
    """Declare a placeholder; its name where it becomes an input of the graph."""
    if node in constants:
        walk.constant(node, constants[node], node.name)
        return None
    meta = node.meta.get("val")
    if hasattr(meta, "shape") and hasattr(meta, "dtype"):
        walk.declare(node, node.name)
        return str(node.name)
    walk.values[node] = walk.sizes.extent(meta) if meta is not None else None
    return None
