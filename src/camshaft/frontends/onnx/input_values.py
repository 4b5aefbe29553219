"""Values of inputs that are said before any call (`values=`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.said import Value, flat_values, is_fixed
from camshaft.ir.types import DType, string

Declared = Sequence[int | str | None] | None
"""Declared extents: numbers, names, None for neither; None if not even the rank is declared."""


def fixed_array(name: str, value: Value, dtype: DType, declared: Declared) -> np.ndarray:
    """The values of input `name` as an array of its type; one number may stand for one element.

    ModelError where they are of another kind or range than `dtype`, or do not fit what is declared.
    """
    what = f"values[{name!r}]"
    if dtype == string:
        raise ModelError(f"{what}: the input holds strings, which cannot be given a value")
    for element in flat_values(value):
        if not _holds(dtype, element):
            raise ModelError(f"{what} holds {element!r}, and the input holds {dtype}")
    array = np.array(value, dtype.numpy)
    if declared is None:
        return array
    wanted = [d if isinstance(d, int) else None for d in declared]
    if array.ndim == 0 and all(d in (1, None) for d in wanted):
        return array.reshape((1,) * len(wanted))
    if array.ndim != len(wanted) or any(
        d is not None and d != given for d, given in zip(wanted, array.shape, strict=True)
    ):
        shape = [str(d) if d is not None else "?" for d in declared]
        raise ModelError(
            f"{what} has the shape {list(array.shape)}, the model's input [{', '.join(shape)}]"
        )
    return array


def fixed_values(values: Mapping[str, Value]) -> dict[str, Value]:
    """Those that are numbers throughout."""
    return {name: value for name, value in values.items() if is_fixed(value)}


def _holds(dtype: DType, element: object) -> bool:
    """Whether an element of this type can have the value; floats are rounded."""
    if isinstance(element, bool) or dtype.kind == "b":
        return isinstance(element, bool) and dtype.kind == "b"
    if dtype.is_float:
        return isinstance(element, int | float)
    low, high = dtype.range
    return isinstance(element, int) and low <= element <= high
