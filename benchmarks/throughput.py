"""Requests a second that all cores answer, camshaft beside its peers.

    python -m benchmarks.throughput [resnet50 minilm_128] [--precision fp32,int8] [--threads 2] [--seconds 2]

Each runtime answers with one stream of all threads, and with as many streams as threads; the better way counts.  Streams share an
engine (camshaft) or a session (ONNX Runtime); of other runtimes each has a compiled model of its own.  camshaft's is the way that `goal="throughput"` would
take.  Rounds go over all runtimes in turn; figures are medians of the rounds' rates, ratios medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.engines import ENGINES, Make, engines_for
from benchmarks.job import Job
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from benchmarks.zoo import model_named
from camshaft.bench.many import measure_throughput
from camshaft.bench.runners import Runner
from camshaft.errors import PeerError
from camshaft.machine.description import describe
from camshaft.many_requests import Sharing
from camshaft.runtime.streams.stream import Stream

OUT = ROOT / "build" / "bench" / "throughput.json"
MODELS = ("resnet50", "minilm_128")
OURS = "camshaft"


def runners_of(model: str, precision: str, threads: int) -> dict[str, dict[Sharing, list[Runner]]]:
    """Runtime -> way to share the threads -> a runner for each stream; without peers that cannot run the model."""
    found: dict[str, dict[Sharing, list[Runner]]] = {}
    for name in engines_for(model_named(model), precision):
        make = ENGINES[precision][name]
        try:
            found[name] = {
                sharing: _runners(make, Job.of(model, sharing.threads), sharing.streams)
                for sharing in {Sharing(1, threads), Sharing(threads, 1)}
            }
        except PeerError as error:
            print(f"{name}: {error}", flush=True)
    return found


def _runners(make: Make, job: Job, count: int) -> list[Runner]:
    first = make(job)
    another = getattr(first, "another", partial(make, job))
    return [first, *(another() for _ in range(count - 1))]


def rate(runners: Sequence[Runner], seconds: float) -> float:
    """Calls a second of all together."""
    left = list(runners)
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream()) for _ in runners]
        return measure_throughput(left.pop, streams, seconds).throughput


def measured(
    model: str, precision: str, threads: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """The rates of a model's runtimes, the best way of each, and camshaft's over the best peer's."""
    found = runners_of(model, precision, threads)
    rates: dict[str, dict[str, list[float]]] = {
        name: {str(sharing): [] for sharing in ways} for name, ways in found.items()
    }
    for _ in range(rounds):
        for name, ways in found.items():
            for sharing, runners in ways.items():
                rates[name][str(sharing)].append(rate(runners, seconds))
    best = {
        name: max(ways.items(), key=lambda way: statistics.median(way[1]))
        for name, ways in rates.items()
    }
    ours = best[OURS][1]
    others = {name: values for name, (_, values) in best.items() if not name.startswith(OURS)}
    ratios = [a / max(other[n] for other in others.values()) for n, a in enumerate(ours)]
    return {
        "model": model,
        "precision": precision,
        "threads": threads,
        "rates": rates,
        "best": {name: [way, statistics.median(values)] for name, (way, values) in best.items()},
        "ratio": statistics.median(ratios),
    }


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each way, in a round")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    results = []
    for model in given.models:
        for precision in given.precision.split(","):
            found = measured(model, precision, given.threads, given.seconds, given.rounds)
            results.append(found)
            rows = [[n, way, f"{value:.2f}"] for n, (way, value) in found["best"].items()]
            print(f"{model} {precision}, ratio {found['ratio']:.2f}")
            print(table(["runtime", "streams", "calls/s"], rows), flush=True)
    write_json(OUT, {"machine": describe(), "results": results})


if __name__ == "__main__":
    main()
