"""Builds for throughput: how many streams, of how many threads each, answer most requests on this machine.

Each way to share the processors (1 stream of all threads, 2 of half as many, ... as many streams as threads) has its
own build, since the fastest kernels of one thread are not those of several, and is then measured with all its streams at work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.bench.many import measure_throughput
from camshaft.bench.runners import CamshaftRunner
from camshaft.errors import ConfigError
from camshaft.feeds import decisions, typical_feeds
from camshaft.frontends.onnx import Imported
from camshaft.ir.graph import Graph
from camshaft.ir.types import TensorType
from camshaft.runtime.engine import Engine
from camshaft.runtime.streams import Stream

SECONDS = 0.4
"""How long each way is measured in a round."""
ROUNDS = 3
_ENOUGH = 1.02
"""So much faster must more streams be, which take more memory and answer each request later."""


@dataclass(frozen=True)
class Sharing:
    """streams: requests that are answered at the same time.  threads: of each."""

    streams: int
    threads: int

    def __str__(self) -> str:
        return f"{_count(self.streams, 'stream')} of {_count(self.threads, 'thread')}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def sharings(threads: int) -> list[Sharing]:
    """Ways to share so many processors, fewest streams first: powers of two of threads, and all."""
    each = {threads, *(2**n for n in range(threads.bit_length()) if 2**n <= threads)}
    return [Sharing(threads // t, t) for t in sorted(each, reverse=True)]


def measured(
    engines: Mapping[Sharing, Engine], feeds: Mapping[str, Any], seconds: float = SECONDS
) -> dict[Sharing, float]:
    """Requests a second of each engine, shared so; the best of several rounds, in turn."""
    best = dict.fromkeys(engines, 0.0)
    for _ in range(ROUNDS):
        for sharing, engine in engines.items():
            best[sharing] = max(best[sharing], _rate(engine, sharing, feeds, seconds))
    return best


def _rate(engine: Engine, sharing: Sharing, feeds: Mapping[str, Any], seconds: float) -> float:
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream()) for _ in range(sharing.streams)]
        return measure_throughput(
            lambda: CamshaftRunner(engine, feeds, sharing.threads), streams, seconds, warm_up=0.0
        ).throughput


def chosen(rates: Mapping[Sharing, float]) -> Sharing:
    """The sharing of most requests a second; of those that are about as good the one with the fewest streams."""
    most = max(rates.values())
    near = [s for s, rate in rates.items() if rate * _ENOUGH >= most]
    return min(near, key=lambda s: s.streams)


def told(rates: Mapping[Sharing, float], winner: Sharing) -> str:
    """The decision in words."""
    others = [f"{s} {rate:.1f}" for s, rate in rates.items() if s != winner]
    beside = f" ({', '.join(others)})" if others else ""
    return f"{winner}: {rates[winner]:.1f} calls/s{beside}"


def feeds_of(graph: Graph, whole: Imported | None) -> dict[str, np.ndarray]:
    """Random inputs of a model at typical sizes.  graph: has its inputs.  ConfigError if there are none for an input."""
    feeds = typical_feeds(graph)
    if whole is None or whole.script is None:
        return feeds
    if others := [e.name for e in whole.inputs if not isinstance(e.type, TensorType)]:
        raise ConfigError(
            f"goal='throughput' measures calls with random inputs, and there are none for {', '.join(others)}; build with threads=1, "
            "and use as many streams as there are processors"
        )
    numbers = decisions(whole.script, whole.inputs)
    return feeds | {n: np.full(feeds[n].shape, v, feeds[n].dtype) for n, v in numbers.items()}


def require_no_states(states: Sequence[object]) -> None:
    """ConfigError for models whose calls belong to a sequence."""
    if states:
        raise ConfigError(
            "goal='throughput' measures calls in any order, and state= makes each call go on where the last one ended; build with "
            "threads=1, and create a context and a stream for each sequence"
        )
