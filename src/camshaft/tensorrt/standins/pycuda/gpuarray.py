"""`pycuda.gpuarray`: arrays of device memory; arithmetic is NumPy's."""

from __future__ import annotations

from typing import Any, SupportsInt

import numpy as np
from numpy.typing import DTypeLike

from camshaft.tensorrt.standins.pycuda import device_memory as driver
from camshaft.tensorrt.standins.pycuda.host_memory import pagelocked_empty

Shape = int | tuple[int, ...]


class GPUArray:
    """An array in device memory, C order. gpudata: its memory, new where none is given."""

    def __init__(
        self, shape: Shape, dtype: DTypeLike, allocator: Any = driver.mem_alloc, gpudata: Any = None
    ) -> None:
        self.shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        self.dtype = np.dtype(dtype)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.nbytes = self.size * self.dtype.itemsize
        if gpudata is None and self.nbytes:
            gpudata = allocator(self.nbytes)
        self.gpudata = gpudata

    @property
    def ptr(self) -> int:
        """The address; 0 of an empty array."""
        return 0 if self.gpudata is None else int(self.gpudata)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def __int__(self) -> int:
        return self.ptr

    def set(self, ary: np.ndarray, async_: bool = False, stream: SupportsInt | None = None) -> None:
        """Copies an array here. ValueError for another size, TypeError for another type."""
        if ary.size != self.size:
            raise ValueError(f"ary has shape {ary.shape}, this array {self.shape}: reshape it")
        if ary.dtype != self.dtype:
            raise TypeError(f"ary is {ary.dtype}, this array {self.dtype}: convert it")
        if self.size:
            driver.memcpy_htod_async(self.gpudata, np.ascontiguousarray(ary), stream)

    def set_async(self, ary: np.ndarray, stream: SupportsInt | None = None) -> None:
        """Copies an array here in a stream; errors as for `set`."""
        self.set(ary, True, stream)

    def get(
        self,
        ary: np.ndarray | None = None,
        pagelocked: bool = False,
        async_: bool = False,
        stream: SupportsInt | None = None,
    ) -> np.ndarray:
        """Copies this array into `ary`, by default a new one. ValueError for another size or type."""
        if ary is None:
            make = pagelocked_empty if pagelocked else np.empty
            ary = make(self.shape, self.dtype)
        elif ary.size != self.size or ary.dtype != self.dtype:
            raise ValueError(
                f"ary is {ary.dtype}{list(ary.shape)}, this array {self.dtype}{list(self.shape)}: "
                "give an array of its size and type"
            )
        if self.size:
            driver.memcpy_dtoh_async(ary, self.gpudata, stream)
        return ary

    def get_async(
        self, stream: SupportsInt | None = None, ary: np.ndarray | None = None
    ) -> np.ndarray:
        """Copies this array in a stream; see `get`."""
        return self.get(ary, async_=True, stream=stream)

    def fill(self, value: Any, stream: SupportsInt | None = None) -> GPUArray:
        """Sets all elements; the array itself."""
        self.set(np.full(self.shape, value, self.dtype), stream=stream)
        return self

    def copy(self) -> GPUArray:
        """A new array with the same content."""
        made = GPUArray(self.shape, self.dtype)
        if self.size:
            driver.memcpy_dtod(made.gpudata, self.gpudata, self.nbytes)
        return made

    def reshape(self, *shape: Any) -> GPUArray:
        """The same memory in another shape; one extent may be -1. ValueError for another size."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        extents = np.broadcast_to(np.int8(0), self.shape).reshape(tuple(wanted)).shape
        return GPUArray(extents, self.dtype, gpudata=self.gpudata)

    def ravel(self) -> GPUArray:
        """The same memory with one axis."""
        return self.reshape(-1)

    def __repr__(self) -> str:
        return repr(self.get())

    def _computed(self, ufunc: Any, *operands: Any) -> GPUArray:
        return to_gpu(ufunc(*(o.get() if isinstance(o, GPUArray) else o for o in operands)))

    def __add__(self, other: Any) -> GPUArray:
        return self._computed(np.add, self, other)

    def __radd__(self, other: Any) -> GPUArray:
        return self._computed(np.add, other, self)

    def __sub__(self, other: Any) -> GPUArray:
        return self._computed(np.subtract, self, other)

    def __rsub__(self, other: Any) -> GPUArray:
        return self._computed(np.subtract, other, self)

    def __mul__(self, other: Any) -> GPUArray:
        return self._computed(np.multiply, self, other)

    def __rmul__(self, other: Any) -> GPUArray:
        return self._computed(np.multiply, other, self)

    def __truediv__(self, other: Any) -> GPUArray:
        return self._computed(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> GPUArray:
        return self._computed(np.divide, other, self)

    def __neg__(self) -> GPUArray:
        return self._computed(np.negative, self)


def empty(shape: Shape, dtype: DTypeLike, allocator: Any = driver.mem_alloc) -> GPUArray:
    """A new array, not initialized as far as scripts may know."""
    return GPUArray(shape, dtype, allocator)


def zeros(shape: Shape, dtype: DTypeLike, allocator: Any = driver.mem_alloc) -> GPUArray:
    """A new array of zeros."""
    return GPUArray(shape, dtype, allocator).fill(0)


def empty_like(other_ary: Any) -> GPUArray:
    """A new array of the same shape and type."""
    return GPUArray(other_ary.shape, other_ary.dtype)


def zeros_like(other_ary: Any) -> GPUArray:
    """A new array of zeros of the same shape and type."""
    return empty_like(other_ary).fill(0)


def to_gpu(ary: np.ndarray, allocator: Any = driver.mem_alloc) -> GPUArray:
    """A new array with an array's content."""
    made = GPUArray(ary.shape, ary.dtype, allocator)
    made.set(ary)
    return made


def to_gpu_async(
    ary: np.ndarray, allocator: Any = driver.mem_alloc, stream: SupportsInt | None = None
) -> GPUArray:
    """A new array with an array's content, copied in a stream."""
    made = GPUArray(ary.shape, ary.dtype, allocator)
    made.set_async(ary, stream)
    return made
