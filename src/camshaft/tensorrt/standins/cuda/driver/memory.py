"""Memory: allocate, copy, set."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import Code, CudaFault, Kind
from camshaft.tensorrt.standins.cuda.driver.answers import call
from camshaft.tensorrt.standins.cuda.types import CUdeviceptr
from camshaft.tensorrt.standins.device import memory_sizes


def _allocate(size: int, kind: Kind) -> int:
    if size == 0:
        raise CudaFault(Code.INVALID_VALUE, "bytesize is 0: the driver allocates no empty memory")
    return memory.allocate(size, kind)


@call(1)
def cuMemAlloc(bytesize: int) -> CUdeviceptr:
    """Device memory."""
    return CUdeviceptr(_allocate(bytesize, Kind.DEVICE))


@call(1)
def cuMemAllocManaged(bytesize: int, flags: int) -> CUdeviceptr:
    """Managed memory."""
    return CUdeviceptr(_allocate(bytesize, Kind.MANAGED))


@call(1)
def cuMemAllocAsync(bytesize: int, hStream: Any) -> CUdeviceptr:
    """Device memory, at once."""
    memory.stream(hStream)
    return CUdeviceptr(_allocate(bytesize, Kind.DEVICE))


@call()
def cuMemFree(dptr: Any) -> None:
    """Gives device memory or managed memory back."""
    memory.free(int(dptr))


@call()
def cuMemFreeAsync(dptr: Any, hStream: Any) -> None:
    """Gives device memory back when the stream gets there."""
    memory.stream(hStream).enqueue(lambda: memory.free(int(dptr)))


@call(1)
def cuMemAllocHost(bytesize: int) -> int:
    """Pinned host memory: its address."""
    return _allocate(bytesize, Kind.HOST)


@call(1)
def cuMemHostAlloc(bytesize: int, Flags: int) -> int:
    """Pinned host memory: its address."""
    return _allocate(bytesize, Kind.HOST)


@call()
def cuMemFreeHost(p: Any) -> None:
    """Gives pinned host memory back."""
    memory.free(memory.region(p, "p")[0], Kind.HOST)


@call(2)
def cuMemGetInfo() -> tuple[int, int]:
    """Bytes of the machine's memory: (free, all)."""
    return memory_sizes()


@call()
def cuMemcpy(dst: Any, src: Any, ByteCount: int) -> None:
    """Copies bytes."""
    memory.enqueue_copy(dst, src, ByteCount).synchronize()


@call()
def cuMemcpyAsync(dst: Any, src: Any, ByteCount: int, hStream: Any) -> None:
    """Copies bytes in a stream."""
    memory.enqueue_copy(dst, src, ByteCount, hStream)


@call()
def cuMemcpyHtoD(dstDevice: Any, srcHost: Any, ByteCount: int) -> None:
    """Copies bytes to the device. srcHost: an address or an array."""
    memory.enqueue_copy(dstDevice, srcHost, ByteCount).synchronize()


@call()
def cuMemcpyDtoH(dstHost: Any, srcDevice: Any, ByteCount: int) -> None:
    """Copies bytes from the device. dstHost: an address or an array."""
    memory.enqueue_copy(dstHost, srcDevice, ByteCount).synchronize()


@call()
def cuMemcpyDtoD(dstDevice: Any, srcDevice: Any, ByteCount: int) -> None:
    """Copies bytes on the device."""
    memory.enqueue_copy(dstDevice, srcDevice, ByteCount).synchronize()


@call()
def cuMemcpyHtoDAsync(dstDevice: Any, srcHost: Any, ByteCount: int, hStream: Any) -> None:
    """Copies bytes to the device in a stream."""
    memory.enqueue_copy(dstDevice, srcHost, ByteCount, hStream)


@call()
def cuMemcpyDtoHAsync(dstHost: Any, srcDevice: Any, ByteCount: int, hStream: Any) -> None:
    """Copies bytes from the device in a stream."""
    memory.enqueue_copy(dstHost, srcDevice, ByteCount, hStream)


@call()
def cuMemcpyDtoDAsync(dstDevice: Any, srcDevice: Any, ByteCount: int, hStream: Any) -> None:
    """Copies bytes on the device in a stream."""
    memory.enqueue_copy(dstDevice, srcDevice, ByteCount, hStream)


@call()
def cuMemsetD8(dstDevice: Any, uc: int, N: int) -> None:
    """Sets N bytes."""
    memory.enqueue_fill(dstDevice, uc, N).synchronize()


@call()
def cuMemsetD16(dstDevice: Any, us: int, N: int) -> None:
    """Sets N elements of two bytes."""
    memory.enqueue_fill(dstDevice, us, N, 2).synchronize()


@call()
def cuMemsetD32(dstDevice: Any, ui: int, N: int) -> None:
    """Sets N elements of four bytes."""
    memory.enqueue_fill(dstDevice, ui, N, 4).synchronize()


@call()
def cuMemsetD8Async(dstDevice: Any, uc: int, N: int, hStream: Any) -> None:
    """Sets N bytes in a stream."""
    memory.enqueue_fill(dstDevice, uc, N, 1, hStream)


@call()
def cuMemsetD32Async(dstDevice: Any, ui: int, N: int, hStream: Any) -> None:
    """Sets N elements of four bytes in a stream."""
    memory.enqueue_fill(dstDevice, ui, N, 4, hStream)
