"""Ranges that scripts set or keep in caches: which of them are used, and which layers stay floats for want of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from onnx import ModelProto

from camshaft.ir.graph import Graph
from camshaft.quant.placement import QuantizationPlan, plan_quantization
from camshaft.tensorrt.building.fused import graphs_of, tensors_left
from camshaft.tensorrt.errors import Reports

Options = Mapping[str, Any]


def used_ranges(
    model: ModelProto, ranges: Mapping[str, float], options: Options, reports: Reports
) -> dict[str, float]:
    """Ranges of tensors that fused layers leave: scripts set those of all tensors."""
    left = tensors_left(graphs_of(model, options))
    for name in ranges:
        if name not in left:
            reports.verbose(f"the range of tensor {name!r} is not used: it is within a fused layer")
    return {name: amax for name, amax in ranges.items() if name in left}


def kept_floats(
    model: ModelProto, known: Collection[str], options: Options, reports: Reports
) -> dict[str, str]:
    """`layer_precision` with "fp32" of layers that would read tensors without a range; a warning names each tensor.

    known: tensors that have one.  Layers that are ordered to be INT8 stay so.
    """
    said: dict[str, str] = dict(options.get("layer_precision", {}))
    obeyed = options.get("precision_constraints") == "obey"
    for graph in graphs_of(model, options)[1::2]:
        names = {origin for node in graph.nodes for origin in node.origin}
        while True:
            here = {layer: kind for layer, kind in said.items() if layer in names}
            plan = plan_quantization(graph, layer_precision=_integers(here))
            missing, readers = _wanting(graph, plan, known)
            fresh = {
                layer
                for layer in readers
                if said.get(layer) != "fp32" and not (obeyed and said.get(layer) == "int8")
            }
            if not fresh:
                break
            for tensor in missing:
                reports.warning(
                    f"tensor {tensor!r} has no range: layers that read it are not INT8", True
                )
            said |= dict.fromkeys(fresh, "fp32")
    return said


def _integers(said: Mapping[str, str]) -> dict[str, str]:
    """What is asked of layers, as far as it matters for integers."""
    return {layer: kind if kind == "int8" else "fp32" for layer, kind in said.items()}


def _wanting(
    graph: Graph, plan: QuantizationPlan, known: Collection[str]
) -> tuple[list[str], set[str]]:
    """Tensors that want a range, and the layers that read them, or others of their group, as bytes."""
    missing = [s for sources in plan.sources.values() for s in sources if s not in known]
    wanting = {*missing}
    groups = {g for g, sources in plan.sources.items() if not wanting.isdisjoint(sources)}
    readers: set[str] = set()
    for node in graph.nodes:
        made = node.outputs[0].name
        for i, read in enumerate(node.inputs):
            is_read = (made, i) in plan.uses or made in plan.convs
            if read is not None and is_read and plan.group.get(read.name) in groups:
                readers.update(node.origin)
    return missing, readers
