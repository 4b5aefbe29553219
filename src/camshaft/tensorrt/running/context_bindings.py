"""What `IExecutionContext` has of bindings by number, until TensorRT 9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, SupportsInt

from camshaft.errors import BindingError, ShapeError
from camshaft.tensorrt.dims import Dims, extents
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.params import whole

if TYPE_CHECKING:
    from camshaft.tensorrt.running.context import IExecutionContext


def by_name(self: IExecutionContext, numbers: Sequence[int]) -> dict[str, int]:
    """Addresses by name.  numbers: in the order of the bindings, those of all profiles or of the active one.

    BindingError if they are fewer or more.
    """
    names = self._engine._names
    count, profiles = len(names), len(self._engine._profiles)
    if len(numbers) == count:
        return dict(zip(names, numbers, strict=True))
    if len(numbers) != count * profiles:
        raise BindingError(
            f"bindings has {len(numbers)} addresses; the engine has {count * profiles}: {', '.join(names)}"
        )
    first = count * self._shapes.profile
    return dict(zip(names, numbers[first : first + count], strict=True))


def execute(
    self: IExecutionContext, batch_size: int = 1, bindings: Sequence[SupportsInt] = ()
) -> bool:
    """As `execute_v2`.  batch_size: of implicit batches, which engines do not have: 1, or that of the inputs' first axes; else
    False, and nothing runs."""
    return _is_explicit(self, batch_size) and self._run_numbers([*map(int, bindings)], 0)


def execute_async(
    self: IExecutionContext,
    batch_size: int = 1,
    bindings: Sequence[SupportsInt] = (),
    stream_handle: SupportsInt = 0,
    input_consumed: Any = None,
) -> bool:
    """As `execute_async_v2`.  batch_size: as of `execute`."""
    handle = int(stream_handle)
    return _is_explicit(self, batch_size) and self._run_numbers([*map(int, bindings)], handle)


@reported(False)
def _is_explicit(self: IExecutionContext, batch_size: int) -> bool:
    """Whether a call does all that is asked.  BindingError, logged, for rows that it would leave out."""
    if whole(batch_size, "batch_size") == 1:
        return True
    inputs = [name for name, end in self._engine._ends.items() if end.is_input]
    shapes = {name: tuple(self.get_tensor_shape(name)) for name in inputs}
    firsts = {name: shape[0] for name, shape in shapes.items() if shape}
    other = next((n for n, first in firsts.items() if first != batch_size), None)
    if other is not None:
        raise BindingError(
            f"batch_size={batch_size}, and input {other!r} has the shape {shapes[other]}: batches are explicit here, the first "
            "axis of inputs; give the network that axis, and use execute_v2"
        )
    return True


def execute_async_v2(
    self: IExecutionContext,
    bindings: Sequence[SupportsInt],
    stream_handle: SupportsInt,
    input_consumed: Any = None,
) -> bool:
    """As `execute_v2`, in a stream's order.  input_consumed: an event, which the end of the call stands for."""
    return self._run_numbers([*map(int, bindings)], int(stream_handle))


@reported(False)
def set_binding_shape(
    self: IExecutionContext, binding: int, shape: Sequence[SupportsIndex]
) -> bool:
    """Set the shape of an input of the active profile; False, and an error, where the profile does not allow it."""
    if self._shapes.set(_name(self, binding), extents(shape, "shape")):
        self._forget()
    return True


def get_binding_shape(self: IExecutionContext, binding: int) -> Dims:
    """Extents, -1 for those that are not known."""
    return self.get_tensor_shape(_plain(self, binding))


def get_strides(self: IExecutionContext, binding: int) -> Dims:
    """Elements from one index to the next along each axis."""
    return self.get_tensor_strides(_plain(self, binding))


@reported(False)
def set_shape_input(self: IExecutionContext, binding: int, shape: Sequence[SupportsIndex]) -> bool:
    """Set the elements of an input that says shapes; False, and an error, where the profile does not allow them."""
    name = _name(self, binding)
    if not self._engine._ends[name].says_shapes:
        raise ShapeError(f"binding {binding}, {name!r}, says no shapes")
    self._shapes.set_values(name, tuple(whole(v, "shape") for v in shape))
    self._forget()
    return True


def get_shape(self: IExecutionContext, binding: int) -> list[int]:
    """The elements of an input that says shapes; [] where they are not set."""
    return [*self._shapes.values.get(_plain(self, binding), ())]


def _plain(self: IExecutionContext, binding: int) -> str:
    """The name of a binding of any profile.  IndexError of a number that is none."""
    count = len(self._engine._names)
    number = whole(binding, "binding")
    if not 0 <= number < count * len(self._engine._profiles):
        raise IndexError(f"binding {number}: the engine has {count * len(self._engine._profiles)}")
    return self._engine._names[number % count]


def _name(self: IExecutionContext, binding: int) -> str:
    """The name of a binding of the active profile.  ShapeError of one of another."""
    name, profile = _plain(self, binding), self._shapes.profile
    if binding // len(self._engine._names) != profile:
        raise ShapeError(
            f"binding {binding} is of another optimization profile than {profile}, the active one"
        )
    return name
