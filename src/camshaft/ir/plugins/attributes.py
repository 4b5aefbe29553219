"""Values of plugins' attributes as the kinds that their defaults have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.op import REQUIRED


def completed(plugin: str, defaults: Mapping[str, Any], attrs: Mapping[str, Any]) -> dict[str, Any]:
    """`attrs` with defaults; ModelError names one that is unknown or missing, or of another kind than its default.

    plugin: its name.  NumPy's numbers count as Python's; arrays of numbers as lists, where the default is a list.
    """
    unknown = sorted(set(attrs) - set(defaults))
    if unknown:
        known = ", ".join(defaults) or "none"
        raise ModelError(f"plugin {plugin!r} has no attribute {unknown} (it has {known})")
    filled = {**defaults, **attrs}
    missing = [k for k, v in filled.items() if v is REQUIRED]
    if missing:
        raise ModelError(f"plugin {plugin!r} needs attribute {missing}")
    return {k: _as_default(v, defaults[k], k) for k, v in filled.items()}


def _as_default(value: Any, default: Any, name: str) -> Any:
    """The value as the kind of the default: ONNX has no bools, and ints for floats are common."""
    value, default = plain(value), plain(default)
    if default is REQUIRED or default is None:
        return value
    if isinstance(value, np.ndarray) and not isinstance(default, np.ndarray):
        value = plain(value.tolist())
    if isinstance(default, np.ndarray) and isinstance(value, tuple | int | float):
        value = _as_array(value, default, name)
    if isinstance(default, bool) and isinstance(value, int):
        return bool(value)
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    if not isinstance(value, type(default)):
        kind = "list" if isinstance(default, tuple) else type(default).__name__
        raise ModelError(f"attribute {name!r} is {value!r:.60}, and one of type {kind} is needed")
    return value


def _as_array(value: Any, default: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.asarray(value, default.dtype)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"attribute {name!r} is {value!r:.60}, and no array of {default.dtype}: {error}"
        ) from error


def plain(value: Any) -> Any:
    """A value with NumPy's numbers as Python's, lists as tuples, within lists too; arrays as they are."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return tuple(plain(v) for v in value)
    return value
