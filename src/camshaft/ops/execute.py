"""Run one op by its reference, from bytes: how an engine carries a step that has no kernel.

The payload is JSON (op name and attributes), so an engine file stays free of pickle.  It holds the
number of a symbolic extent, whose value comes with each call.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.attrs import attr_at, symbolic_in
from camshaft.ir.expr import Expr, extents_in, parse, text
from camshaft.ir.extents.extent import Dim, Extent, extent_of, sole_symbol
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.op import Attr, Attrs, OpDef
from camshaft.ops import OPS_BY_NAME

Executor = Callable[[Sequence[np.ndarray | None], Sequence[int]], Sequence[np.ndarray]]


def open_extents(attrs: Attrs) -> tuple[Dim, ...]:
    """The symbolic extents in attributes, each once: what an executor wants the values of."""
    return tuple(dict.fromkeys(e for k in sorted(attrs) for e in symbolic_in(attrs[k])))


def payload(op: OpDef, attrs: Attrs) -> bytes:
    """The op and its attributes as bytes; equal ops give equal bytes."""
    numbers: dict[Extent, Extent] = {
        e: extent_of(_number(i)) for i, e in enumerate(open_extents(attrs))
    }
    numbered = {k: attr_at(v, numbers.__getitem__) for k, v in attrs.items()}
    record = {"op": op.name, "attrs": {k: _encode(v) for k, v in numbered.items()}}
    return json.dumps(record, sort_keys=True).encode()


def executor(data: bytes) -> Executor:
    """The callable that a payload describes; ModelError if it describes none, or this process lacks what it needs.

    It takes arrays, None for an absent one, and the values of the op's `open_extents`.
    """
    try:
        record = json.loads(data)
        op = OPS_BY_NAME[record["op"]]
        attrs = op.complete({k: _decode(v) for k, v in record["attrs"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"host step payload is damaged: {error}") from error
    if op.requires is not None:
        op.requires(attrs)

    last: tuple[tuple[int, ...], Attrs] | None = None  # most calls have the sizes of the one before

    def run(arrays: Sequence[np.ndarray | None], dims: Sequence[int]) -> Sequence[np.ndarray]:
        nonlocal last
        known = last
        if known is None or known[0] != tuple(dims):
            sizes = {f"d{i}": size for i, size in enumerate(dims)}
            at = {k: attr_at(v, lambda e: evaluate(e, sizes)) for k, v in attrs.items()}
            last = known = tuple(dims), at
        return op.reference([a for a in arrays if a is not None], known[1])

    return run


def folded(*arrays: np.ndarray, op: str, **attrs: Attr) -> tuple[np.ndarray, ...]:
    """What an op, by its name, gives for constants: the function of recipes that fold (`ir.constants`)."""
    return tuple(OPS_BY_NAME[op].reference(arrays, attrs))


def _number(i: int) -> Symbol:
    """What stands in a payload for the i-th open extent."""
    return Symbol(f"d{i}", low=0, typical=0)


def _index(e: Dim) -> int:
    symbol = sole_symbol(e)
    assert symbol is not None
    return int(symbol.name[1:])


def _encode(value: Attr) -> Any:
    if isinstance(value, Expr):
        return {"expr": text(value), "dims": [_index(e) for e in extents_in(value)]}
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if isinstance(value, Dim):
        return {"dim": _index(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return value


def _decode(value: Any) -> Attr:
    if isinstance(value, dict):
        if "dim" in value:
            return extent_of(_number(value["dim"]))
        if "expr" in value:
            return parse(value["expr"], {_number(i).name: _number(i) for i in value["dims"]})
        return base64.b64decode(value["bytes"])
    if isinstance(value, list):
        return tuple(_decode(v) for v in value)  # type: ignore[return-value]
    result: Attr = value
    return result
