"""What an implementation of an ONNX operator sees of a node that is run: values, attributes, opset.

A value is an array (strings as an object array of str), a list (an ONNX sequence), a dictionary (an ONNX
map, of ints, floats and strs), or None (an optional without an element, or an optional input that is left
out).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from camshaft.errors import ModelError

Value = np.ndarray | list[Any] | dict[Any, Any] | None
Kept = TypeVar("Kept")
Attributes = Mapping[str, Any]
"""Ints, floats, strs, lists of these, arrays for tensors; other kinds as onnx's own messages."""

NUMPY_TYPES: Mapping[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
}
"""ONNX's numbers of the element types that NumPy has."""
STRING = 8
"""ONNX's number of strings."""


@dataclass(frozen=True)
class Call:
    """One run of a node.

    inputs: a value for each input the node names, None where it is left out.  outputs: whether each
    output is named.  dtypes: names of the element types of the named outputs, where they are known before.
    store: what runs of the node keep for each other, see `kept`.
    """

    op_type: str
    opset: int
    attrs: Attributes
    inputs: tuple[Value, ...]
    outputs: tuple[bool, ...]
    dtypes: tuple[str, ...] = ()
    store: dict[Any, Any] = field(default_factory=dict)

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """Input `index`, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def array(self, index: int) -> np.ndarray:
        """Input `index`, a tensor; ModelError where it is missing or no tensor."""
        found = self.given(index)
        if found is None:
            raise ModelError(f"input number {index} is missing")
        return found

    def given(self, index: int) -> np.ndarray | None:
        """Input `index`, a tensor, None where it is left out."""
        value = self.value(index)
        if isinstance(value, list):
            raise ModelError(f"input number {index} is a sequence; a tensor is needed")
        if isinstance(value, dict):
            raise ModelError(f"input number {index} is a map; a tensor is needed")
        return None if value is None else np.asarray(value)

    def arrays(self) -> list[np.ndarray]:
        """All inputs, tensors."""
        return [self.array(i) for i in range(len(self.inputs))]

    def sequence(self, index: int) -> list[Any]:
        """Input `index`, a sequence."""
        value = self.value(index)
        if not isinstance(value, list):
            raise ModelError(f"input number {index} is no sequence")
        return value

    def map(self, index: int) -> dict[Any, Any]:
        """Input `index`, a map."""
        value = self.value(index)
        if not isinstance(value, dict):
            raise ModelError(f"input number {index} is no map")
        return value

    def number(self, index: int, what: str) -> int:
        """Input `index`, one whole number: a scalar, or an array of one element."""
        array = self.array(index)
        if array.size != 1:
            raise ModelError(f"{what} must be one number, not of the shape {list(array.shape)}")
        return int(array.reshape(-1)[0])

    def wants(self, index: int) -> bool:
        """Whether output `index` is named."""
        return index < len(self.outputs) and self.outputs[index]

    def kept(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What `make` gives, made in the first run of the node: it hangs on attributes and the key alone."""
        if key not in self.store:
            self.store[key] = make()
        found: Kept = self.store[key]
        return found

    def attr_int(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self.attrs.get(name, default))

    def attr_flag(self, name: str, default: bool = False) -> bool:
        """An integer attribute that says yes or no."""
        return bool(self.attrs.get(name, default))

    def attr_float(self, name: str, default: float = 0.0) -> float:
        """A float attribute."""
        return float(self.attrs.get(name, default))

    def attr_str(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return str(self.attrs.get(name, default))

    def choice(self, name: str, default: str, names: Sequence[str]) -> str:
        """A string attribute that is one of `names`; ModelError otherwise."""
        value = self.attr_str(name, default)
        if value not in names:
            raise ModelError(f"{name}={value!r} is none of {', '.join(names)}")
        return value

    def attr_ints(self, name: str) -> list[int] | None:
        """A list of ints, None where it is left out or empty."""
        return list(self.attrs.get(name, ())) or None

    def attr_floats(self, name: str) -> list[float] | None:
        """A list of floats, None where it is left out."""
        return list(self.attrs[name]) if name in self.attrs else None

    def attr_strings(self, name: str) -> list[str] | None:
        """A list of strings, None where it is left out."""
        return list(self.attrs[name]) if name in self.attrs else None

    def attr_type(self, name: str, default: int = 1) -> np.dtype:
        """An attribute that holds the number of an element type."""
        number = self.attr_int(name, default)
        if number not in NUMPY_TYPES:
            raise ModelError(f"{name}={number} is no element type that can be computed here")
        return np.dtype(NUMPY_TYPES[number])

    def axis(self, rank: int, default: int = 0, name: str = "axis") -> int:
        """An attribute that names an axis of a tensor of `rank`, counted from 0."""
        return axis_of(self.attr_int(name, default), rank)


Function = Callable[[Call], Sequence[Value]]
"""Gives the values of all outputs, in order; of those at the end that nobody wants it may give none."""


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from 0; ModelError where a tensor of `rank` has none such."""
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank


def checked_indices(indices: np.ndarray, size: int, what: str) -> np.ndarray:
    """Indices along an axis of `size` elements, negative ones counted from the end.

    ModelError where one lies outside.
    """
    indices = indices.astype(np.int64, copy=False)
    if not indices.size:
        return indices
    low, high = int(indices.min()), int(indices.max())
    if low < -size or high >= size:
        bad = low if low < -size else high
        raise ModelError(f"index {bad} is outside {what}, which has {size} elements")
    return indices if low >= 0 else np.where(indices < 0, indices + size, indices)


def computed(x: np.ndarray) -> np.ndarray:
    """Floats of fewer than 32 bits as f32, in which they are computed; others as they are."""
    return x.astype(np.float32) if x.dtype.kind in "fV" and x.dtype.itemsize < 4 else x
