"""Maps of ai.onnx.ml: made of rows by ZipMap, read by CastMap and DictVectorizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.types import string
from camshaft.ops.hosted.call import Call, Value

_CASTS: Mapping[str, tuple[type, Any]] = {
    "TO_FLOAT": (np.float32, 0.0),
    "TO_INT64": (np.int64, 0),
    "TO_STRING": (object, "0.f"),
}
"""cast_to -> element type, and what stands where a sparse map has nothing, as in ONNX Runtime."""


def listed(call: Call, *names: str) -> list[Any]:
    """The keys that one of two attributes lists, the first of which holds strings."""
    strings, ints = call.attr_strings(names[0]), call.attr_ints(names[1])
    if bool(strings) == bool(ints):
        raise ModelError(f"one of {' and '.join(names)} must be given, and not both")
    return strings or ints or []


def zip_map(call: Call) -> Sequence[Value]:
    """ZipMap(X) -> a list of maps from labels to scores, one for each row of X [N, C] or [C], f32.

    Keys are in ascending order, as ONNX Runtime gives them.
    """
    keys = listed(call, "classlabels_strings", "classlabels_int64s")
    x = np.atleast_2d(call.array(0))
    if x.ndim != 2 or x.shape[1] != len(keys):
        raise ModelError(f"scores of the shape {list(x.shape)} are not rows of {len(keys)} labels")
    places = {key: at for at, key in enumerate(keys)}
    ordered = sorted(places)
    columns = x[:, [places[key] for key in ordered]]
    return [[dict(zip(ordered, row, strict=True)) for row in columns.tolist()]]


def cast_map(call: Call) -> Sequence[Value]:
    """CastMap(X) -> Y [1, M]: the values of a map by ascending keys.

    map_form=DENSE: M is how many there are.  SPARSE: M is max_map, and the keys say where values stand; those
    from max_map on are left out.  Floats are written with six digits behind the point, and what stands for
    nothing is 0, or "0.f", as in ONNX Runtime.
    """
    held, to = call.map(0), call.choice("cast_to", "TO_FLOAT", tuple(_CASTS))
    sparse = call.choice("map_form", "DENSE", ("DENSE", "SPARSE")) == "SPARSE"
    dtype, nothing = _CASTS[to]
    keys = sorted(held)
    if sparse and keys and keys[0] < 0:
        raise ModelError(f"key {keys[0]} of a sparse map is negative")
    cast = _cast(to)
    if not sparse:
        dense: np.ndarray = np.empty(len(keys), dtype)
        dense[:] = [cast(held[key]) for key in keys]
        return [dense.reshape(1, -1)]
    made: np.ndarray = np.full(call.attr_int("max_map", 1), nothing, dtype)
    for key in keys:
        if key < len(made):
            made[key] = cast(held[key])
    return [made.reshape(1, -1)]


def _cast(to: str) -> Callable[[Any], Any]:
    """A value of a map, a float or a str, in the type that cast_to names."""
    if to == "TO_STRING":
        return lambda v: v if isinstance(v, str) else f"{v:.6f}"
    if to == "TO_FLOAT":
        return float
    return lambda v: int(v) if isinstance(v, str) else np.float32(v).astype(np.int64)


def dict_vectorizer(call: Call) -> Sequence[Value]:
    """DictVectorizer(X) -> Y [1, M]: the values of a map at the places of their keys in a vocabulary of M
    keys, 0 or "" where it has none.  Keys that the vocabulary does not list are left out.

    The specification says [M]; ONNX Runtime gives one row, as converters want it.
    """
    held = call.map(0)
    words = listed(call, "string_vocabulary", "int64_vocabulary")
    strings = call.dtypes == (string.name,)
    found = [held.get(word, "" if strings else 0) for word in words]
    return [np.array(found, object if strings else None).reshape(1, -1)]
