"""Make the timings that come with the package, on this machine.

    python scripts/make_base_cache.py MODEL.onnx ... --cache TIMINGS.json [--threads 1 2]

Builds every model at optimization level 5, which times all candidates, or takes from the cache what an
earlier run has timed, and adds the winners of its layers to the package's file; entries for other
processors stay, those of older versions of this one are no longer found and are worth deleting now and then
(delete the file before).  Wants a quiet machine where there are several threads.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from camshaft.backends.base import Backend
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.base_cache import base_cache, write_base_cache
from camshaft.builder.tuning.contest import Contest
from camshaft.builder.tuning.timing_cache import Record, TimingCache
from camshaft.frontends.onnx import import_model
from camshaft.ir.graph import Graph
from camshaft.machine.backend import cpu_backend
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import is_quantized, lower_quantization
from camshaft.runtime.file.manifest import Fingerprint

LEVEL = 5
WORTH_US = 10.0
"""Layers that run for a shorter time are left out."""


def graph_of(path: Path) -> Graph:
    """A model's graph as a build tunes it: INT8 where it has Q/DQ nodes."""
    graph = optimize(import_model(str(path)).graphs[0], level=LEVEL)
    return lower_quantization(graph, integer=True, level=LEVEL) if is_quantized(graph) else graph


def worth_keeping(contest: Contest, records: Sequence[Record]) -> list[Record]:
    """The winner, and the fastest that is not approximate if that is another."""
    exact = [r for r in records if not contest.offered[r.id].candidate.approximate]
    best = min(exact, key=lambda r: r.time_us, default=records[0])
    return list(dict.fromkeys([records[0], best]))


def entries_of(
    path: Path, cache: TimingCache, backend: Backend[Fingerprint], threads: int
) -> Mapping[str, Sequence[Record]]:
    """What is worth keeping of a model's layers."""
    builder = Builder(backend, cache, level=LEVEL, threads=threads, workspace_limit=1 << 30)
    found = builder.timings(builder.tune(graph_of(path)))
    return {
        contest.key: worth_keeping(contest, records)
        for contest, records in found
        if records[0].time_us >= WORTH_US and len(contest.candidates) > 1
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    cache = TimingCache.load(given.cache) if given.cache.exists() else TimingCache()
    backend, entries = cpu_backend("host"), dict(base_cache().entries)
    for path in given.models:
        for threads in given.threads:
            entries.update(entries_of(path, cache, backend, threads))
            cache.save(given.cache)
            size = write_base_cache(entries)
            print(
                f"{path.stem}, {threads} threads: {len(entries)} entries, {size} bytes", flush=True
            )


if __name__ == "__main__":
    main()
