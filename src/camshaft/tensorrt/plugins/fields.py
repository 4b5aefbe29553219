"""Fields of plugins: named attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

import numpy as np

from camshaft.tensorrt.enums.plugins import PluginFieldType
from camshaft.tensorrt.network.params import text

_TYPES = {
    PluginFieldType.FLOAT16: np.float16,
    PluginFieldType.FLOAT32: np.float32,
    PluginFieldType.FLOAT64: np.float64,
    PluginFieldType.INT8: np.int8,
    PluginFieldType.INT16: np.int16,
    PluginFieldType.INT32: np.int32,
    PluginFieldType.CHAR: np.int8,
    PluginFieldType.DIMS: np.int32,
    PluginFieldType.INT64: np.int64,
}
"""Elements of fields; those of other types are bytes."""


class PluginField:
    """A named attribute: its elements and their type."""

    def __init__(
        self,
        name: str = "",
        data: Any = None,
        type: PluginFieldType = PluginFieldType.UNKNOWN,
    ) -> None:
        """data: an array, or what has a buffer, as bytes have.  TypeError for other data."""
        self.name, self.type, self.data = name, type, data

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = text(name, "name")

    @property
    def type(self) -> PluginFieldType:
        """Type of the elements."""
        return self._type

    @type.setter
    def type(self, type: PluginFieldType) -> None:
        if not isinstance(type, PluginFieldType):
            raise TypeError(f"type={type!r} must be a member of PluginFieldType")
        self._type = type

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The elements, of one axis; CHAR as int8."""
        kind = np.dtype(_TYPES.get(self._type, np.int8))
        usable = len(self._bytes) // kind.itemsize * kind.itemsize
        return np.frombuffer(self._bytes[:usable], kind).copy()

    @data.setter
    def data(self, data: Any) -> None:
        if data is None:
            self._bytes, self._size = b"", 0
            return
        array = np.asarray(memoryview(data))
        if self._type is not PluginFieldType.UNKNOWN and array.dtype.kind in "fiu":
            wanted = np.dtype(_TYPES.get(self._type, array.dtype))
            array = array if array.dtype.itemsize == wanted.itemsize else array.astype(wanted)
        self._bytes, self._size = np.ascontiguousarray(array).tobytes(), array.size

    @property
    def size(self) -> int:
        """How many elements there are."""
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size = int(size)

    def __repr__(self) -> str:
        return f"PluginField({self.name!r}, {self.data!r}, {self.type!r})"


class PluginFieldCollection:
    """A list of fields."""

    def __init__(self, fields: Iterable[PluginField] = ()) -> None:
        """TypeError for what is no PluginField."""
        self._fields: list[PluginField] = []
        self.extend(fields)

    def append(self, x: PluginField) -> None:
        """Add a field at the end."""
        self._fields.append(_field(x))

    def clear(self) -> None:
        """Remove all."""
        self._fields.clear()

    def extend(self, L: Iterable[PluginField]) -> None:
        """Add fields at the end."""
        self._fields += [_field(x) for x in L]

    def insert(self, i: int, x: PluginField) -> None:
        """Add a field before another."""
        self._fields.insert(i, _field(x))

    def pop(self, i: int = -1) -> PluginField:
        """Remove a field; returns it."""
        return self._fields.pop(i)

    def __setitem__(self, index: SupportsIndex, field: PluginField) -> None:
        self._fields[index] = _field(field)

    def __getitem__(self, index: Any) -> Any:
        found = self._fields[index]
        return PluginFieldCollection(found) if isinstance(found, list) else found

    def __iter__(self) -> Iterator[PluginField]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __bool__(self) -> bool:
        return bool(self._fields)


def _field(given: Any) -> PluginField:
    if not isinstance(given, PluginField):
        raise TypeError(f"{given!r} is no PluginField")
    return given


def fields_of(given: Any) -> PluginFieldCollection:
    """A collection, or a plain list of fields, as a collection; None is an empty one."""
    if isinstance(given, PluginFieldCollection):
        return given
    return PluginFieldCollection(() if given is None else given)


def packed(fields: PluginFieldCollection) -> tuple[tuple[str, int, bytes], ...]:
    """The fields as plain values, which `unpacked` takes."""
    return tuple((f.name, int(f.type), f._bytes) for f in fields)


def unpacked(values: Iterable[tuple[str, int, bytes]]) -> PluginFieldCollection:
    """Inverse of `packed`."""
    made = PluginFieldCollection()
    for name, kind, data in values:
        field = PluginField(name, None, PluginFieldType(kind))
        field._bytes = data
        field._size = field.data.size
        made.append(field)
    return made
