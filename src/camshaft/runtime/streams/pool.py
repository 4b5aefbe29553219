"""Many requests at once: contexts of one engine, each in a stream of its own."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from camshaft.cpus import available_cpus
from camshaft.errors import ConfigError
from camshaft.runtime.closing import Closing
from camshaft.runtime.engine import Engine
from camshaft.runtime.streams.batching import Request, Waiting, batch_symbol, joined, parted
from camshaft.runtime.streams.stream import Future, Stream, available_cores

AHEAD = 2
"""Calls of each stream that `StreamPool.map` has requests for: one is made, the next one waits."""


class StreamPool(Closing):
    """Answers requests with several contexts at once.  Closed by `close`, or `with`, which wait for the requests."""

    def __init__(
        self,
        engine: Engine,
        streams: int | None = None,
        threads: int | None = None,
        *,
        batch: int | None = None,
        pinned: bool = False,
    ) -> None:
        """streams: how many calls are made at the same time.  threads: workers of each.  None: what was measured
        to be best where the engine was built with goal="throughput"; else 1 thread, and a stream for each processor.
        batch: most rows of a call: requests that wait while all streams are at work are joined along the leading axis of
        their arrays, where the other axes are equal; none waits for others to come.  Right only where a row's answer does not depend
        on other rows.  None: what was measured, else 1.
        pinned: whether each stream keeps to processors of its own, which helps
        on a machine that does nothing else, and hurts beside other work.

        ConfigError if there are not so many processors to pin to, if the engine was not built for `threads` or takes no such
        batch, or if it keeps states, which belong to one sequence of calls.
        """
        if not isinstance(engine, Engine):
            raise ConfigError(
                f"a pool takes an engine, not {engine!r}; build or load one (camshaft.load)"
            )
        if not isinstance(pinned, bool):
            raise ConfigError(f"pinned={pinned!r} must be True or False")
        if engine.states:
            raise ConfigError(
                "the engine keeps states from call to call; create a context and a stream for each sequence"
            )
        tuned = engine.fingerprint.streams if streams is None and threads is None else 0
        if threads is None:
            threads = engine.threads if tuned else 1
        if streams is None:
            streams = tuned or max(1, available_cpus() // max(1, threads))
        if isinstance(streams, bool) or not isinstance(streams, int) or streams < 1:
            raise ConfigError(f"streams={streams!r} must be a whole number from 1 on")
        self.batch, self._closed = _batch(engine, batch), False
        self._queue = Waiting(self.batch)
        cores = available_cores()
        if pinned and streams * threads > len(cores):
            raise ConfigError(
                f"{streams} streams of {threads} threads cannot be pinned to {len(cores)} processors; ask for fewer"
            )
        shares = [
            cores[n * threads : (n + 1) * threads] if pinned else None for n in range(streams)
        ]
        self.streams = tuple(Stream(s, f"pool {n}") for n, s in enumerate(shares))
        self._lock, self._waiting = (
            threading.RLock(),
            [0] * streams,
        )  # callbacks may come at any time
        try:
            self._contexts = [engine.create_context(threads, stream=s) for s in self.streams]
        except BaseException:
            for stream in self.streams:
                stream.close()
            raise

    def __repr__(self) -> str:
        batch = f", batches of {self.batch}" if self.batch > 1 else ""
        return f"StreamPool of {len(self.streams)} x {self._contexts[0].threads} threads{batch}"

    def submit(self, inputs: Mapping[str, Any]) -> Future[dict[str, np.ndarray]]:
        """Answer a request as soon as a stream is free: a future of the outputs by name.

        The arrays must stay as they are until it is done.  Errors of `ExecutionContext.run` come from the future; ConfigError
        if the pool is closed.
        """
        request = Request.of(inputs)
        with self._lock:  # what the stream does waits for it
            if self._closed:
                raise ConfigError("the pool is closed; create another")
            n = min(range(len(self._waiting)), key=self._waiting.__getitem__)
            request.future.stream = self.streams[n]
            self.streams[n].submit(self._answer_next, n)
            self._queue.add(request)
            self._waiting[n] += 1
        return request.future

    def _answer_next(self, n: int) -> None:
        """Make a call of stream `n`, for as many requests as can be joined; there is one of these for each request."""
        with self._lock:
            taken = self._queue.take()
        requests = [r for r in taken if r.future.set_running_or_notify_cancel()]
        if requests:
            self._answer(self._contexts[n].run, requests)
        with self._lock:
            self._waiting[n] -= 1

    def _answer(self, run: Run, requests: Sequence[Request]) -> None:
        """One call, or where joined requests fail, one for each, so that an error is told to whom it concerns."""
        single = len(requests) == 1
        try:
            outputs = run(requests[0].inputs if single else joined(requests))
            answers = [outputs] if single else parted(outputs, requests)
        except BaseException as error:  # noqa: BLE001 (handed to whoever waits)
            if single:
                _settle(partial(requests[0].future.set_exception, error))
            for request in () if single else requests:
                self._answer(run, [request])
            return
        for request, answer in zip(requests, answers, strict=True):
            _settle(partial(request.future.set_result, answer))

    def map(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, np.ndarray]]:
        """The answers to requests, in their order; as many requests are taken ahead as keep all streams at work."""
        if not isinstance(requests, Iterable):
            raise ConfigError(f"map takes requests one after another, not {requests!r}")
        return self._answers(requests)

    def _answers(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, np.ndarray]]:
        begun: deque[Future[dict[str, np.ndarray]]] = deque()
        try:
            for inputs in requests:
                begun.append(self.submit(inputs))
                if len(begun) == AHEAD * len(self.streams) * self.batch:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()

    def close(self) -> None:
        """Answer what was submitted, then end the streams; nothing can be submitted from then on.  Where a callback of an answer closes the pool, the rest is
        answered behind it."""
        with self._lock:
            self._closed = True
        for stream in self.streams:
            stream.close()
        if any(stream.is_caller for stream in self.streams):
            return  # the contexts are closed when they are dropped
        for context in self._contexts:
            context.close()


Run = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]


def _settle(do: Callable[[], None]) -> None:
    """Hand out an answer; a callback that raises keeps no other request from its own."""
    try:
        do()
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())


def _batch(engine: Engine, batch: int | None) -> int:
    """Most rows of a call."""
    if batch is None:
        return max(1, engine.fingerprint.batch)
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ConfigError(f"batch={batch!r} must be a whole number from 1 on")
    symbol = batch_symbol(engine.inputs, engine.outputs)
    if batch > 1 and symbol is None:
        raise ConfigError(
            f"batch={batch}: requests can be joined where all inputs and outputs begin with the same open size, which those of this "
            "engine do not; leave batch out, or build with shapes= that leave the batch open"
        )
    if symbol is not None and symbol.high is not None and batch > symbol.high:
        raise ConfigError(f"batch={batch}: the engine takes {symbol.name} up to {symbol.high}")
    return batch
