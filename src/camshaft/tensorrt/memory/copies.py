"""Copies between addresses, and from and to objects that are memory themselves."""

from __future__ import annotations

import ctypes
import operator
from typing import Any, SupportsInt

import numpy as np

from camshaft.tensorrt.memory.allocations import as_array, check
from camshaft.tensorrt.memory.faults import Code, CudaFault
from camshaft.tensorrt.memory.streams import Stream, stream


def copy(target: int, source: int, nbytes: int) -> None:
    """Copies bytes; both may overlap. CudaFault (INVALID_VALUE) as for `check`."""
    if nbytes < 0:
        raise CudaFault(Code.INVALID_VALUE, f"the count is {nbytes}: give a number of bytes")
    check(target, nbytes, "the destination", writes=True)
    check(source, nbytes, "the source")
    ctypes.memmove(target, source, nbytes)


def fill(target: int, value: int, count: int, itemsize: int = 1) -> None:
    """Sets `count` elements of `itemsize` bytes (1, 2 or 4) to `value`, whose higher bits are left out."""
    array = as_array(target, (count,), np.dtype(f"u{itemsize}"), "the destination", True)
    array.fill(value & ((1 << 8 * itemsize) - 1))


def enqueue_copy(
    target: Any, source: Any, nbytes: int, handle: SupportsInt | None = None
) -> Stream:
    """Copies bytes in a stream, which is returned. target, source: see `region`; they are kept until it is done.

    CudaFault (INVALID_VALUE) where one is too small, before anything is enqueued; errors as for `region`.
    """
    to, start = room(target, nbytes, "the destination"), room(source, nbytes, "the source")

    def work(kept: tuple[Any, Any] = (target, source)) -> None:
        copy(to, start, nbytes)

    queue = stream(handle)
    queue.enqueue(work)
    return queue


def enqueue_fill(
    target: Any, value: int, count: int, itemsize: int = 1, handle: SupportsInt | None = None
) -> Stream:
    """Sets elements in a stream, which is returned; see `fill` and `enqueue_copy`."""
    to = room(target, count * itemsize, "the destination")
    queue = stream(handle)
    queue.enqueue(lambda: fill(to, value, count, itemsize))
    return queue


def region(argument: Any, what: str) -> tuple[int, int | None]:
    """(address, bytes) of what a script gives as a pointer; None for the bytes where only the address is known.

    argument: None (null), an address, whatever converts to one (handles, `c_void_p`, pycuda's allocations), or an
    object that is contiguous memory itself, such as an array or bytes. TypeError for others; ValueError for memory
    that is not contiguous.
    """
    if argument is None:
        return 0, None
    if isinstance(argument, ctypes.c_void_p):
        return argument.value or 0, None
    if isinstance(argument, np.ndarray):
        if not argument.flags.forc:
            raise ValueError(f"{what} is an array that is not contiguous: copy it first")
        return argument.ctypes.data, argument.nbytes
    if not isinstance(argument, memoryview):
        try:
            return operator.index(argument), None
        except TypeError:
            if hasattr(argument, "__int__"):
                return int(argument), None
    return _buffer(argument, what)


def room(argument: Any, nbytes: int, what: str) -> int:
    """The address of a pointer that a script gives, which must have so many bytes.

    CudaFault (INVALID_VALUE) where it does not; errors as for `region`.
    """
    address, known = region(argument, what)
    if known is not None and known < nbytes:
        raise CudaFault(
            Code.INVALID_VALUE, f"{what} has {known} bytes, not the {nbytes} of the call"
        )
    check(address, nbytes, what)
    return address


def _buffer(argument: Any, what: str) -> tuple[int, int]:
    """(address, bytes) of an object with the buffer protocol."""
    try:
        view = memoryview(argument)
    except TypeError:
        kind = type(argument).__name__
        raise TypeError(f"{what} is a {kind}: give an address or an array") from None
    if not view.contiguous:
        raise ValueError(f"{what} is memory that is not contiguous: copy it first")
    if view.nbytes == 0:
        return 0, 0
    return np.frombuffer(view, np.uint8).ctypes.data, view.nbytes
