"""What ONNX's schemas know: the function body that defines an operator, and types of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, NodeProto, TypeProto, inliner, numpy_helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import NodeContext
from camshaft.frontends.onnx.dtypes import is_half

_BODY = "ai.camshaft.body"


@dataclass(frozen=True)
class FunctionBody:
    """The nodes an operator stands for, and the opsets they are written in."""

    graph: GraphProto
    opsets: dict[str, int]


def inferred_types(
    node: NodeProto,
    schema: onnx.defs.OpSchema,
    opset: int,
    types: Sequence[TypeProto],
    constants: Sequence[np.ndarray | None],
) -> Mapping[str, TypeProto]:
    """The types of a node's outputs by ONNX's shape inference, as far as it knows them.

    types, constants: of the inputs; None for what is not constant.  ModelError if it refuses the node.
    """
    given = {n: types[i] for i, n in enumerate(node.input) if n}
    data = {
        n: numpy_helper.from_array(array, n)
        for n, array in zip(node.input, constants, strict=True)
        if array is not None and array.dtype.kind != "O"
    }
    opsets = [onnx.helper.make_opsetid(schema.domain, opset)]
    try:
        return onnx.shape_inference.infer_node_outputs(
            schema, node, given, data, opset_imports=opsets
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ModelError(f"ONNX's shape inference refuses it: {str(error).strip()}") from error


def pass_on_narrow(ctx: NodeContext) -> None:
    """Note which outputs have a type of at most 16 bits because an input has it: those of the same type
    variable of ONNX's schema, where the handler has not said more.  Operators without one, of other domains, give the
    half floats that their first float is."""
    narrow = [ctx.narrow.get(name) for name in ctx.proto.input]
    if not any(narrow):
        return
    if not onnx.defs.has(ctx.proto.op_type, ctx.opset, ctx.domain):
        floats = (t for t in narrow if t is not None and is_half(t))
        if (half := next(floats, None)) is not None:
            ctx.narrow.setdefault(ctx.proto.output[0], half)
        return
    schema: Any = onnx.defs.get_schema(ctx.proto.op_type, ctx.opset, ctx.domain)
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
