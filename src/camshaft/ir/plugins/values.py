"""Attribute values of plugins as canonical JSON text, in which nodes, specs and engine files carry them.

A value is a bool, int, float, str, bytes, None, a NumPy array, or a list or tuple of these; lists come back as tuples.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from camshaft.errors import ModelError


def to_text(values: Mapping[str, Any]) -> str:
    """The values by name as text; equal values give equal text.  ModelError names what is no value."""
    return json.dumps({k: _encode(v, k) for k, v in values.items()}, sort_keys=True)


def from_text(text: str) -> dict[str, Any]:
    """Inverse of `to_text`; ModelError if the text is damaged."""
    try:
        return {k: _decode(v) for k, v in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the attributes of a plugin are damaged: {error}") from error


def _encode(value: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise ModelError(f"attribute {name!r} is an array of {value.dtype}, not of numbers")
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": data, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, list | tuple):
        return [_encode(v, name) for v in value]
    raise ModelError(
        f"attribute {name!r} is a {type(value).__name__}; give numbers, texts, bytes, arrays, or lists of these"
    )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v) for v in value)
    if isinstance(value, dict):
        if "bytes" in value:
            return base64.b64decode(value["bytes"])
        array = np.frombuffer(base64.b64decode(value["array"]), np.dtype(value["dtype"]))
        return array.reshape(value["shape"])
    return value
