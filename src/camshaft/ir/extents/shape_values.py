"""The op `extents`: a small integer tensor whose elements are extents.

What shape arithmetic comes to when somebody reads it as data.  Its value is known when sizes are
set, so it costs one small kernel that copies numbers, and nothing where nobody reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from camshaft.ir.extents.sizes import fixed
from camshaft.ir.op import Attribute, Attrs, OpDef
from camshaft.ir.types import TensorType, dtype_named

Values = Mapping[str, Any]


def _infer(types: Sequence[TensorType], attrs: Values) -> list[TensorType]:
    return [TensorType(dtype_named(attrs["dtype"]), tuple(attrs["shape"]))]


def _reference(arrays: Sequence[np.ndarray], attrs: Values) -> list[np.ndarray]:
    values = np.array(
        fixed(attrs["values"], "values of the tensor"), dtype_named(attrs["dtype"]).numpy
    )
    return [values.reshape(attrs["shape"])]


EXTENTS = OpDef(
    "extents",
    "Extents as a small integer tensor, of which shape arithmetic in the model reads some as data.",
    _infer,
    _reference,
    {
        "values": Attribute("the extents in row-major order"),
        "shape": Attribute("shape of the tensor"),
        "dtype": Attribute("element type", "i64"),
    },
    "shapes",
    folds=False,
    symbolic=lambda arrays, attrs: [extents_of(attrs)],
)


def extents_attrs(values: np.ndarray, type: TensorType) -> Attrs:
    """Attributes of the node for an object array of extents."""
    assert values.size == prod(type.shape)
    return {"values": tuple(values.flat), "shape": values.shape, "dtype": type.dtype.name}


def extents_of(attrs: Attrs) -> np.ndarray:
    """Inverse of `extents_attrs`: the object array."""
    values: Any = attrs["values"]
    array = np.empty(len(values), object)
    array[:] = values
    shape: Any = attrs["shape"]
    return array.reshape(shape)
