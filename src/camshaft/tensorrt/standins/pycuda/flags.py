"""pycuda's flags: the driver's numbers, under shorter names."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class ctx_flags(IntFlag):
    """How a context waits."""

    SCHED_AUTO = 0
    SCHED_SPIN = 1
    SCHED_YIELD = 2
    SCHED_BLOCKING_SYNC = 4
    MAP_HOST = 8


class event_flags(IntFlag):
    """How an event waits, and whether it notes the time."""

    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2
    INTERPROCESS = 4


class host_alloc_flags(IntFlag):
    """Who may use pinned host memory."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class mem_host_register_flags(IntFlag):
    """Who may use host memory that is pinned later."""

    PORTABLE = 1
    DEVICEMAP = 2


class mem_attach_flags(IntFlag):
    """Who may use managed memory."""

    GLOBAL = 1
    HOST = 2
    SINGLE = 4


class device_attribute(IntEnum):
    """Attributes of devices."""

    MAX_THREADS_PER_BLOCK = 1
    MAX_SHARED_MEMORY_PER_BLOCK = 8
    WARP_SIZE = 10
    CLOCK_RATE = 13
    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19
    CONCURRENT_KERNELS = 31
    PCI_BUS_ID = 33
    PCI_DEVICE_ID = 34
    MEMORY_CLOCK_RATE = 36
    L2_CACHE_SIZE = 38
    ASYNC_ENGINE_COUNT = 40
    UNIFIED_ADDRESSING = 41
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76
    MANAGED_MEMORY = 83
    PAGEABLE_MEMORY_ACCESS = 88
    MEMORY_POOLS_SUPPORTED = 115
