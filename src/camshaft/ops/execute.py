"""Run one op by its reference, from bytes: how an engine carries a step that has no kernel.

The payload is JSON (op name and attributes), so an engine file stays free of pickle.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.expr import Expr, parse, text
from camshaft.ir.extent import Dim
from camshaft.ir.op import Attr, Attrs, OpDef
from camshaft.ops import OPS_BY_NAME

Executor = Callable[[Sequence[np.ndarray | None]], Sequence[np.ndarray]]


def payload(op: OpDef, attrs: Attrs) -> bytes:
    """The op and its attributes as bytes; equal ops give equal bytes."""
    encoded = {k: _encode(v) for k, v in attrs.items()}
    return json.dumps({"op": op.name, "attrs": encoded}, sort_keys=True).encode()


def executor(data: bytes) -> Executor:
    """The callable that a payload describes; ModelError if it describes none."""
    try:
        record = json.loads(data)
        op = OPS_BY_NAME[record["op"]]
        attrs = op.complete({k: _decode(v) for k, v in record["attrs"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"host step payload is damaged: {error}") from error

    def run(arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
        return op.reference([a for a in arrays if a is not None], attrs)

    return run


def _encode(value: Attr) -> Any:
    if isinstance(value, Expr):
        return {"expr": text(value)}
    if isinstance(value, tuple):
        return [str(v) if isinstance(v, Dim) else v for v in value]
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return value


def _decode(value: Any) -> Attr:
    if isinstance(value, dict):
        if "expr" in value:
            return parse(value["expr"])
        return base64.b64decode(value["bytes"])
    if isinstance(value, list):
        return tuple(value)
    result: Attr = value
    return result
