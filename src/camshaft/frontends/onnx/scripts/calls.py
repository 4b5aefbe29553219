"""Operators that run between graphs: their results' shapes hang on data, or are no tensors at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TypeProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.frontends.onnx.hosted import spelled_out
from camshaft.frontends.onnx.plugins import step_types
from camshaft.frontends.onnx.schema import inferred_types
from camshaft.frontends.onnx.scripts.maps import map_results
from camshaft.frontends.onnx.scripts.ranks import kept_extents, rank_of_outputs
from camshaft.frontends.onnx.scripts.scope import HostValue, Pending, Scope, Value
from camshaft.frontends.onnx.scripts.values import Fresh, proto_of, value_type
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ir.script import Call
from camshaft.ir.types import TensorType
from camshaft.ops.host import has_reference
from camshaft.ops.hosted.table import implementation

EXECUTOR = "camshaft.ops.host:operator"
REFUSED = "camshaft.ops.host:refused"
"""The executor of a step that fails if it is run."""


@dataclass(frozen=True)
class Place:
    """The node that becomes a step.  values: its operands.  fresh(output)(axis, like): see `Fresh`.
    name_of(i): the name of the value that output number i becomes."""

    node: NodeProto
    name: str
    opset: int
    values: tuple[Value | None, ...]
    fresh: Callable[[int], Fresh]
    name_of: Callable[[int], str]


def call(scope: Scope, place: Place, reason: str) -> list[HostValue | None] | None:
    """Make a step of a node; its results, None where an output has no name.

    None instead of a list if there is nothing that runs the operator.
    ModelError if its types make no sense.
    """
    domain = domain_of(place.node.domain)
    schema = None
    if onnx.defs.has(place.node.op_type, place.opset, domain):
        schema = onnx.defs.get_schema(place.node.op_type, place.opset, domain)
    elif not implementation(domain, place.node.op_type, place.opset):
        raise ModelError(reason)
    node = place.node if schema is None else spelled_out(place.node, schema)
    proto = node.SerializeToString(deterministic=True)
    if not has_reference(proto, place.opset):
        return None
    known = map_results(node, place.values)
    if known is None:
        known = step_types(node, place.values) if schema is None else None
    if known is not None:
        protos = known
    elif schema is None:
        protos = _loose(place)
    else:
        types = [proto_of(v) for v in place.values]
        constants = [v.data if isinstance(v, Tensor) else None for v in place.values]
        protos = inferred_types(node, schema, place.opset, types, constants)
    named = extents_named(place.values)
    rank, kept = rank_of_outputs(place.node, place.values), kept_extents(place.node, place.values)
    results: list[HostValue | None] = []
    for i, name in enumerate(node.output):
        if not name:
            results.append(None)
            continue
        fresh = _known_first(kept, place.fresh(i))
        found = value_type(protos.get(name) or TypeProto(), named, fresh, rank)
        results.append(HostValue(place.name_of(i), *found))
    made = [r for r in results if r is not None]
    add_operator(scope, place.name, node.op_type, proto, place.opset, place.values, made, reason)
    return results


def add_operator(
    scope: Scope,
    name: str,
    op: str,
    proto: bytes,
    opset: int,
    values: Sequence[Value | None],
    made: Sequence[HostValue],
    reason: str,
) -> None:
    """Add the step that computes `made` of `values` as a serialized NodeProto says."""
    present = tuple(v for v in values if v is not None)
    data = _payload(proto, opset, [r.type.dtype.name for r in made])
    inputs, outputs = tuple(v.name for v in present), tuple(r.name for r in made)
    step = Call(name, op, EXECUTOR, data, inputs, outputs, reason)
    level = max((scope.level(v) for v in present), default=0)
    scope.add(Pending(step, present, tuple(made)), level)


def _known_first(known: Mapping[int, Extent], fresh: Fresh) -> Fresh:
    """Extents of axes that are known, and new symbols for others."""
    return lambda axis, like: known[axis] if axis in known else fresh(axis, like)


def refusal(scope: Scope, name: str, reason: str, results: Sequence[HostValue]) -> None:
    """Make a step that fails, saying the reason, instead of giving the results."""
    names = tuple(r.name for r in results)
    step = Call(name, "If", REFUSED, reason.encode(), (), names, reason)
    scope.add(Pending(step, (), tuple(results)), 0)


def _payload(proto: bytes, opset: int, dtypes: Sequence[str]) -> bytes:
    """What EXECUTOR runs: a serialized NodeProto and its results' element types."""
    record = {"proto": base64.b64encode(proto).decode(), "opset": opset, "dtypes": list(dtypes)}
    return json.dumps(record, sort_keys=True).encode()


def _loose(place: Place) -> Mapping[str, TypeProto]:
    """Types of the results of an operator that ONNX has no schema for: of the first operand's element type."""
    first = next((v for v in place.values if v is not None), None)
    if first is None:
        raise ModelError("the types of its results are not known")
    proto = onnx.helper.make_tensor_type_proto(onnx_dtype(first.type.dtype), None)
    return {name: proto for name in place.node.output if name}


def extents_named(values: Sequence[Value | None]) -> dict[str, Extent]:
    """The extents of tensors by their text."""
    types = [v.type for v in values if v is not None]
    return {str(d): d for t in types if isinstance(t, TensorType) for d in t.shape}
