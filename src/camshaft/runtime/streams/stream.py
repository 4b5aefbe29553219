"""Streams: queues of work, each done in order by a thread of its own, perhaps on cores of its own.

    with camshaft.Stream(cores=[0]) as first, camshaft.Stream(cores=[1]) as second:
        context = engine.create_context(stream=first)
        future = context.run_async(inputs)          # at once
        outputs = future.result()                   # or `await future`

What is submitted to one stream is done in that order; several streams work at the same time, since generated code holds no
lock of Python's.  Events order the work of different streams.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import operator
import os
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from camshaft.errors import ConfigError
from camshaft.runtime.closing import Closing

T = TypeVar("T")
Job = Callable[[], None]


class Future(concurrent.futures.Future[T]):
    """What a stream will have done: `result()` waits for it, `await` does so in an event loop."""

    stream: Stream | None = None

    def result(self, timeout: float | None = None) -> T:
        """As of `concurrent.futures`.  ConfigError where the stream's own work asks for what it has not done yet."""
        if self.stream is not None and self.stream.is_caller and not self.done():
            raise ConfigError(_waits_for_itself(self.stream.name))
        return super().result(timeout)

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

    def __init__(self, cores: Iterable[int] | None = None, name: str = "stream") -> None:
        """cores: numbers of the logical processors that its work may use; None: all that the process may.  name: of the
        thread.

        ConfigError for cores that the process may not use, or where the system cannot say which those are.
        """
        self.cores = None if cores is None else _checked(cores)
        self.name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock, self._process = threading.Lock(), os.getpid()
        self._end = weakref.finalize(self, self._jobs.put, None)  # also of a stream that is dropped
        self._end.atexit = False  # `_close_all` waits for the work
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
        self._thread.start()
        _open.add(self)
        if self.cores is not None:
            self.submit(_keep_to, self.cores).result()

    @property
    def is_caller(self) -> bool:
        """Whether it is the stream's own work that asks."""
        return threading.current_thread() is self._thread

    @property
    def width(self) -> int:
        """How many processors its work may use."""
        return len(self.cores or available_cores())

    def submit(self, function: Callable[..., T], *args: Any, **named: Any) -> Future[T]:
        """Do `function(*args, **named)` when all is done that was submitted before.

        What it raises, the future's `result` raises.  ConfigError if the stream is closed.
        """
        if not callable(function):
            raise ConfigError(f"a stream does functions, and {function!r} is none")
        future: Future[T] = Future()
        future.stream = self

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
        if self.is_caller:
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
        """Let what is submitted from now on wait for an event of another stream.  ConfigError if this stream is closed, or if that
        is no event."""
        if not isinstance(event, Event):
            raise ConfigError(f"a stream waits for events, which record() makes, not for {event!r}")

        def job() -> None:
            event.wait()

        self._put(job)

    def synchronize(self, timeout: float | None = None) -> bool:
        """Wait until all is done that was submitted before, or for `timeout` seconds; whether it is.

        ConfigError where the stream's own work asks, which would wait for itself.
        """
        if self.is_caller:
            raise ConfigError(_waits_for_itself(self.name))
        with self._lock:
            event = self._recorded() if self._end.alive else None
        if event is not None:
            return event.wait(timeout)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Do what is submitted, then end the thread; nothing can be submitted from then on.

        Waits for the work, unless the stream's own work closes it.
        """
        with self._lock:
            if self._end.detach() is not None:  # a call does nothing while the interpreter ends
                self._jobs.put(None)
        if not self.is_caller and self._process == os.getpid():
            self._thread.join()

    def _put(self, job: Job) -> None:
        with self._lock:  # so that nothing comes behind the end
            self._require_open()
            self._jobs.put(job)

    def _require_open(self) -> None:
        if self._process != os.getpid():
            raise ConfigError(
                f"the stream {self.name!r} was created before the process forked; create another in this process"
            )
        if not self._end.alive:
            raise ConfigError(f"the stream {self.name!r} is closed; create another")


def _waits_for_itself(name: str) -> str:
    return f"work of the stream {name!r} cannot wait for that stream; call what it needs, or use another stream"


def _work(jobs: SimpleQueue[Job | None]) -> None:
    """A stream's thread."""
    while (job := jobs.get()) is not None:
        try:
            job()
        except BaseException:  # noqa: BLE001 (of a callback: the work behind it is done all the same)
            sys.excepthook(*sys.exc_info())
        del job  # which may hold arrays


def _keep_to(cores: Sequence[int]) -> None:
    """Keep this thread, and those that it starts, to these processors."""
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise ConfigError(f"cores={list(cores)}: the system refuses them: {error}") from error


_open: weakref.WeakSet[Stream] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Do the work that is left before the interpreter ends."""
    for stream in list(_open):
        stream.close()


def available_cores() -> list[int]:
    """Numbers of the processors that this thread may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _checked(cores: Iterable[int]) -> tuple[int, ...]:
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError(
            "cores: this system does not say which processors a thread may use; leave them out"
        )
    try:
        found = tuple(-1 if isinstance(c, bool) else operator.index(c) for c in cores)
    except TypeError:
        found = ()
    if not found:
        raise ConfigError(f"cores={cores!r} must be whole numbers of processors, such as [0, 1]")
    if not set(found) <= set(available_cores()):
        raise ConfigError(f"cores={cores!r}: this process may use {available_cores()}")
    return found
