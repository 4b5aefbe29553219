"""Streams and events as objects: they are destroyed with the last reference."""

from __future__ import annotations

import weakref

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import STREAMS
from camshaft.tensorrt.standins.pycuda.errors import raising
from camshaft.tensorrt.standins.pycuda.flags import event_flags


class Stream:
    """A stream. handle: the number that TensorRT takes."""

    def __init__(self, flags: int = 0) -> None:
        self.handle = STREAMS.add(memory.Stream())
        weakref.finalize(self, STREAMS.remove, self.handle)

    def __int__(self) -> int:
        return self.handle

    def synchronize(self) -> None:
        """Returns when its work is done."""
        with raising("cuStreamSynchronize"):
            memory.stream(self.handle).synchronize()

    def is_done(self) -> bool:
        """Whether its work is done."""
        with raising("cuStreamQuery"):
            return memory.stream(self.handle).is_done()

    def wait_for_event(self, event: Event) -> None:
        """Its later work waits for an event."""
        memory.stream(self.handle).enqueue(event.point.synchronize)


class Event:
    """An event. point: what it sets."""

    def __init__(self, flags: int = 0) -> None:
        self.point = memory.Event(not flags & event_flags.DISABLE_TIMING)

    def record(self, stream: Stream | None = None) -> Event:
        """Sets it behind the work that a stream has by now; the event itself."""
        self.point.record(memory.stream(stream))
        return self

    def synchronize(self) -> Event:
        """Returns when it is reached; the event itself."""
        with raising("cuEventSynchronize"):
            self.point.synchronize()
        return self

    def query(self) -> bool:
        """Whether it is reached."""
        with raising("cuEventQuery"):
            return self.point.is_reached()

    def time_since(self, event: Event) -> float:
        """Milliseconds from another event to this."""
        with raising("cuEventElapsedTime"):
            return event.point.milliseconds_to(self.point)

    def time_till(self, event: Event) -> float:
        """Milliseconds from this event to another."""
        return event.time_since(self)
