"""Graph -> ModelProto of standard operators."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import ModelProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.standard import movement, numbers, products, windows
from camshaft.frontends.onnx.standard.call import Call, Emitter
from camshaft.frontends.onnx.standard.extents import Extents
from camshaft.frontends.onnx.standard.writer import OPSET, Writer, typed
from camshaft.ir.graph import Graph

_IR_VERSION = 10
"""That of opset 21: older readers know no newer one."""
_EMITTERS: Mapping[str, Emitter] = {
    **products.EMITTERS,
    **windows.EMITTERS,
    **movement.EMITTERS,
    **numbers.EMITTERS,
}


def standard_onnx(graph: Graph) -> ModelProto:
    """The graph as a model of the operators of ONNX's own domain, opset 21.

    graph: in standard form (`passes.standard`), with or without Q/DQ nodes.  Inputs and outputs keep their names,
    nodes and tensors those of the source model as far as they stand for the same.
    ModelError names the node that has no form in standard ONNX.
    """
    writer = Writer(graph)
    extents = Extents(writer)
    for node in graph.nodes:
        emitter = _EMITTERS.get(node.op.name)
        writer.begin(node)
        try:
            if emitter is None:
                raise ModelError(f"{node.op.name} has no form in standard ONNX")
            emitter(Call(node, writer, extents))
        except ModelError as error:
            raise ModelError(f"node {node.name!r} cannot be exported: {error}") from error
        writer.end(node)
    made = set(graph.producers)
    for name, t in zip(graph.output_names, graph.outputs, strict=True):
        if t.name not in made or writer.value(t) != name:
            writer.append(
                onnx.helper.make_node("Identity", [writer.value(t)], [name], name=f"{name}:output")
            )
    proto = onnx.helper.make_graph(
        writer.nodes,
        graph.name,
        [typed(t.name, t) for t in graph.inputs],
        [typed(n, t) for n, t in zip(graph.output_names, graph.outputs, strict=True)],
        writer.initializers,
    )
    return onnx.helper.make_model(
        proto,
        producer_name="camshaft",
        ir_version=_IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )
