"""Measures one model at one precision and number of threads; prints one JSON object.

    python -m benchmarks.measure resnet50 --precision int8 --threads 1

The benchmark runs this in a process of its own for every measurement, so that no runtime's threads,
memory or settings reach the next one.  That nobody uses more threads than allowed is checked by
the processor time spent, not by confining the process to cores: a confined thread cannot
step aside when the system puts something else on its core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from benchmarks.engines import ENGINES, Job, deviation, reference
from camshaft.bench.interleave import Plan, interleave
from camshaft.bench.runners import Runner
from camshaft.errors import CamshaftError

TOLERANCE = {"fp32": 1e-3, "int8": 1.0}
"""Largest relative root-mean-square deviation from the FP32 reference before an engine is wrong.

INT8 outputs of random weights may lie far off; the figure is recorded beside the times.
"""


def measure(
    name: str, precision: str, threads: int, engines: Sequence[str], plan: Plan
) -> dict[str, object]:
    """The measurement as plain data; an engine that fails is listed under "failed" with why."""
    job = Job.of(name, threads)
    wanted = reference(job)
    runners: list[Runner] = []
    failed: dict[str, str] = {}
    deviations: dict[str, dict[str, float]] = {}
    for engine in engines:
        try:
            runner = ENGINES[precision][engine](job)
            runner.run()
            deviations[engine] = deviation(runner.outputs(), wanted)
        except (CamshaftError, ValueError, RuntimeError) as error:
            failed[engine] = f"{type(error).__name__}: {error}"
            continue
        if deviations[engine]["rms"] > TOLERANCE[precision]:
            failed[engine] = f"wrong outputs: {deviations[engine]}"
        else:
            runners.append(runner)
    timing = interleave(runners, plan)
    for engine, busy in timing.busy.items():
        if busy > threads + 0.1:
            failed[engine] = f"kept {busy:.2f} threads busy where {threads} are allowed"
    return {
        "model": name,
        "precision": precision,
        "threads": threads,
        "samples_ms": {n: [round(s * 1e3, 6) for s in v] for n, v in timing.samples.items()},
        "busy": {n: round(b, 3) for n, b in timing.busy.items()},
        "deviation": deviations,
        "build_s": job.builds,
        "failed": failed,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints the measurement as JSON on standard output."""
    parser = argparse.ArgumentParser("python -m benchmarks.measure")
    parser.add_argument("model")
    parser.add_argument("--precision", choices=sorted(ENGINES), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--engines", help="comma-separated; default: all")
    options = parser.parse_args(arguments)
    engines = options.engines.split(",") if options.engines else list(ENGINES[options.precision])
    plan = Plan(seconds=options.seconds)
    with contextlib.redirect_stdout(sys.stderr):  # quantizers and exporters print to it
        result = measure(options.model, options.precision, options.threads, engines, plan)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
