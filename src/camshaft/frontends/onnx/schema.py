"""What ONNX's schemas know: the function body of an operator, output types of a node."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import NodeProto, TypeProto, inliner

from camshaft.frontends.onnx.context import NodeContext
from camshaft.frontends.onnx.dtypes import onnx_dtype


def type_proto(ctx: NodeContext, index: int) -> TypeProto:
    """ONNX's spelling of the type of input `index`."""
    t = ctx.arg(index).type
    return onnx.helper.make_tensor_type_proto(onnx_dtype(t.dtype), t.shape)


def function_body(ctx: NodeContext, domain: str) -> Sequence[NodeProto] | None:
    """The nodes that ONNX defines this operator by, or None if it is a primitive.

    ONNX's inliner names what is inside; names that the node's own graph uses are kept apart by a
    prefix made of the node's first output.
    """
    node = ctx.proto
    if not onnx.defs.has(node.op_type, ctx.opset, domain):
        return None
    inputs = [
        onnx.ValueInfoProto(name=n, type=type_proto(ctx, i))
        for i, n in enumerate(node.input)
        if n and n not in node.input[:i]
    ]
    outputs = [onnx.ValueInfoProto(name=n) for n in node.output if n]
    graph = onnx.helper.make_graph([node], node.op_type, inputs, outputs)
    opsets = [onnx.helper.make_opsetid(domain, ctx.opset)]
    if domain:
        opsets.append(onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version()))
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    key = (node.domain, node.op_type)
    body = inliner.inline_selected_functions(model, [key], inline_schema_functions=True)
    if len(body.graph.node) == 1 and body.graph.node[0].op_type == node.op_type:
        return None
    return _renamed(body.graph.node, {*node.input, *node.output}, node.output[0])


def _renamed(nodes: Sequence[NodeProto], kept: set[str], prefix: str) -> list[NodeProto]:
    def name(n: str) -> str:
        return n if n in kept or not n else f"{prefix}:{n}"

    result = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = ""
        del copy.input[:], copy.output[:]
        copy.input.extend(name(n) for n in node.input)
        copy.output.extend(name(n) for n in node.output)
        result.append(copy)
    return result
