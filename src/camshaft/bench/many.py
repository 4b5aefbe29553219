"""Throughput of several callers at once, each with a runner of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from camshaft.bench.latency import PERCENTILES
from camshaft.bench.runners import Runner
from camshaft.runtime.streams.stream import Stream


@dataclass(frozen=True)
class Throughput:
    """Calls that several streams made side by side, in `seconds`.

    throughput: calls a second of all together.  percentiles_ms: percentile -> the shortest time that so many per cent of the
    calls kept to.
    """

    streams: int
    calls: int
    seconds: float
    throughput: float
    percentiles_ms: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def measure_throughput(
    make: Callable[[], Runner], streams: Sequence[Stream], seconds: float, warm_up: float = 0.2
) -> Throughput:
    """Call a runner in each stream, all at once, for about `seconds`.

    make: makes a stream's runner, in the stream.  warm_up: seconds of such calls before, which are not measured (one at least).
    What a runner raises is raised here.
    """
    runners = [stream.call(make) for stream in streams]
    _turns(runners, streams, warm_up)
    start = time.perf_counter()
    times = np.concatenate(_turns(runners, streams, seconds))
    taken = time.perf_counter() - start
    marks = np.percentile(times / 1e6, PERCENTILES, method="inverted_cdf")
    return Throughput(
        streams=len(streams),
        calls=len(times),
        seconds=taken,
        throughput=len(times) / taken,
        percentiles_ms={f"p{p}": float(m) for p, m in zip(PERCENTILES, marks, strict=True)},
    )


def _turns(
    runners: Sequence[Runner], streams: Sequence[Stream], seconds: float
) -> list[np.ndarray]:
    """Nanoseconds of the calls that each stream makes in that time, one at least."""
    end = time.perf_counter_ns() + int(seconds * 1e9)
    pairs = zip(streams, runners, strict=True)
    return [f.result() for f in [stream.submit(_calls, runner, end) for stream, runner in pairs]]


def _calls(runner: Runner, end: int) -> np.ndarray:
    run, clock, taken = runner.run, time.perf_counter_ns, list[int]()
    now = clock()
    while not taken or now < end:
        start = now
        run()
        now = clock()
        taken.append(now - start)
    return np.array(taken)
