"""The device: one, the CPU."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.standins import device as cpu
from camshaft.tensorrt.standins.cuda.enums import cudaDeviceAttr
from camshaft.tensorrt.standins.cuda.runtime.answers import call
from camshaft.tensorrt.standins.cuda.types import cudaDeviceProp

cudaDeviceScheduleAuto, cudaDeviceScheduleSpin, cudaDeviceScheduleYield = 0, 1, 2
cudaDeviceScheduleBlockingSync, cudaDeviceMapHost = 4, 8
CUDART_VERSION = cpu.CUDA_VERSION

_PROPERTIES = {
    "multiProcessorCount": cudaDeviceAttr.cudaDevAttrMultiProcessorCount,
    "warpSize": cudaDeviceAttr.cudaDevAttrWarpSize,
    "maxThreadsPerBlock": cudaDeviceAttr.cudaDevAttrMaxThreadsPerBlock,
    "integrated": cudaDeviceAttr.cudaDevAttrIntegrated,
    "canMapHostMemory": cudaDeviceAttr.cudaDevAttrCanMapHostMemory,
    "concurrentKernels": cudaDeviceAttr.cudaDevAttrConcurrentKernels,
    "unifiedAddressing": cudaDeviceAttr.cudaDevAttrUnifiedAddressing,
    "managedMemory": cudaDeviceAttr.cudaDevAttrManagedMemory,
    "pageableMemoryAccess": cudaDeviceAttr.cudaDevAttrPageableMemoryAccess,
    "memoryPoolsSupported": cudaDeviceAttr.cudaDevAttrMemoryPoolsSupported,
}


@call(1)
def cudaGetDeviceCount() -> int:
    """1."""
    return 1


@call(1)
def cudaGetDevice() -> int:
    """0."""
    return 0


@call()
def cudaSetDevice(device: int) -> None:
    """Accepts device 0."""
    cpu.check_device(device)


@call()
def cudaSetDeviceFlags(flags: int) -> None:
    """Accepts any."""


@call()
def cudaInitDevice(device: int, deviceFlags: int, flags: int) -> None:
    """Accepts device 0."""
    cpu.check_device(device)


@call()
def cudaDeviceSynchronize() -> None:
    """Returns when the work of all streams is done."""
    memory.synchronize()


@call()
def cudaDeviceReset() -> None:
    """Does nothing: memory and streams that others hold stay usable."""


@call(1)
def cudaDeviceGetAttribute(attr: int, device: int) -> int:
    """An attribute of the device; 0 where it has no meaning here."""
    cpu.check_device(device)
    return cpu.attribute(int(attr))


@call(1)
def cudaGetDeviceProperties(device: int) -> cudaDeviceProp:
    """The device's name, memory and attributes."""
    cpu.check_device(device)
    major, minor = cpu.COMPUTE_CAPABILITY
    return cudaDeviceProp(
        name=cpu.name().encode(),
        totalGlobalMem=cpu.memory_sizes()[1],
        major=major,
        minor=minor,
        **{name: cpu.attribute(number) for name, number in _PROPERTIES.items()},
    )


@call(1)
def cudaDeviceGetPCIBusId(length: int, device: int) -> bytes:
    """A bus id, as bytes: a CPU has none."""
    cpu.check_device(device)
    return cpu.PCI_BUS_ID.encode()


@call(1)
def cudaRuntimeGetVersion() -> int:
    """1000 times the major version and 10 times the minor."""
    return cpu.CUDA_VERSION


@call(1)
def cudaDriverGetVersion() -> int:
    """1000 times the major version and 10 times the minor."""
    return cpu.CUDA_VERSION


@call()
def cudaProfilerStart() -> None:
    """Does nothing."""


@call()
def cudaProfilerStop() -> None:
    """Does nothing."""


@call(1)
def cudaDeviceCanAccessPeer(device: int, peerDevice: Any) -> int:
    """0: there are no peers."""
    cpu.check_device(device)
    return 0
