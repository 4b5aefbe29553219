"""Manifests as JSON and back, strictly.

The engine file stores a manifest as one JSON text.  Encoding is deterministic (field order, no
spaces, defaults left out); decoding accepts exactly what encoding writes: an unknown or missing
field, or a value of another type, is a `ValueError` that says where.  Both are driven by the
dataclasses' own annotations, so a new field in `program.program` needs nothing here.

Some things are written shorter than as objects:

    extent       a number, or the text of the expression over the program's symbols
    tensor type  [dtype, [extents]]
    buffer       [space, name, dtype, elements] in the program's list of buffers, elsewhere the
                 number in that list
    view         [buffer, offset, [extents], [strides]], strides left out where row-major
    instruction  {"launch": {...}} or {"hostcall": {...}}
    step         of a script: {"run": {...}}, {"call": {...}}, {"if": {...}}, ...
    bytes        their base64
"""

from __future__ import annotations

import base64
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.sizes import parse
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.script import Call, If, Loop, Run, Scan
from camshaft.ir.types import DType, TensorType, dtype_named, row_major_strides
from camshaft.program.program import HostCall, Launch, Program
from camshaft.program.view import Buffer, Space, View
from camshaft.runtime.file.manifest import Manifest, Part, ScriptManifest


@dataclass(frozen=True)
class _Tables:
    """What numbers and names within a program refer to."""

    buffers: tuple[Buffer, ...] = ()
    symbols: Mapping[str, Symbol] = field(default_factory=dict)


_Decoder = Callable[[Any, str, _Tables], Any]


def manifest_to_json(manifest: Manifest | ScriptManifest) -> str:
    """The manifest as ASCII JSON text; equal manifests give equal texts."""
    return json.dumps(_encode(manifest, {}), separators=(",", ":"), allow_nan=False)


def manifest_from_json(text: str) -> Manifest | ScriptManifest:
    """Inverse of `manifest_to_json`; ValueError says which field is wrong."""
    try:
        data = json.loads(text)
        kind: type = ScriptManifest if type(data) is dict and "script" in data else Manifest
        manifest = _decoder(kind)(data, "manifest", _Tables())
    except RecursionError:
        raise ValueError("manifest: nested too deeply") from None
    assert isinstance(manifest, Manifest | ScriptManifest)
    return manifest


# --- encoding -------------------------------------------------------------------------------


def _encode(value: Any, numbers: Mapping[Buffer, int]) -> Any:
    if isinstance(value, View):
        words = [numbers[value.buffer], value.offset, list(value.shape)]
        if value.strides != row_major_strides(value.shape):
            words.append(list(value.strides))
        return _encode_extents(words)
    if isinstance(value, Dim):
        return str(value)
    if isinstance(value, Buffer):
        return numbers[value]
    if isinstance(value, TensorType):
        return [value.dtype.name, _encode_extents(value.shape)]
    if isinstance(value, Program):
        numbers = {buffer: i for i, buffer in enumerate(value.buffers)}
        return {
            name: [_encode_buffer(b) for b in value.buffers] if name == "buffers" else encoded
            for name, encoded in _encode_fields(value, numbers).items()
        }
    if isinstance(value, Launch | HostCall | Run | Call | If | Loop | Scan):
        return {_tag(type(value)): _encode_fields(value, numbers)}
    if isinstance(value, DType):
        return value.name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if is_dataclass(value):
        return _encode_fields(value, numbers)
    if isinstance(value, tuple):
        return [_encode(v, numbers) for v in value]
    return value


def _encode_fields(value: Any, numbers: Mapping[Buffer, int]) -> dict[str, Any]:
    return {
        f.name: _encode(getattr(value, f.name), numbers)
        for f in fields(value)
        if f.default is MISSING or getattr(value, f.name) != f.default
    }


def _encode_buffer(buffer: Buffer) -> list[Any]:
    return [buffer.space, buffer.name, buffer.dtype.name, _encode_extents(buffer.elements)]


def _encode_extents(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_encode_extents(v) for v in value]
    return str(value) if isinstance(value, Dim) else value


def _tag(kind: type) -> str:
    return kind.__name__.lower()


# --- decoding -------------------------------------------------------------------------------


@cache
def _decoder(kind: Any) -> _Decoder:
    """A function that checks JSON data against the annotation `kind` and builds the value."""
    if kind in _SPECIAL:
        return _SPECIAL[kind]
    if kind in (str, int, bool):
        return _exact(kind)
    if kind is types.NoneType:
        return _exact(types.NoneType)
    origin = get_origin(kind)
    if origin is tuple:
        return _tuple(get_args(kind))
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if origin is Literal:
        return _literal(get_args(kind))
    assert is_dataclass(kind), kind
    return _record(kind)


def _exact(kind: type) -> _Decoder:
    def decode(data: Any, where: str, tables: _Tables) -> Any:
        if type(data) is not kind:
            raise ValueError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
        return data

    return decode


def _decode_float(data: Any, where: str, tables: _Tables) -> float:
    if type(data) not in (int, float):
        raise ValueError(f"{where}: expected a number, found {type(data).__name__}")
    return float(data)


def _literal(allowed: tuple[Any, ...]) -> _Decoder:
    def decode(data: Any, where: str, tables: _Tables) -> Any:
        if not isinstance(data, str) or data not in allowed:
            raise ValueError(f"{where}: {data!r:.40} is none of {', '.join(allowed)}")
        return data

    return decode


def _tuple(kinds: tuple[Any, ...]) -> _Decoder:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        item = _decoder(kinds[0])

        def decode_all(data: Any, where: str, tables: _Tables) -> Any:
            if type(data) is not list:
                raise ValueError(f"{where}: expected a list, found {type(data).__name__}")
            return tuple(item(d, f"{where}[{i}]", tables) for i, d in enumerate(data))

        return decode_all
    parts = tuple(_decoder(k) for k in kinds)

    def decode_each(data: Any, where: str, tables: _Tables) -> Any:
        if type(data) is not list or len(data) != len(parts):
            raise ValueError(f"{where}: expected a list of {len(parts)}")
        return tuple(part(d, where, tables) for part, d in zip(parts, data, strict=True))

    return decode_each


def _union(kinds: tuple[Any, ...]) -> _Decoder:
    if Launch in kinds or Run in kinds:
        return _tagged({_tag(kind): kind for kind in kinds})
    parts = tuple(_decoder(kind) for kind in kinds)

    def decode(data: Any, where: str, tables: _Tables) -> Any:
        problem = ""
        for part in parts:
            try:
                return part(data, where, tables)
            except ValueError as error:
                problem = problem or str(error)
        raise ValueError(problem)

    return decode


def _tagged(parts: Mapping[str, Any]) -> _Decoder:
    def decode(data: Any, where: str, tables: _Tables) -> Any:
        if type(data) is not dict or len(data) != 1 or not data.keys() <= parts.keys():
            raise ValueError(f"{where}: expected an object with one of {', '.join(parts)}")
        ((tag, value),) = data.items()
        return _decoder(parts[tag])(value, f"{where}.{tag}", tables)  # late: steps hold scripts

    return decode


def _record(kind: Any) -> _Decoder:
    hints = get_type_hints(kind)
    parts = {f.name: _decoder(hints[f.name]) for f in fields(kind)}

    def decode(data: Any, where: str, tables: _Tables) -> Any:
        _check_fields(kind, data, where)
        values = {
            name: parts[name](value, f"{where}.{name}", tables) for name, value in data.items()
        }
        try:
            return kind(**values)
        except ModelError as error:  # a symbol with an impossible range
            raise ValueError(f"{where}: {error}") from None

    return decode


def _check_fields(kind: Any, data: Any, where: str) -> None:
    if type(data) is not dict:
        raise ValueError(f"{where}: expected an object, found {type(data).__name__}")
    known = {f.name for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING}
    if not data.keys() <= known:
        raise ValueError(f"{where}: unknown field {min(data.keys() - known)!r:.40}")
    if not required <= data.keys():
        raise ValueError(f"{where}: field {min(required - data.keys())!r} is missing")


def _decode_manifest(data: Any, where: str, tables: _Tables) -> Manifest:
    """The program first, whose symbols the notes name."""
    _check_fields(Manifest, data, where)
    hints = get_type_hints(Manifest)
    program = _decode_program(data["program"], f"{where}.program", tables)
    tables = _Tables((), {s.name: s for s in program.symbols})
    rest = {
        name: _decoder(hints[name])(value, f"{where}.{name}", tables)
        for name, value in data.items()
        if name != "program"
    }
    return Manifest(program=program, **rest)


def _decode_script(data: Any, where: str, tables: _Tables) -> ScriptManifest:
    """The symbols first, which types of values name."""
    _check_fields(ScriptManifest, data, where)
    hints = get_type_hints(ScriptManifest)
    symbols = _decoder(hints["symbols"])(data.get("symbols", []), f"{where}.symbols", tables)
    tables = _Tables((), {s.name: s for s in symbols})
    rest = {
        name: _decoder(hints[name])(value, f"{where}.{name}", tables)
        for name, value in data.items()
        if name != "symbols"
    }
    return ScriptManifest(symbols=symbols, **rest)


def _decode_part(data: Any, where: str, tables: _Tables) -> Part:
    """The program first, whose symbols the notes name."""
    _check_fields(Part, data, where)
    program = _decode_program(data["program"], f"{where}.program", tables)
    tables = _Tables((), {s.name: s for s in program.symbols})
    notes = _decoder(get_type_hints(Part)["notes"])(data["notes"], f"{where}.notes", tables)
    return Part(program, notes)


def _decode_bytes(data: Any, where: str, tables: _Tables) -> bytes:
    try:
        return base64.b64decode(_text(data, where, tables), validate=True)
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"{where}: {error}") from None


def _decode_program(data: Any, where: str, tables: _Tables) -> Program:
    """Symbols first, then buffers, which name them, then what names buffers."""
    _check_fields(Program, data, where)
    hints = get_type_hints(Program)
    symbols = _decoder(hints["symbols"])(data.get("symbols", []), f"{where}.symbols", tables)
    tables = _Tables((), {s.name: s for s in symbols})
    if len(tables.symbols) != len(symbols):
        raise ValueError(f"{where}.symbols: two have the same name")
    if type(data["buffers"]) is not list:
        raise ValueError(f"{where}.buffers: expected a list")
    buffers = tuple(
        _decode_buffer(d, f"{where}.buffers[{i}]", tables) for i, d in enumerate(data["buffers"])
    )
    tables = _Tables(buffers, tables.symbols)
    rest = {
        name: _decoder(hints[name])(value, f"{where}.{name}", tables)
        for name, value in data.items()
        if name not in ("symbols", "buffers")
    }
    return Program(symbols=symbols, buffers=buffers, **rest)


_text, _number, _space = _exact(str), _exact(int), _literal(get_args(Space))


def _decode_buffer(data: Any, where: str, tables: _Tables) -> Buffer:
    if type(data) is not list or len(data) != 4:
        raise ValueError(f"{where}: expected [space, name, dtype, elements]")
    space, name, dtype, elements = data
    return Buffer(
        _text(name, where, tables),
        _decode_dtype(dtype, where, tables),
        _decode_extent(elements, where, tables),
        _space(space, where, tables),
    )


def _decode_buffer_number(data: Any, where: str, tables: _Tables) -> Buffer:
    number = _number(data, where, tables)
    if not 0 <= number < len(tables.buffers):
        raise ValueError(f"{where}: buffer {number} of {len(tables.buffers)}")
    return tables.buffers[number]


def _decode_view(data: Any, where: str, tables: _Tables) -> View:
    if type(data) is not list or len(data) not in (3, 4):
        raise ValueError(f"{where}: expected [buffer, offset, shape, strides]")
    shape = _decode_extents(data[2], where, tables)
    strides = row_major_strides(shape)
    if len(data) == 4:
        dense, strides = strides, _decode_extents(data[3], where, tables)
        if strides == dense:
            raise ValueError(f"{where}: strides that are row-major are left out")
    return View(
        _decode_buffer_number(data[0], where, tables),
        _decode_extent(data[1], where, tables),
        shape,
        strides,
    )


def _decode_extent(data: Any, where: str, tables: _Tables) -> Extent:
    if type(data) is int:
        return data
    if type(data) is not str:
        raise ValueError(f"{where}: expected int or an expression, found {type(data).__name__}")
    try:
        extent = parse(data, tables.symbols)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if str(extent) != data or isinstance(extent, int):
        raise ValueError(f"{where}: {data!r:.40} is not how {extent} is written")
    return extent


def _decode_extents(data: Any, where: str, tables: _Tables) -> tuple[Any, ...]:
    if type(data) is not list:
        raise ValueError(f"{where}: expected a list of extents, found {type(data).__name__}")
    return tuple(_decode_extent(d, where, tables) for d in data)


def _decode_dtype(data: Any, where: str, tables: _Tables) -> DType:
    try:
        return dtype_named(_text(data, where, tables))
    except ModelError as error:
        raise ValueError(f"{where}: {error}") from None


def _decode_type(data: Any, where: str, tables: _Tables) -> TensorType:
    if type(data) is not list or len(data) != 2:
        raise ValueError(f"{where}: expected [dtype, shape]")
    return TensorType(
        _decode_dtype(data[0], where, tables), _decode_extents(data[1], where, tables)
    )


_SPECIAL: dict[Any, _Decoder] = {
    Manifest: _decode_manifest,
    ScriptManifest: _decode_script,
    Part: _decode_part,
    DType: _decode_dtype,
    bytes: _decode_bytes,
    Program: _decode_program,
    Buffer: _decode_buffer_number,
    View: _decode_view,
    TensorType: _decode_type,
    Extent: _decode_extent,
    float: _decode_float,
}
