"""What calibration costs over inference: the pass over many batches beside plain calls of the float engine.

    python -m benchmarks.calibration [resnet50 mobilenet_v2 ...] [--threads 2] [--seconds 20]

Both take the same batches in blocks of some, in turn; a block is long enough that samples are counted in it as often as in a
calibration.  Plain calls are those of the engine that a float build gives, calibration's are all that it does for a batch: check it, run
the graph with tallies, take these in.  The overhead is the median of the ratios of neighbouring blocks, less 1, of the wall clock
and of the processor time of all threads.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import detection, zoo
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.config import BuildConfig
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph
from camshaft.machine.backend import cpu_backend, histogram_kernel
from camshaft.machine.description import describe
from camshaft.passes.pipeline import optimize
from camshaft.precision.calibrating import float_runs, into_same_arrays
from camshaft.quant.calibration.calibrate import Counting, check_batch
from camshaft.quant.calibration.tally import waiting_bytes, with_tallies
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.session import BuildSession

OUT = ROOT / "build" / "bench" / "calibration.json"
CACHE = ROOT / "build" / "bench" / "timing-cache.json"
MODELS = (
    "resnet50", "mobilenet_v2", "efficientnet_lite0", "squeezenet1.1", "minilm_128", "yolox_nano",
)  # fmt: skip
TARGET = 0.2
"""Most that calibration may cost over inference."""
BLOCK = 16
"""Batches of a block: as many as samples wait to be counted, or a multiple."""
FEWEST = 5
"""Blocks of each."""

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Overhead:
    """One net.

    wall, processor: overhead of the pass over many batches.  call_ms: a plain call.  plain, counting, whole: MiB of memory for tensors in inference, in that pass, and in an
    engine that shows all tensors that are looked at.
    """

    model: str
    threads: int
    call_ms: float
    wall: float
    processor: float
    plain: float
    counting: float
    whole: float


def measure(name: str, threads: int, seconds: float, level: int) -> Overhead:
    """Measure one net."""
    path, batches = _net(name)
    options = {"threads": threads, "optimization_level": level, "timing_cache": CACHE}
    config = BuildConfig.of(None, options)
    session = BuildSession(path, config)
    engine = session.run()
    graph = optimize(session.import_model(), level=level)
    timed, quick = (
        Builder(
            cpu_backend(config.target),
            cache,
            level=tuning,
            threads=threads,
            workspace_limit=config.workspace_limit,
        )
        for tuning, cache in ((level, TimingCache.load(CACHE)), (1, TimingCache()))
    )
    runs = float_runs(graph, timed, quick, lambda *a, **k: contextlib.nullcontext())
    watched, _ = ImplicitQuantization(graph).watched()
    histogram = histogram_kernel(timed.backend.target)
    counting = Counting(graph, watched, runs, histogram, threads)
    plain = into_same_arrays(engine, threads)

    def count(batch: Feeds) -> None:
        counting.add(check_batch(graph, batch, 0))

    spent = _spent(batches, [plain, count], seconds)
    outputs = tuple(graph.tensors[n] for n in watched.names)
    tapped = replace(graph, outputs=outputs, output_names=watched.names)
    tallied, _ = with_tallies(graph, watched.names, watched.observers)
    memory = [_memory(quick, g) for g in (graph, tallied, tapped)]
    memory[1] += waiting_bytes(typical(tallied.outputs[-1].type.size))
    wall, processor = (
        median(count / plain for plain, count in (b[clock] for b in spent)) - 1 for clock in (0, 1)
    )
    return Overhead(
        name, threads, 1e3 * median(b[0][0] for b in spent) / BLOCK, wall, processor,
        *(m / 2**20 for m in memory),
    )  # fmt: skip


def _spent(
    batches: Sequence[Feeds], ways: Sequence[Callable[[Feeds], object]], seconds: float
) -> list[list[tuple[float, ...]]]:
    """Blocks in turn: for each round the seconds of each way, by the wall clock and of processors."""
    for way in ways:
        for n in range(BLOCK):
            way(batches[n % len(batches)])
    rounds: list[list[tuple[float, ...]]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < FEWEST or time.perf_counter() < end:
        found: dict[int, tuple[float, float]] = {}
        for number in (0, 1) if len(rounds) % 2 else (1, 0):
            start = time.perf_counter(), time.process_time()
            for n in range(BLOCK):
                ways[number](batches[n % len(batches)])
            found[number] = time.perf_counter() - start[0], time.process_time() - start[1]
        rounds.append([(found[0][clock], found[1][clock]) for clock in (0, 1)])
    return rounds


def _memory(builder: Builder, graph: Graph) -> int:
    """Bytes for tensors of an engine of the graph, at typical sizes: its arena, and its outputs."""
    program = builder.finish(builder.tune(graph), builder.backend.fingerprint).program
    outputs = sum(typical(b.type.size) * b.type.dtype.bytes for b in program.outputs)
    return program.arena.nbytes + outputs


def _net(name: str) -> tuple[Path, list[Feeds]]:
    """A model's file, and batches for it."""
    if name == "yolox_nano":
        return detection.MODEL, detection.calibration()[:BLOCK]
    return zoo.path_of(name), list(zoo.model_named(name).feeds(BLOCK))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/calibration.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.calibration")
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each model")
    parser.add_argument("--level", type=int, default=3, help="optimization level (default 3)")
    options = parser.parse_args(arguments)
    found = [measure(n, options.threads, options.seconds, options.level) for n in options.models]
    write_json(OUT, {"machine": describe(), "overheads": [asdict(o) for o in found]})
    names = ["model", "call ms", "overhead", "of processor time", "MiB inference", "MiB calibration", "MiB all tensors", "target"]  # fmt: skip
    rows = [
        (o.model, f"{o.call_ms:.2f}", f"{o.wall:.0%}", f"{o.processor:.0%}", f"{o.plain:.1f}", f"{o.counting:.1f}", f"{o.whole:.1f}",
         "MET" if o.processor <= TARGET else "MISSED")
        for o in found
    ]  # fmt: skip
    print(table(names, rows))


if __name__ == "__main__":
    main()
