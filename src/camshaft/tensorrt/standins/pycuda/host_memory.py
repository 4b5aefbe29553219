"""Arrays of pinned host memory: on pages' boundaries, otherwise as NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from camshaft.errors import BuildError
from camshaft.runtime import arena
from camshaft.tensorrt.standins.pycuda.errors import LogicError, MemoryError

Shape = int | tuple[int, ...]


def pagelocked_empty(
    shape: Shape, dtype: DTypeLike, order: str = "C", mem_flags: int = 0
) -> np.ndarray:
    """A new array, zeroed. order: "C" or "F"; LogicError for another."""
    if order not in ("C", "F"):
        raise LogicError(f"order is {order!r}: give 'C' or 'F'")
    extents = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    element = np.dtype(dtype)
    nbytes = int(np.prod(extents, dtype=np.int64)) * element.itemsize
    try:
        room = arena.allocate(nbytes, "pinned host memory", "free what is not needed")
    except BuildError as error:
        raise MemoryError(f"cuMemHostAlloc failed: {error}") from error
    return np.ndarray(extents, element, room.data, order="C" if order == "C" else "F")


pagelocked_zeros = pagelocked_empty


def pagelocked_empty_like(array: np.ndarray, mem_flags: int = 0) -> np.ndarray:
    """A new array, zeroed, of the same shape, type and order."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return pagelocked_empty(array.shape, array.dtype, order)


pagelocked_zeros_like = pagelocked_empty_like


managed_empty, managed_empty_like = pagelocked_empty, pagelocked_empty_like
managed_zeros, managed_zeros_like = pagelocked_zeros, pagelocked_zeros_like


def aligned_empty(
    shape: Shape, dtype: DTypeLike, order: str = "C", alignment: int = 4096
) -> np.ndarray:
    """A new array, zeroed, on a page's boundary."""
    return pagelocked_empty(shape, dtype, order)


aligned_zeros = aligned_empty


def register_host_memory(ary: Any, flags: int = 0) -> Any:
    """Pins an array's memory: nothing to do. The array itself."""
    return ary
