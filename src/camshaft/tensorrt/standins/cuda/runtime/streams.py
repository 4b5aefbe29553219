"""Streams, events, and graphs of captured work."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import STREAMS, Code, CudaFault, Event, Graph, Handles, Stream
from camshaft.tensorrt.standins.cuda.enums import cudaStreamCaptureStatus
from camshaft.tensorrt.standins.cuda.runtime.answers import call
from camshaft.tensorrt.standins.cuda.types import (
    cudaEvent_t,
    cudaGraph_t,
    cudaGraphExec_t,
    cudaStream_t,
)

cudaStreamDefault, cudaStreamNonBlocking = 0, 1
cudaStreamLegacy, cudaStreamPerThread = 1, 2
cudaEventDefault, cudaEventBlockingSync, cudaEventDisableTiming, cudaEventInterprocess = 0, 1, 2, 4
cudaEventRecordDefault = cudaEventWaitDefault = 0

EVENTS: Handles[Event] = Handles("event")
_GRAPHS: Handles[Graph] = Handles("graph")


@call(1)
def cudaStreamCreate() -> cudaStream_t:
    """A new stream."""
    return cudaStream_t(STREAMS.add(Stream()))


@call(1)
def cudaStreamCreateWithFlags(flags: int) -> cudaStream_t:
    """A new stream."""
    return cudaStream_t(STREAMS.add(Stream()))


@call(1)
def cudaStreamCreateWithPriority(flags: int, priority: int) -> cudaStream_t:
    """A new stream; all have one priority."""
    return cudaStream_t(STREAMS.add(Stream()))


@call(2)
def cudaDeviceGetStreamPriorityRange() -> tuple[int, int]:
    """(least, greatest) priority: there is one."""
    return 0, 0


@call()
def cudaStreamDestroy(stream: Any) -> None:
    """Destroys a stream when its work is done."""
    STREAMS.get(int(stream or 0)).synchronize()
    STREAMS.remove(int(stream))


@call()
def cudaStreamSynchronize(stream: Any) -> None:
    """Returns when a stream's work is done."""
    memory.stream(stream).synchronize()


@call()
def cudaStreamQuery(stream: Any) -> None:
    """cudaErrorNotReady while there is work to do."""
    if not memory.stream(stream).is_done():
        raise CudaFault(Code.NOT_READY, "the stream has work to do")


@call()
def cudaStreamWaitEvent(stream: Any, event: Any, flags: int = 0) -> None:
    """A stream's later work waits for an event."""
    memory.stream(stream).enqueue(EVENTS.get(int(event)).synchronize)


@call(1)
def cudaEventCreate() -> cudaEvent_t:
    """A new event, which notes the time."""
    return cudaEvent_t(EVENTS.add(Event()))


@call(1)
def cudaEventCreateWithFlags(flags: int) -> cudaEvent_t:
    """A new event, which notes the time but for cudaEventDisableTiming."""
    return cudaEvent_t(EVENTS.add(Event(not flags & cudaEventDisableTiming)))


@call()
def cudaEventDestroy(event: Any) -> None:
    """Destroys an event."""
    EVENTS.remove(int(event))


@call()
def cudaEventRecord(event: Any, stream: Any = 0) -> None:
    """Sets an event behind the work that a stream has by now."""
    EVENTS.get(int(event)).record(memory.stream(stream))


@call()
def cudaEventSynchronize(event: Any) -> None:
    """Returns when an event is reached."""
    EVENTS.get(int(event)).synchronize()


@call()
def cudaEventQuery(event: Any) -> None:
    """cudaErrorNotReady until an event is reached."""
    if not EVENTS.get(int(event)).is_reached():
        raise CudaFault(Code.NOT_READY, "the event is not reached")


@call(1)
def cudaEventElapsedTime(start: Any, end: Any) -> float:
    """Milliseconds between two events."""
    return EVENTS.get(int(start)).milliseconds_to(EVENTS.get(int(end)))


@call()
def cudaStreamBeginCapture(stream: Any, mode: int) -> None:
    """From now on a stream's work is noted for a graph."""
    STREAMS.get(int(stream or 0)).begin_capture()


@call(1)
def cudaStreamEndCapture(stream: Any) -> cudaGraph_t:
    """The graph of a stream's work since the capture began."""
    return cudaGraph_t(_GRAPHS.add(STREAMS.get(int(stream or 0)).end_capture()))


@call(1)
def cudaStreamIsCapturing(stream: Any) -> cudaStreamCaptureStatus:
    """Whether a stream's work is noted for a graph."""
    return cudaStreamCaptureStatus(int(memory.stream(stream).is_capturing))


@call(1)
def cudaGraphInstantiate(graph: Any, flags: int = 0) -> cudaGraphExec_t:
    """A graph that can be launched."""
    return cudaGraphExec_t(_GRAPHS.add(_GRAPHS.get(int(graph))))


@call()
def cudaGraphLaunch(graphExec: Any, stream: Any) -> None:
    """Enqueues a graph's work in a stream."""
    memory.stream(stream).launch(_GRAPHS.get(int(graphExec)))


@call()
def cudaGraphDestroy(graph: Any) -> None:
    """Destroys a graph; what was instantiated from it stays."""
    _GRAPHS.remove(int(graph))


@call()
def cudaGraphExecDestroy(graphExec: Any) -> None:
    """Destroys a graph that could be launched."""
    _GRAPHS.remove(int(graphExec))
