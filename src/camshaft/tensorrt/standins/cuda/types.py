"""Handles and structures of the runtime and the driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from camshaft.tensorrt.standins.cuda.enums import (
    cudaMemAllocationHandleType,
    cudaMemAllocationType,
    cudaMemLocationType,
    cudaMemoryType,
)


class _Handle(int):
    """A number with a type of its own: `int(handle)` is what TensorRT takes."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {int(self):#x}>"

    __str__ = __repr__


class CUstream(_Handle):
    """A stream; 0 is the default one."""


class cudaStream_t(CUstream):
    """A stream, as the runtime calls it."""


class CUevent(_Handle):
    """An event."""


class cudaEvent_t(CUevent):
    """An event, as the runtime calls it."""


class CUdevice(_Handle):
    """A device: its ordinal."""


class CUcontext(_Handle):
    """A context."""


class CUdeviceptr(_Handle):
    """An address of device memory."""


class cudaGraph_t(_Handle):
    """Captured work."""


class cudaGraphExec_t(_Handle):
    """Captured work, ready to be launched."""


class cudaMemPool_t(_Handle):
    """A memory pool."""


class cuuint32_t(_Handle):
    """u32, where an attribute has this type."""


class cuuint64_t(_Handle):
    """u64, where an attribute has this type."""


@dataclass
class cudaMemLocation:
    """Where a pool's memory lies."""

    type: cudaMemLocationType = cudaMemLocationType.cudaMemLocationTypeInvalid
    id: int = 0


@dataclass
class cudaMemPoolProps:
    """What a memory pool shall be."""

    allocType: cudaMemAllocationType = cudaMemAllocationType.cudaMemAllocationTypeInvalid
    handleTypes: cudaMemAllocationHandleType = cudaMemAllocationHandleType.cudaMemHandleTypeNone
    location: cudaMemLocation = field(default_factory=cudaMemLocation)
    win32SecurityAttributes: int = 0
    maxSize: int = 0
    usage: int = 0


@dataclass
class cudaPointerAttributes:
    """What is known of an address."""

    type: cudaMemoryType = cudaMemoryType.cudaMemoryTypeUnregistered
    device: int = 0
    devicePointer: int = 0
    hostPointer: int = 0


@dataclass
class cudaDeviceProp:
    """What a device is. name: bytes, as from C; sizes in bytes."""

    name: bytes = b""
    totalGlobalMem: int = 0
    major: int = 0
    minor: int = 0
    multiProcessorCount: int = 0
    warpSize: int = 0
    maxThreadsPerBlock: int = 0
    sharedMemPerBlock: int = 0
    l2CacheSize: int = 0
    asyncEngineCount: int = 0
    integrated: int = 0
    canMapHostMemory: int = 0
    concurrentKernels: int = 0
    unifiedAddressing: int = 0
    managedMemory: int = 0
    pageableMemoryAccess: int = 0
    memoryPoolsSupported: int = 0
    pciBusID: int = 0
    pciDeviceID: int = 0
    pciDomainID: int = 0
