"""What `ICudaEngine` has of bindings by number, until TensorRT 9: k profiles have k times the inputs and outputs, and the names
of a profile p > 0 end in ` [profile p]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorFormat, TensorLocation
from camshaft.tensorrt.formats import words
from camshaft.tensorrt.network.params import whole

if TYPE_CHECKING:
    from camshaft.tensorrt.running.ends import End
    from camshaft.tensorrt.running.engine import ICudaEngine

_DEVICE, _HOST = TensorLocation.DEVICE, TensorLocation.HOST
_LINEAR, _FLOAT = TensorFormat.LINEAR, DataType.FLOAT


def num_bindings(self: ICudaEngine) -> int:
    """Inputs and outputs, times profiles."""
    return len(self._names) * len(self._profiles)


def max_batch_size(self: ICudaEngine) -> int:
    """1: batches are explicit."""
    return 1


def item(self: ICudaEngine, arg0: int | str) -> str | int:
    """The name of a binding, or the number of a name.  IndexError of a number that is none."""
    if isinstance(arg0, str):
        return get_binding_index(self, arg0)
    number = whole(arg0, "index")
    if not 0 <= number < num_bindings(self):
        raise IndexError(f"binding {number}: the engine has {num_bindings(self)}")
    return _name(self, number)


def get_binding_name(self: ICudaEngine, index: int) -> str | None:
    """The name; None, and an error, of a number that is none."""
    return None if end_at(self, index) is None else _name(self, index)


def get_binding_index(self: ICudaEngine, name: str) -> int:
    """The number; -1 of a name that is none."""
    plain, _, suffix = name.partition(" [profile ")
    if plain not in self._ends:
        return -1
    profile = suffix.removesuffix("]")
    place = self._names.index(plain) + len(self._names) * (int(profile) if profile.isdigit() else 0)
    return place if place < num_bindings(self) and _name(self, place) == name else -1


def binding_is_input(self: ICudaEngine, index: int | str) -> bool:
    """Whether it is an input, by number or name."""
    end = end_at(self, index)
    return end is not None and end.is_input


def get_binding_shape(self: ICudaEngine, index: int | str) -> Dims:
    """Extents, -1 for open ones, by number or name."""
    end = end_at(self, index)
    return Dims(() if end is None else end.shape)


def get_binding_dtype(self: ICudaEngine, index: int | str) -> DataType:
    """Type of the elements, by number or name."""
    end = end_at(self, index)
    return _FLOAT if end is None else end.kind


def get_location(self: ICudaEngine, index: int | str) -> TensorLocation:
    """HOST of inputs that say shapes, else DEVICE, by number or name."""
    end = end_at(self, index)
    return _HOST if end is not None and end.says_shapes else _DEVICE


def get_profile_shape(self: ICudaEngine, profile_index: int, binding: int | str) -> list[Dims]:
    """[min, opt, max] of an input, by number or name.  RuntimeError of what has none."""
    found = _triple(self, profile_index, binding, values=False)
    return [Dims(shape) for shape in found]


def get_profile_shape_input(
    self: ICudaEngine, profile_index: int, binding: int | str
) -> list[list[int]]:
    """[min, opt, max] of the elements of an input that says shapes.  RuntimeError of what has none."""
    return [list(v) for v in _triple(self, profile_index, binding, values=True)]


def is_shape_binding(self: ICudaEngine, binding: int) -> bool:
    """Whether the elements say shapes."""
    end = end_at(self, binding)
    return end is not None and end.says_shapes


def is_execution_binding(self: ICudaEngine, binding: int) -> bool:
    """Whether the elements are computed with, as all are that say no shapes."""
    end = end_at(self, binding)
    return end is not None and not end.says_shapes


def get_binding_bytes_per_component(self: ICudaEngine, index: int) -> int:
    """Bytes of an element."""
    end = end_at(self, index)
    return -1 if end is None else end.dtype.itemsize


def get_binding_components_per_element(self: ICudaEngine, index: int) -> int:
    """-1: elements do not come in vectors."""
    end_at(self, index)
    return -1


def get_binding_format(self: ICudaEngine, index: int) -> TensorFormat:
    """LINEAR, or one with channels last that the network asks for."""
    end = end_at(self, index)
    return _LINEAR if end is None else end.format


def get_binding_format_desc(self: ICudaEngine, index: int) -> str:
    """The layout in words."""
    return words(get_binding_format(self, index))


def get_binding_vectorized_dim(self: ICudaEngine, index: int) -> int:
    """-1: elements do not come in vectors."""
    end_at(self, index)
    return -1


def end_at(self: ICudaEngine, index: int | str) -> End | None:
    """The input or output of a binding; None, and an error, if there is none."""
    number = get_binding_index(self, index) if isinstance(index, str) else whole(index, "index")
    if not 0 <= number < num_bindings(self):
        self._reports.error(f"binding {index!r}: the engine has {num_bindings(self)} bindings")
        return None
    return self._ends[self._names[number % len(self._names)]]


def _name(self: ICudaEngine, number: int) -> str:
    profile, place = divmod(number, len(self._names))
    return self._names[place] + (f" [profile {profile}]" if profile else "")


def _triple(
    self: ICudaEngine, profile_index: int, binding: int | str, *, values: bool
) -> tuple[tuple[int, ...], ...]:
    end = end_at(self, binding)
    triple = None if end is None else self._triple(end.name, profile_index, values=values)
    if triple is None:
        raise RuntimeError(f"profile {profile_index} says nothing of binding {binding!r}")
    return triple
