"""Types of values between graphs: from ONNX's spelling and back, and what two of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx
from onnx import TypeProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.dtypes import inner_dtype, onnx_dtype, tensor_proto
from camshaft.frontends.onnx.scripts.scope import HostValue, Value
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.script import Opaque, ValueType
from camshaft.ir.types import DType, TensorType, f32, f64, i64, string

_KEYS = (string, i64)
_MAPPED = (string, i64, f32, f64)
"""What maps lead from and to."""

Fresh = Callable[[int, Extent | None], Extent]
"""A new symbol for axis number i of a value; where it is known, the extent that it is typically like."""


def proto_of(value: Value | None) -> TypeProto:
    """ONNX's spelling of a value's type; empty where there is none."""
    if value is None:
        return TypeProto()
    return value.proto if isinstance(value, HostValue) else tensor_proto(value.type)


def value_type(
    proto: TypeProto, named: Mapping[str, Extent], fresh: Fresh, rank: int | None = None
) -> tuple[ValueType, TypeProto]:
    """What `proto` says, and it again with the extents that this has given to it.

    named: extents by their text.  fresh: symbols for extents that are not known.  rank: of a tensor whose
    shape `proto` does not say, where something else does.
    """
    kind = proto.WhichOneof("value")
    if kind == "optional_type":
        element = proto.optional_type.elem_type
        inner, _ = value_type(element, named, lambda i, like: 0)
        if isinstance(inner, Opaque) and (inner.keys or inner.kind == "optional"):
            raise ModelError(f"an optional {inner} is not supported, only of tensors and sequences")
        dims = _declared(element)
        text = f"{inner.dtype}{_dims_text(dims)}" if isinstance(inner, TensorType) else str(inner)
        return Opaque("optional", inner.dtype, f"optional {text}", _kind(inner), dims), proto
    if kind == "sequence_type":
        inner, _ = value_type(proto.sequence_type.elem_type, named, lambda i, like: 0)
        if isinstance(inner, Opaque) and inner.kind in ("optional", "sequence"):
            raise ModelError(f"a sequence of {inner} is not supported, only of tensors and of maps")
        if isinstance(inner, Opaque) and inner.kind == "map":
            text = f"sequence of maps from {inner.keys} to {inner.dtype}"
            return Opaque("sequence", inner.dtype, text, "map", keys=inner.keys), proto
        return Opaque("sequence", inner.dtype, f"sequence of {inner.dtype}"), proto
    if kind == "map_type":
        return _map_type(proto), proto
    if kind != "tensor_type" or not proto.tensor_type.elem_type:
        raise ModelError(f"a value is a {kind or 'value of unknown type'}, which is not supported")
    dtype = inner_dtype(proto.tensor_type.elem_type)
    if dtype == string:
        dims = _declared(proto)
        return Opaque("strings", dtype, f"strings{_dims_text(dims)}", dims=dims), proto
    has_shape = proto.tensor_type.HasField("shape")
    if not has_shape and rank is None:
        return Opaque("tensor", dtype, f"{dtype} of any rank"), proto
    given = proto.tensor_type.shape.dim if has_shape else [None] * (rank or 0)
    shape: list[Extent] = []
    for axis, d in enumerate(given):
        if d is not None and d.HasField("dim_value"):
            shape.append(d.dim_value)
        elif d is not None and d.dim_param in named:
            shape.append(named[d.dim_param])
        else:
            shape.append(fresh(axis, None))
    type = TensorType(dtype, tuple(shape))
    return type, tensor_proto(type)


def _map_type(proto: TypeProto) -> Opaque:
    """The type of a map; ModelError where its values are no scalars, or of a type that no operator takes."""
    keys, values = proto.map_type.key_type, proto.map_type.value_type
    if not values.HasField("tensor_type") or values.tensor_type.shape.dim:
        raise ModelError("a map to values that are no scalars is not supported")
    key, value = inner_dtype(keys), inner_dtype(values.tensor_type.elem_type)
    if key not in _KEYS or value not in _MAPPED:
        allowed = f"from {' or '.join(map(str, _KEYS))} to {', '.join(map(str, _MAPPED))}"
        raise ModelError(f"a map from {key} to {value} is not supported, only maps {allowed}")
    return Opaque("map", value, f"map from {key} to {value}", keys=key)


def _declared(proto: TypeProto) -> tuple[int | None, ...] | None:
    """The extents of a tensor as far as its type says them; None for no tensor of known rank."""
    if not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return None
    dims = proto.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _dims_text(dims: tuple[int | None, ...] | None) -> str:
    return "" if dims is None else f"[{','.join('?' if d is None else str(d) for d in dims)}]"


def joined(
    a: Value, others: Iterable[Value], outer: Callable[[Symbol], bool], fresh: Fresh
) -> HostValue:
    """A value that may be any of these (its name is open): extents in which all agree stay, others are new.

    outer: whether a symbol is known where the value is read.  ModelError if no value can be all of them.
    """
    type, proto = a.type, proto_of(a)
    found = [*others]
    optional = next((v for v in (a, *found) if _kind(v.type) == "optional"), None)
    if optional is not None and all(b.type.dtype == type.dtype for b in found):
        return HostValue("", *_opaque(optional.type, proto_of(optional), (a, *found)))
    for b in found:
        if b.type.dtype != type.dtype or _kind(b.type) != _kind(type) or _keys(b) != _keys(a):
            raise ModelError(f"the results {a.type} and {b.type} have no type in common")
    types = [type, *(b.type for b in found)]
    tensors = [t for t in types if isinstance(t, TensorType)]
    if len(tensors) < len(types) or len({t.rank for t in tensors}) != 1:
        return HostValue("", *_opaque(type, proto, found))
    shape = []
    for axis, extents in enumerate(zip(*(t.shape for t in tensors), strict=True)):
        first = extents[0]
        keeps = all(e == first for e in extents) and all(outer(s) for s in symbols_of(first))
        shape.append(first if keeps else fresh(axis, first))
    result = TensorType(type.dtype, tuple(shape))
    return HostValue("", result, tensor_proto(result))


def _kind(type: ValueType) -> str:
    return type.kind if isinstance(type, Opaque) else "tensor"


def _keys(value: Value) -> DType | None:
    return value.type.keys if isinstance(value.type, Opaque) else None


def _opaque(
    type: ValueType, proto: TypeProto, others: Iterable[Value]
) -> tuple[ValueType, TypeProto]:
    """The type of a value of which no more than its kind and element type is sure."""
    if isinstance(type, Opaque) and type.kind != "tensor":
        if all(proto_of(b) == proto for b in others):
            return type, proto
        loose = _without_shapes(proto)
        return value_type(loose, {}, lambda i, like: 0)[0], loose
    any_rank = onnx.helper.make_tensor_type_proto(onnx_dtype(type.dtype), None)
    return Opaque("tensor", type.dtype, f"{type.dtype} of any rank"), any_rank


def _without_shapes(proto: TypeProto) -> TypeProto:
    copy = TypeProto()
    copy.CopyFrom(proto)
    inner = copy
    while inner.WhichOneof("value") in ("optional_type", "sequence_type"):
        which = inner.WhichOneof("value")
        inner = getattr(inner, str(which)).elem_type
    if inner.HasField("tensor_type"):
        inner.tensor_type.ClearField("shape")
    return copy
