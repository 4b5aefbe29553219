"""Check the invariants every pass must keep.  Run after each pass when debugging and in tests."""

from __future__ import annotations

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import Constraints
from camshaft.ir.graph import Graph


def verify(graph: Graph) -> None:
    """Raise ModelError, naming the node, if the graph is not well formed.

    Checked: tensors have one producer and unique names, nodes come after what they read,
    recorded types are what inference yields today, under the graph's constraints and no others,
    outputs exist and their names are unique.
    """
    defined = {}
    held = Constraints(dict(graph.constraints.found))
    for t in graph.inputs:
        if t.name in defined:
            raise ModelError(f"two inputs are called {t.name!r}")
        defined[t.name] = t
    for node in graph.nodes:
        for t in node.args:
            if t.is_const:
                if defined.setdefault(t.name, t) is not t:
                    raise ModelError(f"node {node.name!r}: two tensors are called {t.name!r}")
            elif defined.get(t.name) is not t:
                raise ModelError(f"node {node.name!r} reads {t.name!r} before it is made")
        with held.learning(f"node {node.name!r}"):
            types = tuple(node.op.infer([t.type for t in node.args], node.attrs))
        for t, type in zip(node.outputs, types, strict=True):
            if t.name in defined:
                raise ModelError(f"node {node.name!r} makes {t.name!r}, which exists already")
            if t.type != type:
                raise ModelError(f"node {node.name!r}: {t.name!r} is {t.type}, should be {type}")
            defined[t.name] = t
    if len(held.found) != len(graph.constraints.found):
        raise ModelError(f"no constraint says that {[*held][-1]}")
    if len(set(graph.output_names)) != len(graph.output_names):
        raise ModelError(f"two outputs have one name: {graph.output_names}")
    for t in graph.outputs:
        if not t.is_const and defined.get(t.name) is not t:
            raise ModelError(f"output {t.name!r} is never made")
