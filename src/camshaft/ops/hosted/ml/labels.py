"""Tables from values to values: LabelEncoder and CategoryMapper of ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value

_KINDS = {"strings": object, "int64s": np.int64, "floats": np.float32}
_NAN = object()
_DEFAULTS: dict[str, Any] = {"string": "_Unused", "int64": -1, "float": -0.0}


def _listed(call: Call, side: str) -> np.ndarray | None:
    """The keys or values of a table, None where there are none."""
    tensor = call.attrs.get(f"{side}_tensor")
    if tensor is not None:
        array = np.asarray(tensor).reshape(-1)
        return array.astype(object) if array.dtype.kind in "SUO" else array
    for kind, dtype in _KINDS.items():
        if f"{side}_{kind}" in call.attrs:
            return np.array(call.attrs[f"{side}_{kind}"], dtype)
    return None


def _default(call: Call, values: np.ndarray) -> Any:
    tensor = call.attrs.get("default_tensor")
    if tensor is not None:
        value = np.asarray(tensor).reshape(-1)[0]
        return value.decode() if isinstance(value, bytes) else value
    kind = "string" if values.dtype == object else "int64" if values.dtype.kind == "i" else "float"
    return call.attrs.get(f"default_{kind}", _DEFAULTS[kind])


def _looked_up(call: Call, keys: np.ndarray, values: np.ndarray) -> list[Value]:
    """The value of each element's key, the default where it is none; NaN is a key from opset 4 on."""
    x, default = call.array(0), _default(call, values)
    key = _key if call.opset >= 4 else lambda value: value
    table = {key(k): v for k, v in zip(keys.tolist(), values.tolist(), strict=True)}
    found = [table.get(key(v), default) for v in x.reshape(-1).tolist()]
    made = np.empty(len(found), values.dtype)
    made[:] = found
    return [made.reshape(x.shape)]


def _key(value: Any) -> Any:
    return _NAN if value != value else value


def label_encoder(call: Call) -> Sequence[Value]:
    """LabelEncoder(X) -> Y.  Before opset 2 a list of strings, which stand for their places or these for
    them."""
    if call.opset < 2:
        names = np.array(call.attr_strings("classes_strings") or [], object)
        places = np.arange(len(names))
        pair = (names, places) if call.array(0).dtype == object else (places, names)
        return _looked_up(call, *pair)
    keys, values = _listed(call, "keys"), _listed(call, "values")
    if keys is None or values is None:
        raise ModelError("keys or values are missing")
    return _looked_up(call, keys, values)


def category_mapper(call: Call) -> Sequence[Value]:
    """CategoryMapper(X) -> Y: strings to integers, or integers to strings."""
    names, places = _listed(call, "cats"), np.array(call.attr_ints("cats_int64s") or [], np.int64)
    if names is None:
        raise ModelError("cats_strings are missing")
    pair = (names, places) if call.array(0).dtype == object else (places, names)
    return _looked_up(call, *pair)
