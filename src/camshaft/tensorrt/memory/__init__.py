"""Device memory, streams and events where the device is the CPU.

A device pointer is the address of a host buffer. One registry knows them all, whoever allocated: `cudaMalloc`, pycuda,
Polygraphy through ctypes. Functions take any address: one that lies in an allocation is checked against its end, one
that does not (NumPy's, PyTorch's) must be mapped.

    address = memory.allocate(4 * 8)
    memory.copy(address, array.ctypes.data, array.nbytes)
    memory.as_array(address, (8,), np.float32, "input x")

What runs on a device later than it is asked for goes through a `Stream`: `memory.stream(handle).enqueue(work)`.
"""

from camshaft.tensorrt.memory.allocations import (
    Allocation,
    Kind,
    allocate,
    as_array,
    check,
    find,
    free,
)
from camshaft.tensorrt.memory.copies import copy, enqueue_copy, enqueue_fill, fill, region, room
from camshaft.tensorrt.memory.events import Event
from camshaft.tensorrt.memory.faults import Code, CudaFault
from camshaft.tensorrt.memory.handles import Handles
from camshaft.tensorrt.memory.streams import (
    DEFAULT_STREAMS,
    STREAMS,
    Graph,
    Stream,
    stream,
    synchronize,
)

__all__ = [
    "DEFAULT_STREAMS",
    "STREAMS",
    "Allocation",
    "Code",
    "CudaFault",
    "Event",
    "Graph",
    "Handles",
    "Kind",
    "Stream",
    "allocate",
    "as_array",
    "check",
    "copy",
    "enqueue_copy",
    "enqueue_fill",
    "fill",
    "find",
    "free",
    "region",
    "room",
    "stream",
    "synchronize",
]
