"""Device memory and streams, as contexts and calibrators need them: the only place that knows the package `memory`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import BindingError
from camshaft.tensorrt import memory

Array = np.ndarray[Any, np.dtype[Any]]


def array_at(address: int, shape: Sequence[int], dtype: np.dtype[Any], what: str) -> Array:
    """The memory at an address as an array, C order, without a copy.

    what: the argument, for messages.  BindingError where the allocation there is too small, or where there is no memory.
    """
    try:
        return memory.as_array(address, shape, dtype, what)
    except memory.CudaFault as error:
        raise BindingError(str(error)) from error


def stream_of(handle: int) -> memory.Stream:
    """A stream, whose `enqueue` does work in its order, or notes it while it captures a graph.  BindingError for a handle that is none."""
    try:
        return memory.stream(handle)
    except memory.CudaFault as error:
        raise BindingError(str(error)) from error
