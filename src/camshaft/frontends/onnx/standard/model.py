"""Graph -> ModelProto of standard operators."""

from __future__ import annotations

from collections.abc import Mapping, Set

import onnx
from onnx import ModelProto, TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.standard import movement, numbers, products, windows
from camshaft.frontends.onnx.standard.call import Call, Emitter
from camshaft.frontends.onnx.standard.extents import Extents
from camshaft.frontends.onnx.standard.writer import OPSET, Writer, typed
from camshaft.ir.graph import Graph
from camshaft.ops import HOST

_IR_VERSION = 10
"""That of opset 21: older readers know no newer one."""
_EMITTERS: Mapping[str, Emitter] = {
    **products.EMITTERS,
    **windows.EMITTERS,
    **movement.EMITTERS,
    **numbers.EMITTERS,
}


def standard_onnx(graph: Graph) -> ModelProto:
    """The graph as a model of the operators of ONNX's own domain, opset 21, or 20 (see `_opset`).

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
        opset_imports=[onnx.helper.make_opsetid("", _opset(writer, graph))],
    )


def _opset(writer: Writer, graph: Graph) -> int:
    """21; 20 for activations of signed bytes, unless something needs 21.

    ONNX Runtime's optimizer (1.31 at least) moves QuantizeLinear past pools and reshapes, turns signed bytes to unsigned, and, in opset 21, which
    says the type of the result twice, then refuses what it made itself.
    """
    zeros = {n.input[2] for n in writer.nodes if n.op_type == "QuantizeLinear"}
    kinds = {t.name: t.data_type for t in writer.initializers}
    signed = any(kinds.get(z) == TensorProto.INT8 for z in zeros)
    return OPSET - 1 if signed and not _needs_latest(writer, graph, zeros) else OPSET


def _needs_latest(writer: Writer, graph: Graph, zeros: Set[str]) -> bool:
    """Whether there are blocks of scales, levels of other than 8 bits, or operators of the model's own, which may be of opset 21."""
    kinds = {t.name: t.data_type for t in writer.initializers}
    points = zeros | {n.input[2] for n in writer.nodes if n.op_type == "DequantizeLinear"}
    return (
        any(node.op is HOST for node in graph.nodes)
        or any(a.name == "block_size" for n in writer.nodes for a in n.attribute)
        or any(kinds.get(z) not in (TensorProto.INT8, TensorProto.UINT8) for z in points)
    )
