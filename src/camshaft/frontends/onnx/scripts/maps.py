"""Types of what ai.onnx.ml's operators on maps give, which ONNX's shape inference knows in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import NodeProto, TensorProto, TypeProto, helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.frontends.onnx.scripts.scope import Value
from camshaft.ir.script import Opaque
from camshaft.ir.types import DType, TensorType, f32, i64, string

DOMAIN = "ai.onnx.ml"
_CASTS = {
    "TO_FLOAT": TensorProto.FLOAT,
    "TO_INT64": TensorProto.INT64,
    "TO_STRING": TensorProto.STRING,
}


def map_results(node: NodeProto, values: Sequence[Value | None]) -> Mapping[str, TypeProto] | None:
    """The types of the outputs of ZipMap, CastMap and DictVectorizer, None for other operators.

    ModelError if the operand or the attributes are none such.
    """
    rule = {"CastMap": _cast_map, "DictVectorizer": _vectorizer, "ZipMap": _zip_map}.get(
        node.op_type
    )
    if rule is None or domain_of(node.domain) != DOMAIN:
        return None
    value = values[0] if values else None
    if value is None:
        raise ModelError("its input is missing")
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {node.output[0]: rule(attrs, value)}


def _keys(attrs: Mapping[str, Any], strings: str, ints: str) -> tuple[DType, int]:
    """Type and number of the keys that one of two attributes lists."""
    given = [(t, len(attrs[n])) for t, n in ((string, strings), (i64, ints)) if attrs.get(n)]
    if len(given) != 1:
        raise ModelError(f"one of {strings} and {ints} must be given, and not both")
    return given[0]


def _map_of(value: Value) -> Opaque:
    if not isinstance(value.type, Opaque) or value.type.kind != "map":
        raise ModelError(f"its input is {value.type}, and must be a map")
    return value.type


def _zip_map(attrs: Mapping[str, Any], value: Value) -> TypeProto:
    keys, count = _keys(attrs, "classlabels_strings", "classlabels_int64s")
    type = value.type
    is_rows = type.rank in (1, 2) if isinstance(type, TensorType) else type.kind == "tensor"
    if type.dtype != f32 or not is_rows:
        raise ModelError(f"its input is {type}, and must be scores, f32 [N, C] or [C]")
    if isinstance(type, TensorType) and isinstance(type.shape[-1], int) and type.shape[-1] != count:
        raise ModelError(f"its input {type} does not have one column for each of {count} labels")
    inner = helper.make_map_type_proto(
        onnx_dtype(keys), helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    return helper.make_sequence_type_proto(inner)


def _cast_map(attrs: Mapping[str, Any], value: Value) -> TypeProto:
    held, to = _map_of(value), attrs.get("cast_to", b"TO_FLOAT").decode()
    if held.keys != i64 or held.dtype not in (f32, string):
        raise ModelError(f"its input is a {held}, and must lead from i64 to f32 or string")
    form, length = attrs.get("map_form", b"DENSE").decode(), attrs.get("max_map", 1)
    if to not in _CASTS or form not in ("DENSE", "SPARSE") or length < 1:
        raise ModelError(f"cast_to={to!r}, map_form={form!r}, max_map={length} make no sense")
    return helper.make_tensor_type_proto(_CASTS[to], [1, length if form == "SPARSE" else None])


def _vectorizer(attrs: Mapping[str, Any], value: Value) -> TypeProto:
    held = _map_of(value)
    keys, count = _keys(attrs, "string_vocabulary", "int64_vocabulary")
    if held.keys != keys:
        raise ModelError(f"its input is a {held}, and its vocabulary holds {keys}")
    return helper.make_tensor_type_proto(onnx_dtype(held.dtype), [1, count])
