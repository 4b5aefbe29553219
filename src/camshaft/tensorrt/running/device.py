"""Device memory and streams, as contexts and calibrators need them: the only place that knows the package `memory`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsInt

import numpy as np

from camshaft.errors import BindingError
from camshaft.tensorrt import memory

Array = np.ndarray[Any, np.dtype[Any]]
_ADDRESSES = 1 << 64


def array_at(
    address: int, shape: Sequence[int], dtype: np.dtype[Any], what: str, writes: bool = False
) -> Array:
    """The memory at an address as an array, C order, without a copy.

    what: the argument, for messages.  writes: whether the array is to be written.  BindingError where the allocation there is too small, or
    where there is no memory, or none that can be written.
    """
    try:
        return memory.as_array(address, shape, dtype, what, writes)
    except memory.CudaFault as error:
        raise BindingError(str(error)) from error


def stream_of(handle: int) -> memory.Stream:
    """A stream, whose `enqueue` does work in its order, or notes it while it captures a graph.  BindingError for a handle that is none."""
    try:
        return memory.stream(handle)
    except memory.CudaFault as error:
        raise BindingError(str(error)) from error


def address_of(value: SupportsInt, name: str) -> int:
    """An address, of an int or of an object that stands for one.  TypeError for what is none, such as an array or a fraction."""
    if type(value) is int and 0 <= value < _ADDRESSES:
        return value
    if not isinstance(value, float | str | bytes | np.ndarray | np.inexact):
        try:
            found = int(value)
        except (TypeError, ValueError):
            found = -1
        if 0 <= found < _ADDRESSES:
            return found
    raise TypeError(
        f"{name} is {type(value).__name__} {value!r:.80}; give an address, as of array.ctypes.data"
    )
