"""The registry of allocations: which addresses are ours, and where they end."""

from __future__ import annotations

import ctypes
import mmap
import threading
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from camshaft.errors import BuildError
from camshaft.runtime import arena
from camshaft.tensorrt.memory.faults import Code, CudaFault

_msync = ctypes.CDLL(None).msync
_msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MS_ASYNC = 1
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_POPULATE_WRITE = 23


class Kind(Enum):
    """For what memory was allocated; all of it is the host's."""

    DEVICE = "device memory"
    HOST = "pinned host memory"
    MANAGED = "managed memory"


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Memory from `address` on, a page's boundary. buffer: its bytes, u8[size]."""

    address: int
    size: int
    kind: Kind
    buffer: np.ndarray

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size


class _Registry:
    """Allocations by address. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: list[int] = []
        self._allocations: dict[int, Allocation] = {}

    def add(self, allocation: Allocation) -> None:
        with self._lock:
            insort(self._addresses, allocation.address)
            self._allocations[allocation.address] = allocation

    def remove(self, address: int, kinds: Sequence[Kind]) -> None:
        with self._lock:
            known = self._allocations.get(address)
            if known is None or known.kind not in kinds:
                raise CudaFault(Code.INVALID_VALUE, _not_allocated(address, known, kinds))
            del self._allocations[address]
            del self._addresses[bisect_right(self._addresses, address) - 1]

    def find(self, address: int) -> Allocation | None:
        with self._lock:
            index = bisect_right(self._addresses, address) - 1
            if index < 0:
                return None
            known = self._allocations[self._addresses[index]]
        return known if address < known.end else None


_REGISTRY = _Registry()


def _not_allocated(address: int, known: Allocation | None, kinds: Sequence[Kind]) -> str:
    wanted = " or ".join(k.value for k in kinds)
    if known is not None:
        return (
            f"{address:#x} is {known.kind.value}, not {wanted}: free it with the function for that"
        )
    return f"{address:#x} is not the start of {wanted} in use: free it once, by the address that was given"


def allocate(size: int, kind: Kind = Kind.DEVICE) -> int:
    """The address of `size` new bytes, zeroed, on a page's boundary; 0 for no bytes.

    CudaFault (INVALID_VALUE) for a negative size, (OUT_OF_MEMORY) where the system has no memory.
    """
    if size < 0:
        raise CudaFault(Code.INVALID_VALUE, f"size is {size}: give a number of bytes, 0 or more")
    if size == 0:
        return 0
    try:
        buffer = arena.allocate(size, kind.value, "free what is not needed")
    except BuildError as error:
        raise CudaFault(Code.OUT_OF_MEMORY, str(error)) from error
    _REGISTRY.add(Allocation(buffer.ctypes.data, size, kind, buffer))
    return buffer.ctypes.data


def free(address: int, *kinds: Kind) -> None:
    """Gives an allocation back; 0 is none. kinds: those it may be of, by default device memory and managed memory.

    Arrays that `as_array` gave stay usable: the memory goes with the last of them.
    CudaFault (INVALID_VALUE) for an address that no allocation of these kinds starts at, such as one freed before.
    """
    if address != 0:
        _REGISTRY.remove(address, kinds or (Kind.DEVICE, Kind.MANAGED))


def find(address: int) -> Allocation | None:
    """The allocation that holds the byte at an address; None where it is not ours."""
    return _REGISTRY.find(address)


def check(address: int, nbytes: int, what: str, writes: bool = False) -> Allocation | None:
    """The allocation that holds `nbytes` from `address` on; None where the memory is somebody else's.

    what: the argument, for messages. writes: whether the memory is to be written. CudaFault (INVALID_VALUE) where the allocation ends
    before, where there is no memory at all, as behind an address that was freed, or where it cannot be written.
    """
    if nbytes == 0:
        return None
    if address == 0:
        raise CudaFault(Code.INVALID_VALUE, f"{what} is a null pointer: allocate {nbytes} bytes")
    known = find(address)
    if known is not None and address + nbytes > known.end:
        raise CudaFault(
            Code.INVALID_VALUE,
            f"{what} needs {nbytes} bytes at {address:#x}, but its allocation of {known.size} bytes holds only "
            f"{known.end - address} from there on: allocate more",
        )
    if known is None and not _is_mapped(address, nbytes):
        raise CudaFault(
            Code.INVALID_VALUE,
            f"{what} needs {nbytes} bytes at {address:#x}, where there is no memory: it was freed, or is no address",
        )
    if writes and known is None and not _is_writable(address, nbytes):
        raise CudaFault(
            Code.INVALID_VALUE, f"{what} lies at {address:#x}, in memory that can only be read"
        )
    return known


def _is_mapped(address: int, nbytes: int) -> bool:
    """Whether this process has memory there: msync finds holes and, asked for nothing, changes nothing."""
    start = address - address % mmap.PAGESIZE
    length = address + nbytes - start
    if start >= 1 << 63 or length >= 1 << 63:
        return False
    return not _msync(start, length, _MS_ASYNC)


@cache
def _tells_writable() -> bool:
    """Whether the kernel knows the question that `_is_writable` asks."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    return not _madvise(np.frombuffer(page, np.uint8).ctypes.data, mmap.PAGESIZE, _POPULATE_WRITE)


def _is_writable(address: int, nbytes: int) -> bool:
    """Whether memory that is there can be written, as far as the kernel says: it is asked to have its pages ready for that."""
    start = address - address % mmap.PAGESIZE
    return not (_tells_writable() and _madvise(start, address + nbytes - start, _POPULATE_WRITE))


def as_array(
    address: int, shape: Sequence[int], dtype: DTypeLike, what: str, writes: bool = False
) -> np.ndarray:
    """The memory at an address as an array, C order, without a copy; errors as for `check`."""
    element = np.dtype(dtype)
    nbytes = prod(shape) * element.itemsize
    if nbytes == 0:
        return np.empty(shape, element)
    known = check(address, nbytes, what, writes)
    if known is not None:
        start = address - known.address
        whole = known.buffer[start : start + nbytes]
    else:
        whole = np.frombuffer(memoryview((ctypes.c_uint8 * nbytes).from_address(address)), np.uint8)
    return whole.view(element).reshape(shape)
