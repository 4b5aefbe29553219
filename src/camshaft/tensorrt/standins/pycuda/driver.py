"""`pycuda.driver`."""

from camshaft.tensorrt.standins.pycuda.device_memory import (
    DeviceAllocation,
    PointerHolderBase,
    from_device,
    from_device_like,
    mem_alloc,
    mem_alloc_like,
    mem_get_info,
    memcpy_dtod,
    memcpy_dtod_async,
    memcpy_dtoh,
    memcpy_dtoh_async,
    memcpy_htod,
    memcpy_htod_async,
    memset_d8,
    memset_d8_async,
    memset_d16,
    memset_d32,
    memset_d32_async,
    to_device,
)
from camshaft.tensorrt.standins.pycuda.devices import (
    Context,
    Device,
    get_driver_version,
    get_version,
    init,
)
from camshaft.tensorrt.standins.pycuda.errors import (
    CompileError,
    Error,
    LaunchError,
    LogicError,
    MemoryError,
    RuntimeError,
)
from camshaft.tensorrt.standins.pycuda.flags import (
    ctx_flags,
    device_attribute,
    event_flags,
    host_alloc_flags,
    mem_attach_flags,
    mem_host_register_flags,
)
from camshaft.tensorrt.standins.pycuda.host_memory import (
    aligned_empty,
    aligned_zeros,
    managed_empty,
    managed_empty_like,
    managed_zeros,
    managed_zeros_like,
    pagelocked_empty,
    pagelocked_empty_like,
    pagelocked_zeros,
    pagelocked_zeros_like,
    register_host_memory,
)
from camshaft.tensorrt.standins.pycuda.streams import (
    Event,
    Stream,
)

__all__ = [
    "CompileError",
    "Context",
    "Device",
    "DeviceAllocation",
    "Error",
    "Event",
    "LaunchError",
    "LogicError",
    "MemoryError",
    "PointerHolderBase",
    "RuntimeError",
    "Stream",
    "aligned_empty",
    "aligned_zeros",
    "ctx_flags",
    "device_attribute",
    "event_flags",
    "from_device",
    "from_device_like",
    "get_driver_version",
    "get_version",
    "host_alloc_flags",
    "init",
    "managed_empty",
    "managed_empty_like",
    "managed_zeros",
    "managed_zeros_like",
    "mem_alloc",
    "mem_alloc_like",
    "mem_attach_flags",
    "mem_get_info",
    "mem_host_register_flags",
    "memcpy_dtod",
    "memcpy_dtod_async",
    "memcpy_dtoh",
    "memcpy_dtoh_async",
    "memcpy_htod",
    "memcpy_htod_async",
    "memset_d8",
    "memset_d8_async",
    "memset_d16",
    "memset_d32",
    "memset_d32_async",
    "pagelocked_empty",
    "pagelocked_empty_like",
    "pagelocked_zeros",
    "pagelocked_zeros_like",
    "register_host_memory",
    "start_profiler",
    "stop_profiler",
    "to_device",
]


def start_profiler() -> None:
    """Does nothing."""


def stop_profiler() -> None:
    """Does nothing."""
