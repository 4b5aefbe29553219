"""The long tail: an ONNX operator without canonical form becomes a `host` step.

Its output types come from ONNX's shape inference of that one node; its meaning is ONNX's reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, numpy_helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import DataDependent, NodeContext
from camshaft.frontends.onnx.dtypes import inner_dtype, tensor_proto
from camshaft.frontends.onnx.schema import inferred_types
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType, string
from camshaft.ops import HOST
from camshaft.ops.host import has_reference, output_attrs, run_proto
from camshaft.ops.hosted.table import implementation

_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
_INTERNAL = "com.microsoft.nchwc"
"""The domain of ONNX Runtime's blocked layouts."""
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def host_step(ctx: NodeContext, types: Sequence[TensorType] | None = None) -> Sequence[Tensor]:
    """The node as it is, run by ONNX's reference; evaluated at once when all is constant.

    types: of all its outputs, where ONNX's shape inference cannot tell them: for open extents, or of an
    operator of another domain, which `ops.hosted` implements.
    """
    domain = ctx.domain
    standard = onnx.defs.has(ctx.proto.op_type, ctx.opset, domain)
    if not standard and (types is None or not implementation(domain, ctx.proto.op_type, ctx.opset)):
        raise ModelError(unknown_operator(ctx.proto.op_type, ctx.opset, domain))
    if any(a.type in (a.GRAPH, a.GRAPHS) for a in ctx.proto.attribute):
        raise ModelError("operators that hold a graph are not supported, but for If, Loop and Scan")
    schema = onnx.defs.get_schema(ctx.proto.op_type, ctx.opset, domain) if standard else None
    node = ctx.proto if schema is None else spelled_out(ctx.proto, schema)
    proto = node.SerializeToString(deterministic=True)
    if not has_reference(proto, ctx.opset):
        raise ModelError(f"nothing here computes {node.op_type!r} of opset {ctx.opset}")
    arrays = [t.data for t in ctx.inputs if t is not None]
    known = [a for a in arrays if a is not None]
    named = [(i, n) for i, n in enumerate(node.output) if n]
    if len(known) == len(arrays) and node.op_type not in _RANDOM:
        results = run_proto(proto, ctx.opset, known)
        if not all(isinstance(r, np.ndarray) for r in results):
            raise DataDependent("its result is no tensor")
        made = [
            ctx.builder.constant(np.asarray(r), ctx.output_name(i))
            for r, (i, _) in zip(results, named, strict=True)
        ]
    else:
        if types is None:
            assert schema is not None
            types = _output_types(ctx, node, schema)
        else:
            types = [types[i] for i, _ in named]
        attrs = {
            "op_type": node.op_type,
            "proto": proto,
            "opset": ctx.opset,
            **output_attrs(types),
        }
        made = list(
            ctx.builder.add(
                HOST,
                ctx.inputs,
                attrs,
                name=ctx.name,
                outputs=[ctx.output_name(i) for i, _ in named],
            )
        )
    place = {i: t for (i, _), t in zip(named, made, strict=True)}
    return [place[i] if i in place else made[0] for i in range(len(node.output))]


def is_known(domain: str, op_type: str, opset: int) -> bool:
    """Whether ONNX defines an operator, or there is one of ours."""
    return bool(onnx.defs.has(op_type, opset, domain) or implementation(domain, op_type, opset))


def unknown_operator(name: str, opset: int, domain: str) -> str:
    """What to say of an operator that nobody defines, and that an output needs."""
    op_type = repr(name)
    if domain == _INTERNAL:
        return (
            f"{op_type} of domain {domain!r} is a form that ONNX Runtime keeps for one machine; save the "
            "model with its graph_optimization_level at ORT_ENABLE_EXTENDED or below"
        )
    return (
        f"operator {op_type} of domain {domain or 'ai.onnx'!r}, opset {opset}, is unknown here, and an output of the model needs it; "
        "export the model without it or as a function of standard operators (a local function of the "
        "model is one), or cut the model before it; or register it as a plugin (camshaft.plugin) first"
    )


def spelled_out(node: NodeProto, schema: onnx.defs.OpSchema) -> NodeProto:
    """The node with defaults written out (inference and reference differ on some), half as f32."""
    copy = NodeProto()
    copy.CopyFrom(node)
    given = {a.name for a in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            copy.attribute.append(attribute.default_value)
    for a in copy.attribute:
        if a.name in _TYPE_ATTRIBUTES and a.i in _HALF:
            a.i = TensorProto.FLOAT
        if a.HasField("t") and a.t.data_type in _HALF:
            array = numpy_helper.to_array(a.t).astype(np.float32)
            a.t.CopyFrom(numpy_helper.from_array(array, a.t.name))
    return copy


def _output_types(
    ctx: NodeContext, node: NodeProto, schema: onnx.defs.OpSchema
) -> list[TensorType]:
    types = [TypeProto() if t is None else tensor_proto(t.type) for t in ctx.inputs]
    constants = [None if t is None else t.data for t in ctx.inputs]
    inferred = inferred_types(node, schema, ctx.opset, types, constants)
    named = {str(d): d for t in ctx.inputs if t is not None for d in t.shape}
    return [_type_of(inferred.get(n), n, named) for n in node.output if n]


def _type_of(proto: TypeProto | None, name: str, named: Mapping[str, Extent]) -> TensorType:
    """named: the inputs' extents by their text, in which inference passes them on."""
    if proto is None or not proto.HasField("tensor_type"):
        raise DataDependent(f"its output {name!r} is no tensor of a known type")
    tensor = proto.tensor_type
    known = [named.get(d.dim_param, d.dim_value or None) for d in tensor.shape.dim]
    known = [
        0 if d.HasField("dim_value") and not d.dim_value else e
        for d, e in zip(tensor.shape.dim, known, strict=True)
    ]
    if not tensor.HasField("shape") or None in known:
        raise DataDependent(f"the shape of its output {name!r} depends on the model's input data")
    dtype = inner_dtype(tensor.elem_type)
    if dtype == string:
        raise DataDependent(f"its output {name!r} holds strings")
    shape: Any = tuple(known)
    return TensorType(dtype, shape)
