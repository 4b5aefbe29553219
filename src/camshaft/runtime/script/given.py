"""Inputs of a call that no graph takes, checked: sequences, maps, optionals, strings, tensors of any rank."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.script import End, Opaque
from camshaft.ir.types import DType
from camshaft.runtime.script.steps import tidy

_MOST = 2**63


def checked(end: End, value: Any) -> Any:
    """An input that is no tensor of known rank, as steps take it; BindingError for another kind."""
    assert isinstance(end.type, Opaque)
    kind, dtype = end.type.kind, np.dtype(end.type.dtype.numpy)
    if kind == "optional":
        if value is None:
            return None
        kind = end.type.holds
    if kind == "sequence":
        if not isinstance(value, list | tuple):
            held = "dictionaries" if end.type.keys else "arrays"
            raise BindingError(f"input {end.name!r} is {end.type!r}: give a list of {held}")
        return [_map(end, v) if end.type.keys else _array(end, v, dtype) for v in value]
    if kind == "map":
        return _map(end, value)
    array, dims = _array(end, value, dtype), end.type.dims
    if dims is not None and (
        array.ndim != len(dims)
        or any(d not in (None, n) for d, n in zip(dims, array.shape, strict=True))
    ):
        raise ShapeError(f"input {end.name!r} has shape {array.shape}, expected {end.type!r}")
    return array


def _array(end: End, value: Any, dtype: np.dtype) -> Any:
    if not isinstance(value, np.ndarray | np.generic | str):
        raise BindingError(
            f"input {end.name!r} ({end.type!r}) holds a {type(value).__name__}, not an array"
        )
    array = np.asarray(value)
    if dtype.kind == "O":
        if array.dtype.kind not in "OU" or not all(isinstance(v, str) for v in array.flat):
            raise BindingError(
                f"input {end.name!r} ({end.type!r}) holds {array.dtype}; give an array of objects, each a str"
            )
        return array.astype(object)
    if array.dtype != dtype:
        raise BindingError(f"input {end.name!r} holds {array.dtype}, expected {dtype}")
    return tidy(array.astype(end.type.dtype.held.numpy, copy=False))


def delivered(end: End, value: Any) -> Any:
    """A result in the element type that the model declares."""
    if not isinstance(end.type, Opaque) or end.type.dtype.held == end.type.dtype:
        return value
    if isinstance(value, list):
        return [delivered(end, v) for v in value]
    return value if value is None else value.astype(end.type.dtype.numpy)


def _map(end: End, value: Any) -> dict[Any, Any]:
    """A map with keys and values as Python's own ints, floats (rounded to f32 where the map holds such) and
    strs."""
    assert isinstance(end.type, Opaque) and end.type.keys is not None
    if not isinstance(value, dict):
        raise BindingError(
            f"input {end.name!r} is {end.type!r}: {type(value).__name__} is no dictionary"
        )
    keys, values = end.type.keys, end.type.dtype
    return {
        _scalar(end, "key", k, keys): _scalar(end, "value", v, values) for k, v in value.items()
    }


def _scalar(end: End, what: str, value: Any, dtype: DType) -> str | int | float:
    if dtype.kind == "s":
        if isinstance(value, str):
            return str(value)
    elif dtype.is_float:
        if isinstance(value, Real) and not isinstance(value, bool):
            with np.errstate(over="ignore"):
                return float(dtype.numpy.type(value))
    elif (
        isinstance(value, Integral) and not isinstance(value, bool) and -_MOST <= int(value) < _MOST
    ):
        return int(value)
    raise BindingError(f"input {end.name!r} is {end.type!r}: {value!r:.40} is no {what} of {dtype}")
