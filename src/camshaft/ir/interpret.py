"""Run a graph by its ops' references: slow, exact by definition, the judge of everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from camshaft.errors import BindingError, ModelError
from camshaft.ir.graph import Graph
from camshaft.ir.types import type_of

Tap = Callable[[str, np.ndarray], None]


def interpret(
    graph: Graph, feeds: Mapping[str, np.ndarray], tap: Tap | None = None
) -> dict[str, np.ndarray]:
    """Outputs by name for the given inputs.

    tap: called with (tensor name, array) for every input and every computed tensor.
    Intermediate arrays are dropped after their last use.
    Raises BindingError for a missing or ill-typed input, ModelError if an op's reference yields
    another type than its inference says (a fault of camshaft, named).
    """
    values: dict[str, np.ndarray] = {}
    for t in graph.inputs:
        if t.name not in feeds:
            raise BindingError(f"input {t.name!r} is missing")
        array = np.asarray(feeds[t.name])
        if type_of(array) != t.type:
            raise BindingError(f"input {t.name!r} is {type_of(array)}, the graph wants {t.type}")
        values[t.name] = array
        if tap:
            tap(t.name, array)
    last_use = {t.name: i for i, n in enumerate(graph.nodes) for t in n.args}
    keep = {t.name for t in graph.outputs}
    for i, node in enumerate(graph.nodes):
        args = [t.data if t.data is not None else values[t.name] for t in node.args]
        results = node.op.reference(args, node.attrs)
        for t, array in zip(node.outputs, results, strict=True):
            array = np.asarray(array)
            if type_of(array) != t.type:
                raise ModelError(
                    f"node {node.name!r} ({node.op.name}): its reference gave {type_of(array)} "
                    f"for {t.name!r}, inference says {t.type}"
                )
            values[t.name] = array
            if tap:
                tap(t.name, array)
        for t in node.args:
            if last_use[t.name] == i and t.name not in keep:
                values.pop(t.name, None)
    return {
        name: t.data if t.data is not None else values[t.name]
        for name, t in zip(graph.output_names, graph.outputs, strict=True)
    }
