"""Streams: where work is enqueued.

Work runs in `enqueue`, in the calling thread, which is one of the orders that CUDA permits. What waits calls
`synchronize`, so that a stream with a thread of its own can take this one's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsInt

from camshaft.tensorrt.memory.faults import Code, CudaFault
from camshaft.tensorrt.memory.handles import Handles

Work = Callable[[], None]


class Graph:
    """Work that a stream captured, to be enqueued again and again."""

    def __init__(self) -> None:
        self.work: list[Work] = []


class Stream:
    """A queue of work, done in order."""

    def __init__(self) -> None:
        self._captured: Graph | None = None

    def enqueue(self, work: Work) -> None:
        """Does the work before anything that is enqueued later; while capturing, notes it only."""
        if self._captured is not None:
            self._captured.work.append(work)
        else:
            work()

    def synchronize(self) -> None:
        """Returns when all work is done. CudaFault (CAPTURE_UNSUPPORTED) while capturing."""
        if self._captured is not None:
            raise CudaFault(
                Code.CAPTURE_UNSUPPORTED, "the stream is capturing a graph: end the capture first"
            )

    def is_done(self) -> bool:
        """Whether all work is done; CudaFault as for `synchronize`."""
        self.synchronize()
        return True

    @property
    def is_capturing(self) -> bool:
        """Whether work is noted instead of done."""
        return self._captured is not None

    def begin_capture(self) -> None:
        """From now on work goes into a graph. CudaFault (ILLEGAL_STATE) where it does already."""
        if self._captured is not None:
            raise CudaFault(Code.ILLEGAL_STATE, "the stream is capturing a graph already")
        self._captured = Graph()

    def end_capture(self) -> Graph:
        """The work since `begin_capture`. CudaFault (ILLEGAL_STATE) without one."""
        graph, self._captured = self._captured, None
        if graph is None:
            raise CudaFault(Code.ILLEGAL_STATE, "the stream captures no graph: begin a capture")
        return graph

    def launch(self, graph: Graph) -> None:
        """Enqueues all work of a graph."""
        for work in graph.work:
            self.enqueue(work)


STREAMS: Handles[Stream] = Handles("stream")
"""All that were created and not destroyed."""

DEFAULT_STREAMS = (0, 1, 2)
"""Handles of the default stream: by itself, as the legacy one, as the thread's."""
_DEFAULT = Stream()


def stream(handle: SupportsInt | None) -> Stream:
    """A stream by its handle; None is the default one. CudaFault (INVALID_RESOURCE_HANDLE) where there is none."""
    number = 0 if handle is None else int(handle)
    return _DEFAULT if number in DEFAULT_STREAMS else STREAMS.get(number)


def synchronize() -> None:
    """Returns when the work of all streams is done."""
    for known in (_DEFAULT, *STREAMS.all()):
        known.synchronize()
