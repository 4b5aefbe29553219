"""Streams: queues of work, each done in order by a thread of its own, perhaps on cores of its own.

    with camshaft.Stream(cores=[0]) as first, camshaft.Stream(cores=[1]) as second:
        context = engine.create_context(stream=first)
        future = context.run_async(inputs)          # at once
        outputs = future.result()                   # or `await future`

What is submitted to one stream is done in that order; several streams work at the same time, since generated code holds no
lock of Python's.  Events order the work of different streams.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from camshaft.errors import ConfigError
from camshaft.runtime.closing import Closing

T = TypeVar("T")
Job = Callable[[], None]


class Future(concurrent.futures.Future[T]):
    """What a stream will have done: `result()` waits for it, `await` does so in an event loop."""

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # a tenth of a second that only event loops have spent anyway

        return asyncio.wrap_future(self).__await__()


class Event:
    """A moment in a stream's work, made by `Stream.record`."""

    def __init__(self) -> None:
        self._reached = threading.Event()

    @property
    def is_reached(self) -> bool:
        """Whether all that was submitted before is done, or has failed."""
        return self._reached.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is reached, or for `timeout` seconds; whether it is."""
        return self._reached.wait(timeout)


class Stream(Closing):
    """A queue of work and the thread that does it.  Closed by `close`, or `with`, which wait for the work."""

    def __init__(self, cores: Sequence[int] | None = None, name: str = "stream") -> None:
        """cores: numbers of the logical processors that its work may use; None: all that the process may.  name: of the
        thread.

        ConfigError for cores that the process may not use, or where the system cannot say which those are.
        """
        self.cores = None if cores is None else _checked(cores)
        self.name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, self._jobs.put, None)  # also of a stream that is dropped
        work = (self._jobs, self.cores)
        self._thread = threading.Thread(target=_work, args=work, name=name, daemon=True)
        self._thread.start()

    @property
    def width(self) -> int:
        """How many processors its work may use."""
        return len(self.cores or available_cores())

    def submit(self, function: Callable[..., T], *args: Any, **named: Any) -> Future[T]:
        """Do `function(*args, **named)` when all is done that was submitted before.

        What it raises, the future's `result` raises.  ConfigError if the stream is closed.
        """
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **named)
            except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
                future.set_exception(error)
            else:
                future.set_result(result)

        self._put(job)
        return future

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """`submit`, and wait for the result; at once where the caller is the stream's own work."""
        if threading.current_thread() is self._thread:
            return function(*args)
        return self.submit(function, *args).result()

    def record(self) -> Event:
        """An event that is reached when all is done that was submitted before.  ConfigError if the stream is closed."""
        with self._lock:
            self._require_open()
            return self._recorded()

    def _recorded(self) -> Event:
        event = Event()
        self._jobs.put(event._reached.set)
        return event

    def wait(self, event: Event) -> None:
        """Let what is submitted from now on wait for an event of another stream.  ConfigError if this stream is closed."""

        def job() -> None:
            event.wait()

        self._put(job)

    def synchronize(self, timeout: float | None = None) -> bool:
        """Wait until all is done that was submitted before, or for `timeout` seconds; whether it is."""
        with self._lock:
            event = self._recorded() if self._end.alive else None
        if event is not None:
            return event.wait(timeout)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Do what is submitted, then end the thread; nothing can be submitted from then on."""
        with self._lock:
            self._end()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _put(self, job: Job) -> None:
        with self._lock:  # so that nothing comes behind the end
            self._require_open()
            self._jobs.put(job)

    def _require_open(self) -> None:
        if not self._end.alive:
            raise ConfigError(f"the stream {self.name!r} is closed; create another")


def _work(jobs: SimpleQueue[Job | None], cores: Sequence[int] | None) -> None:
    """A stream's thread."""
    if cores is not None:
        os.sched_setaffinity(0, cores)  # of this thread, and of those that it starts
    while (job := jobs.get()) is not None:
        job()
        del job  # which may hold arrays


def available_cores() -> list[int]:
    """Numbers of the processors that this thread may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _checked(cores: Sequence[int]) -> tuple[int, ...]:
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError(
            "cores: this system does not say which processors a thread may use; leave them out"
        )
    found = tuple(cores) if isinstance(cores, Sequence) and not isinstance(cores, str) else None
    if not found or not all(isinstance(c, int) and not isinstance(c, bool) for c in found):
        raise ConfigError(f"cores={cores!r} must be numbers of processors, such as [0, 1]")
    if not set(found) <= set(available_cores()):
        raise ConfigError(f"cores={cores!r}: this process may use {available_cores()}")
    return found
