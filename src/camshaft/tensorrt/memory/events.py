"""Events: points in a stream's work, and the time between two."""

from __future__ import annotations

import time

from camshaft.tensorrt.memory.faults import Code, CudaFault
from camshaft.tensorrt.memory.streams import Stream


class Event:
    """A point in a stream's work. is_timed: whether it notes the time."""

    def __init__(self, is_timed: bool = True) -> None:
        self._is_timed = is_timed
        self._stream: Stream | None = None
        self._at_ns: int | None = None

    def record(self, stream: Stream) -> None:
        """Sets the point behind all that is enqueued by now."""
        self._stream = stream
        stream.enqueue(self._reach)

    def _reach(self) -> None:
        self._at_ns = time.perf_counter_ns()

    def synchronize(self) -> None:
        """Returns when the point is reached; at once for one that was never set."""
        if self._stream is not None:
            self._stream.synchronize()

    def is_reached(self) -> bool:
        """Whether all work before the point is done; so it is of one that was never set."""
        return self._stream is None or self._stream.is_done()

    def milliseconds_to(self, later: Event) -> float:
        """The time between two points. CudaFault (INVALID_RESOURCE_HANDLE) where one was not set or notes no time."""
        return (later._time() - self._time()) / 1e6

    def _time(self) -> int:
        if not self._is_timed or self._at_ns is None:
            fix = "record it" if self._is_timed else "create it without cudaEventDisableTiming"
            raise CudaFault(Code.INVALID_RESOURCE_HANDLE, f"an event has no time: {fix}")
        return self._at_ns
