"""Ranges that scripts set for INT8, and the layers that stay in floats for want of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from onnx import ModelProto

from camshaft.ir.graph import Graph
from camshaft.quant.placement import impossible, plan_quantization
from camshaft.tensorrt.building.fused import graphs_of, tensors_left
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.network.lowered import Lowered

_KNOWN = ("fp32", "int8")


def ranges_of_tensors(
    model: ModelProto, lowered: Lowered, options: Mapping[str, Any], reports: Reports
) -> dict[str, float]:
    """Ranges of tensors that fused layers leave, whatever these call them: scripts set those of all tensors."""
    left = tensors_left(graphs_of(model, options))
    for name in set(lowered.ranges) - set(left.values()):
        reports.verbose(f"the range of tensor {name!r} is not used: it is within a fused layer")
    return {name: lowered.ranges[of] for name, of in left.items() if of in lowered.ranges}


def in_floats(
    model: ModelProto, ranges: Collection[str], options: Mapping[str, Any], reports: Reports
) -> dict[str, Any]:
    """What keeps layers in floats that read tensors without a range.  ranges: tensors that have one."""
    asked = options.get("layer_precision", {})
    graphs = graphs_of(model, options)
    found = _unranged(graphs, ranges, asked)
    if not found:
        return {}
    left = tensors_left(graphs)
    for tensor in dict.fromkeys(left[name] for name in found.values()):
        reports.warning(f"tensor {tensor!r} has no range: layers that read it are not INT8")
    constraints = options.get("precision_constraints", "fastest")
    return {
        "layer_precision": {**asked, **dict.fromkeys(found, "fp32")},
        # What is fastest would not look at layers.
        "precision_constraints": "prefer" if constraints == "fastest" else constraints,
    }


def _unranged(
    graphs: Sequence[Graph], ranges: Collection[str], asked: Mapping[str, str]
) -> dict[str, str]:
    """Source layer -> a tensor that it would read as INT8, and that has no range.

    graphs: as `fused.graphs_of` gives them.  ranges: names of tensors that have one.  asked: source layer -> its precision; those that must
    be INT8 are not looked at.
    """
    found: dict[str, str] = {}
    for graph in graphs[1::2]:
        known = {o for node in graph.nodes for o in node.origin}
        fixed = {n: p for n, p in asked.items() if p in _KNOWN and n in known}
        for layer in impossible(graph, fixed):  # which the build tells of, or leaves
            del fixed[layer]
        while True:
            more = _readers(graph, ranges, {**dict.fromkeys(found.keys() & known, "fp32"), **fixed})
            if not more.keys() - found.keys():
                break
            found |= {layer: tensor for layer, tensor in more.items() if layer not in found}
    return found


def _readers(graph: Graph, ranges: Collection[str], wanted: Mapping[str, str]) -> dict[str, str]:
    plan = plan_quantization(graph, layer_precision=wanted)
    lacking = {
        group: name for group, names in plan.sources.items() for name in names if name not in ranges
    }
    found: dict[str, str] = {}
    for node in graph.nodes:
        out = node.outputs[0].name
        for index, tensor in enumerate(node.args):
            group = plan.group.get(tensor.name)
            # A product's own use may be that of a movement before it.
            if group in lacking and (out in plan.convs or (out, index) in plan.uses):
                found |= {layer: lacking[group] for layer in node.origin if layer not in wanted}
    return found
