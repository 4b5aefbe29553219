"""Many requests at once: contexts of one engine, each in a stream of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from camshaft.cpus import available_cpus
from camshaft.errors import ConfigError
from camshaft.runtime.closing import Closing
from camshaft.runtime.engine import Engine
from camshaft.runtime.streams import Future, Stream, available_cores

AHEAD = 2
"""Requests of each stream that `StreamPool.map` has in work: one is done, the next one waits."""


class StreamPool(Closing):
    """Answers requests with several contexts at once.  Closed by `close`, or `with`, which wait for the requests."""

    def __init__(
        self,
        engine: Engine,
        streams: int | None = None,
        threads: int | None = None,
        *,
        pinned: bool = False,
    ) -> None:
        """streams: how many requests are answered at the same time.  threads: workers of each.  None: what was measured
        to be best where the engine was built with goal="throughput"; else 1 thread, and a stream for each processor.
        pinned: whether each stream keeps to processors of its own, which helps
        on a machine that does nothing else, and hurts beside other work.

        ConfigError if there are not so many processors to pin to, if the engine was not built for `threads`, or if it keeps states,
        which belong to one sequence of calls.
        """
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
        return f"StreamPool of {len(self.streams)} x {self._contexts[0].threads} threads"

    def submit(self, inputs: Mapping[str, Any]) -> Future[dict[str, np.ndarray]]:
        """Answer a request with the stream that has the fewest: a future of the outputs by name.

        The arrays must stay as they are until it is done.  Errors of `ExecutionContext.run` come from the future; ConfigError
        if the pool is closed.
        """
        with self._lock:
            n = min(range(len(self._waiting)), key=self._waiting.__getitem__)
            future = self._contexts[n].run_async(inputs)
            self._waiting[n] += 1
        future.add_done_callback(partial(self._note_done, n))
        return future

    def map(self, requests: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, np.ndarray]]:
        """The answers to requests, in their order; as many requests are taken ahead as keep all streams at work."""
        begun: deque[Future[dict[str, np.ndarray]]] = deque()
        try:
            for inputs in requests:
                begun.append(self.submit(inputs))
                if len(begun) == AHEAD * len(self.streams):
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()

    def close(self) -> None:
        """Answer what was submitted, then end the streams.  Where a callback of an answer closes the pool, the rest is
        answered behind it."""
        for stream in self.streams:
            stream.close()
        if any(stream.is_caller for stream in self.streams):
            return  # the contexts are closed when they are dropped
        for context in self._contexts:
            context.close()

    def _note_done(self, n: int, _: object) -> None:
        with self._lock:
            self._waiting[n] -= 1
