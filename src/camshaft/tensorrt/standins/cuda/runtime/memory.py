"""Memory: allocate, copy, set, ask."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import Code, CudaFault, Kind
from camshaft.tensorrt.standins.cuda.enums import cudaMemcpyKind, cudaMemoryType
from camshaft.tensorrt.standins.cuda.runtime.answers import call
from camshaft.tensorrt.standins.cuda.types import cudaPointerAttributes
from camshaft.tensorrt.standins.device import memory_sizes

cudaHostAllocDefault, cudaHostAllocPortable, cudaHostAllocMapped = 0, 1, 2
cudaHostAllocWriteCombined = 4
cudaHostRegisterDefault, cudaHostRegisterPortable, cudaHostRegisterMapped = 0, 1, 2
cudaMemAttachGlobal, cudaMemAttachHost = 1, 2

_TYPES = {
    Kind.DEVICE: cudaMemoryType.cudaMemoryTypeDevice,
    Kind.HOST: cudaMemoryType.cudaMemoryTypeHost,
    Kind.MANAGED: cudaMemoryType.cudaMemoryTypeManaged,
}


@call(1)
def cudaMalloc(size: int) -> int:
    """Device memory: its address, as an int."""
    return memory.allocate(size)


@call()
def cudaFree(devPtr: Any) -> None:
    """Gives device memory or managed memory back."""
    memory.free(memory.region(devPtr, "devPtr")[0])


@call(1)
def cudaMallocHost(size: int) -> int:
    """Pinned host memory: its address."""
    return memory.allocate(size, Kind.HOST)


@call(1)
def cudaHostAlloc(size: int, flags: int) -> int:
    """Pinned host memory: its address."""
    return memory.allocate(size, Kind.HOST)


@call()
def cudaFreeHost(ptr: Any) -> None:
    """Gives pinned host memory back."""
    memory.free(memory.region(ptr, "ptr")[0], Kind.HOST)


@call(1)
def cudaMallocManaged(size: int, flags: int = cudaMemAttachGlobal) -> int:
    """Managed memory: its address."""
    return memory.allocate(size, Kind.MANAGED)


@call(1)
def cudaMallocAsync(size: int, hStream: Any) -> int:
    """Device memory: its address, at once."""
    memory.stream(hStream)
    return memory.allocate(size)


@call()
def cudaFreeAsync(devPtr: Any, hStream: Any) -> None:
    """Gives device memory back when the stream gets there."""
    address = memory.region(devPtr, "devPtr")[0]
    memory.stream(hStream).enqueue(lambda: memory.free(address))


def _check_kind(kind: int) -> None:
    try:
        cudaMemcpyKind(kind)
    except ValueError:
        raise CudaFault(
            Code.INVALID_MEMCPY_DIRECTION, f"kind is {kind}: give a cudaMemcpyKind"
        ) from None


@call()
def cudaMemcpy(dst: Any, src: Any, count: int, kind: int) -> None:
    """Copies bytes. dst, src: addresses or arrays."""
    _check_kind(kind)
    memory.enqueue_copy(dst, src, count).synchronize()


@call()
def cudaMemcpyAsync(dst: Any, src: Any, count: int, kind: int, stream: Any = 0) -> None:
    """Copies bytes in a stream. dst, src: addresses or arrays."""
    _check_kind(kind)
    memory.enqueue_copy(dst, src, count, stream)


@call()
def cudaMemset(devPtr: Any, value: int, count: int) -> None:
    """Sets bytes."""
    memory.enqueue_fill(devPtr, value, count).synchronize()


@call()
def cudaMemsetAsync(devPtr: Any, value: int, count: int, stream: Any) -> None:
    """Sets bytes in a stream."""
    memory.enqueue_fill(devPtr, value, count, handle=stream)


@call(2)
def cudaMemGetInfo() -> tuple[int, int]:
    """Bytes of the machine's memory: (free, all)."""
    return memory_sizes()


@call()
def cudaHostRegister(ptr: Any, size: int, flags: int) -> None:
    """Pins host memory: nothing to do, but it must exist."""
    memory.room(ptr, size, "ptr")


@call()
def cudaHostUnregister(ptr: Any) -> None:
    """Unpins host memory: nothing to do."""


@call(1)
def cudaHostGetDevicePointer(pHost: Any, flags: int) -> int:
    """The device's address of pinned host memory: the same."""
    return memory.region(pHost, "pHost")[0]


@call(1)
def cudaPointerGetAttributes(ptr: Any) -> cudaPointerAttributes:
    """For what the memory at an address was allocated."""
    address = memory.region(ptr, "ptr")[0]
    known = memory.find(address)
    kind = cudaMemoryType.cudaMemoryTypeUnregistered if known is None else _TYPES[known.kind]
    return cudaPointerAttributes(kind, 0, 0 if known is None else address, address)
