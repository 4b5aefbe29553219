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
import os
import sys
import time
from collections.abc import Sequence

from benchmarks.engines import ENGINES, deviation, engines_for, reference
from benchmarks.job import Job, NotBuilt
from benchmarks.zoo import model_named
from camshaft.bench.interleave import Plan, interleave
from camshaft.bench.runners import Runner
from camshaft.errors import CamshaftError

TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "int8": 1.0, "int8-dynamic": 1.0, "int4": 1.0}
"""Largest relative root-mean-square deviation from the FP32 reference before an engine is wrong.

INT8 outputs of random weights may lie far off; the figure is recorded beside the times.
"""


def measure(
    name: str,
    precision: str,
    threads: int,
    engines: Sequence[str],
    plan: Plan,
    *,
    processor_time: bool = False,
) -> dict[str, object]:
    """The measurement as plain data; an engine that fails is listed under "failed" with why, one whose
    precision this version of camshaft does not have under "not_built".

    processor_time: times are those that the process had a processor, for machines that others use; one
    thread only (ValueError), since waiting threads use processors too.
    """
    if processor_time and threads != 1:
        raise ValueError(f"processor time says nothing of {threads} threads")
    job = Job.of(name, threads)
    wanted = reference(job)
    runners: list[Runner] = []
    failed: dict[str, str] = {}
    not_built: dict[str, str] = {}
    deviations: dict[str, dict[str, float]] = {}
    for engine in engines:
        try:
            runner = ENGINES[precision][engine](job)
            runner.run()
            deviations[engine] = deviation(runner.outputs(), wanted)
        except NotBuilt as reason:
            not_built[engine] = str(reason)
            continue
        except (CamshaftError, ValueError, RuntimeError) as error:
            failed[engine] = f"{type(error).__name__}: {error}"
            continue
        if deviations[engine]["rms"] > TOLERANCE[precision]:
            failed[engine] = f"wrong outputs: {deviations[engine]}"
        else:
            runners.append(runner)
    timing = interleave(runners, plan, time.process_time if processor_time else time.perf_counter)
    for engine, busy in timing.busy.items():
        if busy > threads + 0.1:
            failed[engine] = f"kept {busy:.2f} threads busy where {threads} are allowed"
    return {
        "model": name,
        "kind": job.model.kind,
        "precision": precision,
        "threads": threads,
        "samples_ms": {n: [round(s * 1e3, 6) for s in v] for n, v in timing.samples.items()},
        "busy": {n: round(b, 3) for n, b in timing.busy.items()},
        "deviation": deviations,
        "build_s": job.builds,
        "load": round(os.getloadavg()[0], 2),
        "failed": failed,
        "not_built": not_built,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints the measurement as JSON on standard output."""
    parser = argparse.ArgumentParser("python -m benchmarks.measure")
    parser.add_argument("model")
    parser.add_argument("--precision", choices=sorted(ENGINES), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--engines", help="comma-separated; default: all")
    parser.add_argument("--processor-time", action="store_true", help="see measure()")
    options = parser.parse_args(arguments)
    names = engines_for(model_named(options.model), options.precision)
    engines = options.engines.split(",") if options.engines else names
    plan = Plan(seconds=options.seconds)
    with contextlib.redirect_stdout(sys.stderr):  # quantizers and exporters print to it
        result = measure(
            options.model,
            options.precision,
            options.threads,
            engines,
            plan,
            processor_time=options.processor_time,
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
