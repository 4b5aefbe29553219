"""Builds for throughput: how many streams, of how many threads each, answer most requests on this machine.

Each way to share the processors (1 stream of all threads, 2 of half as many, ... as many streams as threads) has its
own build, since the fastest kernels of one thread are not those of several, and is then measured with all its streams at work; where
the batch is open and rows are proved not to depend on each other, with calls of 1, 2, 4, ... rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from camshaft.bench.many import measure_throughput
from camshaft.bench.runners import CamshaftRunner
from camshaft.errors import ConfigError
from camshaft.feeds import decisions, typical_feeds
from camshaft.frontends.onnx import Imported
from camshaft.ir.graph import Graph
from camshaft.ir.types import TensorType
from camshaft.passes.independent import mixing
from camshaft.passes.pipeline import optimize
from camshaft.runtime.engine import Engine
from camshaft.runtime.streams.batching import batch_symbol
from camshaft.runtime.streams.stream import Stream

SECONDS = 0.4
"""How long each way is measured in a round."""
ROUNDS = 3
LARGEST = 64
"""Most rows of a call that are tried."""
MISSES = 2
"""After so many batches in a row that gain nothing none larger is tried."""
_ENOUGH = 1.02
"""So much faster must more streams be, which take more memory and answer each request later."""
_ENOUGH_ROWS = 1.05
"""So much faster must a larger batch be, which answers later still."""


@dataclass(frozen=True)
class Sharing:
    """streams: calls that are made at the same time.  threads: of each.  batch: rows of a call."""

    streams: int
    threads: int
    batch: int = 1

    def __str__(self) -> str:
        batch = f", batches of {self.batch}" if self.batch > 1 else ""
        return f"{_count(self.streams, 'stream')} of {_count(self.threads, 'thread')}{batch}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def sharings(threads: int) -> list[Sharing]:
    """Ways to share so many processors, fewest streams first: powers of two of threads, and all."""
    each = {threads, *(2**n for n in range(threads.bit_length()) if 2**n <= threads)}
    return [Sharing(threads // t, t) for t in sorted(each, reverse=True)]


@dataclass(frozen=True)
class Rates:
    """Rows a second of each way to share.  whole: calls a second instead, as requests are not joined; why: for what reason."""

    found: Mapping[Sharing, float]
    whole: bool = False
    why: str = ""


def measured(
    engines: Mapping[Sharing, Engine],
    feeds: Mapping[str, np.ndarray],
    mixed: str = "",
) -> Rates:
    """Each engine, shared so; the best of several rounds, in turn.

    feeds: of a call at typical sizes.  mixed: why rows of a call may depend on each other (see `mixed_rows`).
    """
    some = next(iter(engines.values()))
    symbol = batch_symbol(some.inputs, some.outputs)
    if symbol is None or symbol.low > 1 or mixed:
        why = mixed if symbol is not None else ""
        return Rates(_best(engines, lambda _: feeds), whole=True, why=why)
    most = LARGEST if symbol.high is None else min(LARGEST, symbol.high)
    found: dict[Sharing, float] = {}
    misses, batch = dict.fromkeys(engines, 0), 1
    while batch <= most and (going := [s for s in engines if misses[s] < MISSES]):
        ways = {replace(s, batch=batch): engines[s] for s in going}
        calls = _best(ways, lambda s: rows_of(feeds, s.batch))
        found |= {s: rate * s.batch for s, rate in calls.items()}
        for sharing in going:
            misses[sharing] = 0 if _gains(found, sharing, batch) else misses[sharing] + 1
        batch *= 2
    return Rates(found)


def _gains(found: Mapping[Sharing, float], sharing: Sharing, batch: int) -> bool:
    """Whether a batch is faster than all smaller ones of that sharing."""
    smaller = [r for s, r in found.items() if replace(s, batch=1) == sharing and s.batch < batch]
    return found[replace(sharing, batch=batch)] >= _ENOUGH * max(smaller, default=0.0)


def _best(
    engines: Mapping[Sharing, Engine],
    feeds: Callable[[Sharing], Mapping[str, np.ndarray]],
) -> dict[Sharing, float]:
    """Calls a second."""
    best = dict.fromkeys(engines, 0.0)
    for _ in range(ROUNDS):
        for sharing, engine in engines.items():
            best[sharing] = max(best[sharing], _rate(engine, sharing, feeds(sharing)))
    return best


def _rate(engine: Engine, sharing: Sharing, feeds: Mapping[str, Any]) -> float:
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream()) for _ in range(sharing.streams)]
        return measure_throughput(
            lambda: CamshaftRunner(engine, feeds, sharing.threads), streams, SECONDS, warm_up=0.0
        ).throughput


def rows_of(feeds: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """So many rows like those of `feeds`."""
    return {n: np.resize(a, (rows, *a.shape[1:])) for n, a in feeds.items()}


def mixed_rows(graph: Graph, *, decides: bool) -> str:
    """Why rows of a call may depend on each other, so that requests must not be joined unasked; "": it is proved that they do not.

    decides: whether the model decides while it runs, by values that may be of all rows.
    """
    types = ({t.name: t.type for t in ts} for ts in (graph.inputs, graph.outputs))
    if decides:
        return "the model decides while it runs, perhaps by all rows of a call"
    symbol = batch_symbol(*types)
    return "" if symbol is None else mixing(graph, symbol) and mixing(optimize(graph), symbol)


def chosen(rates: Mapping[Sharing, float]) -> Sharing:
    """The sharing of most rows a second; of those that are about as good the one with the smallest batch, then the fewest streams."""
    most = max(rates.values())
    batch = min(s.batch for s, rate in rates.items() if rate * _ENOUGH_ROWS >= most)
    own = {s: rate for s, rate in rates.items() if s.batch == batch}
    near = [s for s, rate in own.items() if rate * _ENOUGH >= max(own.values())]
    return min(near, key=lambda s: s.streams)


def told(rates: Rates, winner: Sharing) -> str:
    """The decision in words, beside the best of each other number of streams."""
    found, what = rates.found, "calls" if rates.whole else "rows"
    best: dict[int, Sharing] = {}
    for s, rate in found.items():
        if s.streams not in best or rate > found[best[s.streams]]:
            best[s.streams] = s
    best[winner.streams] = replace(winner, batch=1)
    others = [f"{s} {found[s]:.1f}" for s in best.values() if s != winner]
    beside = f" ({'; '.join(others)})" if others else ""
    why = f"; requests are not joined: {rates.why}" if rates.why else ""
    return f"{winner}: {found[winner]:.1f} {what}/s{beside}{why}"


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
