"""What ONNX's schemas know: the function body that defines an operator, and input types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import FunctionProto, GraphProto, NodeProto, TypeProto, inliner

from camshaft.frontends.onnx.context import NodeContext
from camshaft.frontends.onnx.dtypes import onnx_dtype

_BODY = "ai.camshaft.body"


@dataclass(frozen=True)
class FunctionBody:
    """The nodes an operator stands for, and the opsets they are written in."""

    graph: GraphProto
    opsets: dict[str, int]


def type_proto(ctx: NodeContext, index: int) -> TypeProto:
    """ONNX's spelling of the type of input `index`; empty where the input is left out."""
    tensor = ctx.inputs[index]
    if tensor is None:
        return TypeProto()
    t = tensor.type
    shape = [d if isinstance(d, int) else str(d) for d in t.shape]  # a symbolic one by its text
    return onnx.helper.make_tensor_type_proto(onnx_dtype(t.dtype), shape)


def pass_on_narrow(ctx: NodeContext) -> None:
    """Note which outputs have a type of at most 8 bits because an input has it: those of the same type
    variable of ONNX's schema, where the handler has not said more."""
    domain = "" if ctx.proto.domain == "ai.onnx" else ctx.proto.domain
    narrow = [ctx.narrow.get(name) for name in ctx.proto.input]
    if not any(narrow) or not onnx.defs.has(ctx.proto.op_type, ctx.opset, domain):
        return
    schema: Any = onnx.defs.get_schema(ctx.proto.op_type, ctx.opset, domain)
    of_variable: dict[str, int] = {}
    for i, elem_type in enumerate(narrow):
        if elem_type is not None:
            formal = schema.inputs[min(i, len(schema.inputs) - 1)]
            of_variable[formal.type_str] = elem_type
    for i, output in enumerate(ctx.proto.output):
        formal = schema.outputs[min(i, len(schema.outputs) - 1)]
        if output and formal.type_str in of_variable:
            ctx.narrow.setdefault(output, of_variable[formal.type_str])


def function_body(
    node: NodeProto, opset: int, domain: str, types: Sequence[TypeProto]
) -> FunctionBody | None:
    """What ONNX defines this operator by, or None if it is a primitive.  types: of its inputs.

    The body is called as a local function of a one-node model, attribute defaults written out, and
    ONNX's inliner does the rest.
    """
    if not onnx.defs.has(node.op_type, opset, domain):
        return None
    schema: Any = onnx.defs.get_schema(node.op_type, opset, domain)
    function = _function(node, opset, schema, types)
    if function is None:
        return None
    call = NodeProto()
    call.CopyFrom(node)
    call.op_type, call.domain = function.name, function.domain = f"{node.op_type}_body", _BODY
    given = {a.name for a in node.attribute}
    known = set(function.attribute) | {a.name for a in function.attribute_proto}
    for name, attribute in schema.attributes.items():
        if name in known and name not in given and attribute.default_value.name:
            call.attribute.append(attribute.default_value)
    opsets = {o.domain: o.version for o in function.opset_import}
    opsets.setdefault("", onnx.defs.onnx_opset_version())
    model = onnx.helper.make_model(
        onnx.helper.make_graph([call], node.op_type, [], []),
        functions=[function],
        opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in {_BODY: 1, **opsets}.items()],
    )
    return FunctionBody(inliner.inline_local_functions(model).graph, opsets)


def _function(
    node: NodeProto, opset: int, schema: Any, types: Sequence[TypeProto]
) -> FunctionProto | None:
    """The newest body that the node's opset may use."""
    versions = list(schema.function_opset_versions)
    if versions:
        version = max((v for v in versions if v <= opset), default=versions[0])
        return _parsed(schema.get_function_with_opset_version(version))
    versions = list(schema.context_dependent_function_opset_versions)
    if not versions:
        return None
    version = max((v for v in versions if v <= opset), default=versions[0])
    found = schema.get_context_dependent_function_with_opset_version(
        version, node.SerializeToString(), [t.SerializeToString() for t in types]
    )
    return _parsed(found) if found else None


def _parsed(data: bytes) -> FunctionProto:
    function = FunctionProto()
    function.ParseFromString(data)
    return function
