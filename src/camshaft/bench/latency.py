"""Latency of single calls: percentiles, and the throughput of one caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from camshaft.bench.runners import Runner

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Times of calls in a row, in milliseconds; throughput in calls a second.

    percentiles_ms: percentile -> the shortest time that so many per cent of the calls kept to.
    """

    calls: int
    mean_ms: float
    min_ms: float
    max_ms: float
    percentiles_ms: dict[str, float]
    throughput: float

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def measure_latency(
    runner: Runner,
    seconds: float,
    calls: int | None = None,
    warm_up: float = 0.2,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Latency:
    """Time calls one by one for about `seconds`, or exactly `calls` of them.

    warm_up: seconds of calls before, which are not measured (at least one call).
    """
    run = runner.run
    end = clock() + int(warm_up * 1e9)
    run()
    while clock() < end:
        run()
    taken: list[int] = []
    now = clock()
    end = now + int(seconds * 1e9)
    while len(taken) < calls if calls is not None else (not taken or now < end):
        start = clock()
        run()
        now = clock()
        taken.append(now - start)
    times = np.array(taken) / 1e6
    marks = np.percentile(times, PERCENTILES, method="inverted_cdf")
    return Latency(
        calls=len(taken),
        mean_ms=float(times.mean()),
        min_ms=float(times.min()),
        max_ms=float(times.max()),
        percentiles_ms={f"p{p}": float(m) for p, m in zip(PERCENTILES, marks, strict=True)},
        throughput=len(taken) / max(float(times.sum()) / 1e3, 1e-12),
    )
