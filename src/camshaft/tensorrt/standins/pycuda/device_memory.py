"""Device memory as objects, copies, and setting it."""

from __future__ import annotations

import weakref
from typing import Any, SupportsInt

import numpy as np
from numpy.typing import DTypeLike

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import Code, CudaFault
from camshaft.tensorrt.standins.device import memory_sizes
from camshaft.tensorrt.standins.pycuda.errors import LogicError, raising

Handle = SupportsInt | None


class PointerHolderBase:
    """What stands for device memory: subclasses say where it is."""

    def get_pointer(self) -> int:
        """The address."""
        raise NotImplementedError("a subclass of PointerHolderBase must define get_pointer")

    def as_buffer(self, size: int, offset: int = 0) -> memoryview:
        """`size` bytes from `offset` on."""
        with raising("as_buffer"):
            array = memory.as_array(int(self) + offset, (size,), np.uint8, "the allocation")
        return array.data

    def __int__(self) -> int:
        return self.get_pointer()

    def __index__(self) -> int:
        return self.get_pointer()


class DeviceAllocation(PointerHolderBase):
    """Device memory, freed with the last reference or by `free`."""

    def __init__(self, address: int) -> None:
        self._address = address
        self._free = weakref.finalize(self, memory.free, address)

    def get_pointer(self) -> int:
        """The address."""
        return self._address

    def free(self) -> None:
        """Gives the memory back. LogicError the second time."""
        if not self._free.alive:
            raise LogicError("device_allocation::free failed: invalid resource handle")
        self._free()


def mem_alloc(bytes: int) -> DeviceAllocation:
    """New device memory. LogicError for no bytes, MemoryError where there is none."""
    with raising("cuMemAlloc"):
        if bytes == 0:
            raise CudaFault(Code.INVALID_VALUE, "bytes is 0: ask for 1 or more")
        return DeviceAllocation(memory.allocate(int(bytes)))


def mem_alloc_like(ary: np.ndarray) -> DeviceAllocation:
    """New device memory of an array's size."""
    return mem_alloc(ary.nbytes)


def mem_get_info() -> tuple[int, int]:
    """Bytes of the machine's memory: (free, all)."""
    return memory_sizes()


def _nbytes(host: Any, what: str) -> int:
    nbytes = memory.region(host, what)[1]
    if nbytes is None:
        raise TypeError(f"{what} is a {type(host).__name__}: give an array")
    return nbytes


def _copy(function: str, dest: Any, src: Any, size: int, stream: Handle = None) -> memory.Stream:
    with raising(function):
        return memory.enqueue_copy(dest, src, size, stream)


def memcpy_htod(dest: Any, src: Any) -> None:
    """Copies an array to the device."""
    _copy("cuMemcpyHtoD", dest, src, _nbytes(src, "src")).synchronize()


def memcpy_htod_async(dest: Any, src: Any, stream: Handle = None) -> None:
    """Copies an array to the device in a stream."""
    _copy("cuMemcpyHtoDAsync", dest, src, _nbytes(src, "src"), stream)


def _check_writable(dest: Any) -> None:
    writable = (
        dest.flags.writeable if isinstance(dest, np.ndarray) else not memoryview(dest).readonly
    )
    if not writable:
        raise BufferError("dest is read-only: give an array that can be written")


def memcpy_dtoh(dest: Any, src: Any) -> None:
    """Copies from the device what fills an array."""
    _check_writable(dest)
    _copy("cuMemcpyDtoH", dest, src, _nbytes(dest, "dest")).synchronize()


def memcpy_dtoh_async(dest: Any, src: Any, stream: Handle = None) -> None:
    """Copies from the device, in a stream, what fills an array."""
    _check_writable(dest)
    _copy("cuMemcpyDtoHAsync", dest, src, _nbytes(dest, "dest"), stream)


def memcpy_dtod(dest: Any, src: Any, size: int) -> None:
    """Copies bytes on the device."""
    _copy("cuMemcpyDtoD", dest, src, size).synchronize()


def memcpy_dtod_async(dest: Any, src: Any, size: int, stream: Handle = None) -> None:
    """Copies bytes on the device in a stream."""
    _copy("cuMemcpyDtoDAsync", dest, src, size, stream)


def _fill(dest: Any, data: int, count: int, itemsize: int, stream: Handle = None) -> memory.Stream:
    with raising(f"cuMemsetD{8 * itemsize}"):
        return memory.enqueue_fill(dest, data, count, itemsize, stream)


def memset_d8(dest: Any, data: int, count: int) -> None:
    """Sets bytes."""
    _fill(dest, data, count, 1).synchronize()


def memset_d16(dest: Any, data: int, count: int) -> None:
    """Sets elements of two bytes."""
    _fill(dest, data, count, 2).synchronize()


def memset_d32(dest: Any, data: int, count: int) -> None:
    """Sets elements of four bytes."""
    _fill(dest, data, count, 4).synchronize()


def memset_d8_async(dest: Any, data: int, count: int, stream: Handle = None) -> None:
    """Sets bytes in a stream."""
    _fill(dest, data, count, 1, stream)


def memset_d32_async(dest: Any, data: int, count: int, stream: Handle = None) -> None:
    """Sets elements of four bytes in a stream."""
    _fill(dest, data, count, 4, stream)


def to_device(bf_obj: Any) -> DeviceAllocation:
    """New device memory with an array's content."""
    made = mem_alloc(_nbytes(bf_obj, "bf_obj"))
    memcpy_htod(made, bf_obj)
    return made


def from_device(
    devptr: Any, shape: tuple[int, ...] | int, dtype: DTypeLike, order: str = "C"
) -> np.ndarray:
    """An array with device memory's content."""
    made = np.empty(shape, dtype, "C" if order == "C" else "F")
    memcpy_dtoh(made, devptr)
    return made


def from_device_like(devptr: Any, other_ary: np.ndarray) -> np.ndarray:
    """An array like another with device memory's content."""
    made = np.empty_like(other_ary)
    memcpy_dtoh(made, devptr)
    return made
