"""Attributes, extents and kernel specs as JSON and back, over a table of symbols."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from camshaft.backends.base import KernelSpec, Operand
from camshaft.ir.expr import Expr, text
from camshaft.ir.expr import parse as parsed_expr
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.sizes import parse
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.op import Attr
from camshaft.ir.types import dtype_named

Symbols = Mapping[str, Symbol]


def attr_to_json(value: Attr) -> Any:
    """An attribute, as JSON types."""
    if isinstance(value, Expr):
        return {"expr": text(value)}
    if isinstance(value, Dim):
        return {"extent": str(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, tuple | list):
        return [attr_to_json(v) for v in value]
    return value


def attr_of_json(data: Any, symbols: Symbols) -> Attr:
    """Inverse of `attr_to_json`."""
    if isinstance(data, list):
        return tuple(attr_of_json(v, symbols) for v in data)  # type: ignore[return-value]
    if not isinstance(data, dict):
        value: Attr = data
        return value
    if "expr" in data:
        return parsed_expr(data["expr"], symbols)
    if "extent" in data:
        return parse(data["extent"], symbols)
    return base64.b64decode(data["bytes"])


def spec_to_json(spec: KernelSpec) -> Any:
    """A kernel's spec, as JSON types."""
    operands = [[_operand(o) for o in group] for group in (spec.inputs, spec.outputs)]
    return [spec.op, *operands, [[name, attr_to_json(value)] for name, value in spec.attrs]]


def spec_of_json(data: Any, symbols: Symbols) -> KernelSpec:
    """Inverse of `spec_to_json`."""
    op, inputs, outputs, attrs = data
    return KernelSpec(
        op,
        tuple(_operand_of(o, symbols) for o in inputs),
        tuple(_operand_of(o, symbols) for o in outputs),
        tuple((name, attr_of_json(value, symbols)) for name, value in attrs),
    )


def symbols_to_json(symbols: Symbols) -> Any:
    """A table of symbols, as JSON types."""
    return [[s.name, s.low, s.typical, s.high, s.from_data] for s in symbols.values()]


def symbols_of_json(data: Any) -> dict[str, Symbol]:
    """Inverse of `symbols_to_json`."""
    return {fields[0]: Symbol(*fields) for fields in data}


def _operand(o: Operand) -> Any:
    return [
        o.dtype.name,
        *([attr_to_json(e) for e in part] for part in (o.shape, o.strides)),
        o.const,
    ]


def _operand_of(data: Any, symbols: Symbols) -> Operand:
    name, shape, strides, const = data

    def extents(part: Any) -> tuple[Extent, ...]:
        return tuple(attr_of_json(e, symbols) for e in part)  # type: ignore[misc]

    return Operand(dtype_named(name), extents(shape), extents(strides), const)
