"""Which nodes of an FX graph have a form here: found by walking them, not by a list."""

from __future__ import annotations

from collections.abc import Mapping
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


def begin(walk: Walk, node: Any, constants: Mapping[Any, tuple[str, Any]]) -> str | None:
    """Declare a placeholder; its name where it becomes an input of the graph."""
    if node in constants:
        name, tensor = constants[node]
        walk.constant(node, tensor, name)
        return None
    meta = node.meta.get("val")
    if hasattr(meta, "shape") and hasattr(meta, "dtype"):
        walk.declare(node, node.name)
        return str(node.name)
    plain = meta is None or isinstance(meta, bool | float | str)
    walk.values[node] = meta if plain else walk.sizes.extent(meta)
    return None
