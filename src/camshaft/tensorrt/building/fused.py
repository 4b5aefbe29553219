"""The graphs that a build makes of a model, and which of its layers and tensors they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto

from camshaft.config import BuildConfig
from camshaft.ir.graph import Graph
from camshaft.passes.laid_out import of_model
from camshaft.passes.pipeline import optimize
from camshaft.precision.output_types import with_output_types
from camshaft.session import BuildSession


def graphs_of(model: ModelProto, options: Mapping[str, Any]) -> list[Graph]:
    """Each of the model's graphs as imported, then as optimized, with what types of layers' outputs round."""
    config = BuildConfig(**options)
    session = BuildSession(model, config)
    session.import_model()
    level = options["optimization_level"]
    made = []
    for graph in session.imported_graphs:
        typed = with_output_types(config, graph, ()).graph
        made += [graph, optimize(typed, level=level)]
    return made


def layers_left(graphs: Sequence[Graph]) -> set[str]:
    """Names of layers that are left when what needs no kernel is folded.  graphs: as `graphs_of` gives them."""
    names = [{o for node in graph.nodes for o in node.origin} for graph in graphs]
    return set().union(*names[::2]) & set().union(*names[1::2])


def tensors_left(graphs: Sequence[Graph]) -> dict[str, str]:
    """Name of each tensor that is left when layers are fused, constants apart -> name of the model's that has the same elements.

    graphs: as `graphs_of` gives them.  The shape, and the order of elements, may be others than the model's.
    """
    named = {name for graph in graphs[::2] for name in graph.tensors}
    left = [
        name
        for graph in graphs[1::2]
        for name, tensor in graph.tensors.items()
        if not tensor.is_const
    ]
    return {name: name if name in named else of_model(name) for name in left}
