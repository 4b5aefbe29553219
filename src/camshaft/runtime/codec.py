"""Plans as JSON and back, strictly.

The engine file stores a plan as one JSON text.  Encoding is deterministic (field order, no
spaces, defaults left out); decoding accepts exactly what encoding writes: an unknown or missing
field, or a value of another type, is a `ValueError` that says where.  Both are driven by the
dataclasses' own annotations, so a new field in `runtime.plan` needs nothing here.

References are by far the most numerous objects and are written as [space, name, offset, nbytes];
tensor types as [dtype, [extents]]; everything else as objects.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from camshaft.errors import ModelError
from camshaft.ir.types import TensorType, dtype_named
from camshaft.runtime.plan import Plan, Ref

_Decoder = Callable[[Any, str], Any]


def plan_to_json(plan: Plan) -> str:
    """The plan as ASCII JSON text; equal plans give equal texts."""
    return json.dumps(_encode(plan), separators=(",", ":"), allow_nan=False)


def plan_from_json(text: str) -> Plan:
    """Inverse of `plan_to_json`; ValueError says which field is wrong."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("plan: nested too deeply") from None
    plan = _decoder(Plan)(data, "plan")
    assert isinstance(plan, Plan)
    return plan


def _encode(value: Any) -> Any:
    if isinstance(value, Ref):
        return [value.space, value.name, value.offset, value.nbytes]
    if isinstance(value, TensorType):
        return [value.dtype.name, list(value.shape)]
    if is_dataclass(value):
        return {
            f.name: _encode(getattr(value, f.name))
            for f in fields(value)
            if f.default is MISSING or getattr(value, f.name) != f.default
        }
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    return value


@cache
def _decoder(kind: Any) -> _Decoder:
    """A function that checks JSON data against the annotation `kind` and builds the value."""
    if kind is Ref:
        return _decode_ref
    if kind is TensorType:
        return _decode_type
    if kind in (str, int, bool):
        return _exact(kind)
    if kind is float:
        return _decode_float
    if kind is types.NoneType:
        return _exact(types.NoneType)
    origin = get_origin(kind)
    if origin is tuple:
        return _tuple(get_args(kind))
    if origin in (Union, types.UnionType):
        return _union(tuple(_decoder(k) for k in get_args(kind)))
    if origin is Literal:
        return _literal(get_args(kind))
    assert is_dataclass(kind), kind
    return _record(kind)


def _exact(kind: type) -> _Decoder:
    def decode(data: Any, where: str) -> Any:
        if type(data) is not kind:
            raise ValueError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
        return data

    return decode


def _decode_float(data: Any, where: str) -> float:
    if type(data) not in (int, float):
        raise ValueError(f"{where}: expected a number, found {type(data).__name__}")
    return float(data)


def _literal(allowed: tuple[Any, ...]) -> _Decoder:
    def decode(data: Any, where: str) -> Any:
        if not isinstance(data, str) or data not in allowed:
            raise ValueError(f"{where}: {data!r:.40} is none of {', '.join(allowed)}")
        return data

    return decode


_text, _number, _space = _exact(str), _exact(int), _literal(get_args(get_type_hints(Ref)["space"]))


def _decode_ref(data: Any, where: str) -> Ref:
    if type(data) is not list or len(data) != 4:
        raise ValueError(f"{where}: expected [space, name, offset, bytes]")
    return Ref(
        _space(data[0], where),
        _text(data[1], where),
        _number(data[2], where),
        _number(data[3], where),
    )


def _decode_type(data: Any, where: str) -> TensorType:
    if type(data) is not list or len(data) != 2 or type(data[1]) is not list:
        raise ValueError(f"{where}: expected [dtype, shape]")
    try:
        dtype = dtype_named(_text(data[0], where))
    except ModelError as error:
        raise ValueError(f"{where}: {error}") from None
    return TensorType(dtype, tuple(_number(d, where) for d in data[1]))


def _tuple(kinds: tuple[Any, ...]) -> _Decoder:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        item = _decoder(kinds[0])

        def decode_all(data: Any, where: str) -> Any:
            if type(data) is not list:
                raise ValueError(f"{where}: expected a list, found {type(data).__name__}")
            return tuple(item(d, f"{where}[{i}]") for i, d in enumerate(data))

        return decode_all
    parts = tuple(_decoder(k) for k in kinds)

    def decode_each(data: Any, where: str) -> Any:
        if type(data) is not list or len(data) != len(parts):
            raise ValueError(f"{where}: expected a list of {len(parts)}")
        return tuple(part(d, where) for part, d in zip(parts, data, strict=True))

    return decode_each


def _union(parts: tuple[_Decoder, ...]) -> _Decoder:
    def decode(data: Any, where: str) -> Any:
        problem = ""
        for part in parts:
            try:
                return part(data, where)
            except ValueError as error:
                problem = problem or str(error)
        raise ValueError(problem)

    return decode


def _record(kind: Any) -> _Decoder:
    hints = get_type_hints(kind)
    parts = {f.name: _decoder(hints[f.name]) for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING}

    def decode(data: Any, where: str) -> Any:
        if type(data) is not dict:
            raise ValueError(f"{where}: expected an object, found {type(data).__name__}")
        if not data.keys() <= parts.keys():
            raise ValueError(f"{where}: unknown field {min(data.keys() - parts.keys())!r:.40}")
        if not required <= data.keys():
            raise ValueError(f"{where}: field {min(required - data.keys())!r} is missing")
        return kind(**{name: parts[name](value, f"{where}.{name}") for name, value in data.items()})

    return decode
