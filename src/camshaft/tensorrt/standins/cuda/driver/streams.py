"""Streams and events: those of the runtime, under the driver's names."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import STREAMS, Code, CudaFault, Event, Stream
from camshaft.tensorrt.standins.cuda.driver.answers import call
from camshaft.tensorrt.standins.cuda.enums import CUevent_flags
from camshaft.tensorrt.standins.cuda.runtime.streams import EVENTS
from camshaft.tensorrt.standins.cuda.types import CUevent, CUstream


@call(1)
def cuStreamCreate(Flags: int) -> CUstream:
    """A new stream."""
    return CUstream(STREAMS.add(Stream()))


@call()
def cuStreamDestroy(hStream: Any) -> None:
    """Destroys a stream when its work is done."""
    STREAMS.get(int(hStream)).synchronize()
    STREAMS.remove(int(hStream))


@call()
def cuStreamSynchronize(hStream: Any) -> None:
    """Returns when a stream's work is done."""
    memory.stream(hStream).synchronize()


@call()
def cuStreamQuery(hStream: Any) -> None:
    """CUDA_ERROR_NOT_READY while there is work to do."""
    if not memory.stream(hStream).is_done():
        raise CudaFault(Code.NOT_READY, "the stream has work to do")


@call()
def cuStreamWaitEvent(hStream: Any, hEvent: Any, Flags: int) -> None:
    """A stream's later work waits for an event."""
    memory.stream(hStream).enqueue(EVENTS.get(int(hEvent)).synchronize)


@call(1)
def cuEventCreate(Flags: int) -> CUevent:
    """A new event, which notes the time but for CU_EVENT_DISABLE_TIMING."""
    return CUevent(EVENTS.add(Event(not Flags & CUevent_flags.CU_EVENT_DISABLE_TIMING)))


@call()
def cuEventDestroy(hEvent: Any) -> None:
    """Destroys an event."""
    EVENTS.remove(int(hEvent))


@call()
def cuEventRecord(hEvent: Any, hStream: Any) -> None:
    """Sets an event behind the work that a stream has by now."""
    EVENTS.get(int(hEvent)).record(memory.stream(hStream))


@call()
def cuEventSynchronize(hEvent: Any) -> None:
    """Returns when an event is reached."""
    EVENTS.get(int(hEvent)).synchronize()


@call()
def cuEventQuery(hEvent: Any) -> None:
    """CUDA_ERROR_NOT_READY until an event is reached."""
    if not EVENTS.get(int(hEvent)).is_reached():
        raise CudaFault(Code.NOT_READY, "the event is not reached")


@call(1)
def cuEventElapsedTime(hStart: Any, hEnd: Any) -> float:
    """Milliseconds between two events."""
    return EVENTS.get(int(hStart)).milliseconds_to(EVENTS.get(int(hEnd)))
