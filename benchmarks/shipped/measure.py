"""Measures one shipped model at one number of threads; prints one JSON object.

    python -m benchmarks.shipped.measure magika --threads 1

Runs in a process of its own for every measurement (`python -m benchmarks.shipped` starts it).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from benchmarks.shipped.check import worst
from benchmarks.shipped.models import FEEDS, Shipped, model_named
from camshaft.bench.interleave import Plan, interleave
from camshaft.bench.runners import CamshaftRunner, OnnxRuntimeRunner, Runner
from camshaft.config import BuildConfig
from camshaft.session import BuildSession


def measure(model: Shipped, threads: int, plan: Plan) -> dict[str, Any]:
    """The measurement as plain data: times are those of the first feed, milliseconds.

    The engine is built with nothing said but the path and the threads: what the file leaves open stays
    open.  ONNX Runtime's is fixed to the feed's sizes, which it may use.  Of quantized files both may compute in
    INT8, which ONNX Runtime does unasked.
    """
    path = model.path()
    start = time.perf_counter()
    permitted = frozenset({"int8"} if model.quantized else ())
    session = BuildSession(path, BuildConfig(precision=permitted, threads=threads))
    engine = session.run()
    seconds = time.perf_counter() - start
    feeds = [model.feeds(i) for i in range(FEEDS)]
    standing = worst(engine, path, feeds, quantized=model.quantized)
    runners: list[Runner] = [
        CamshaftRunner(engine, feeds[0], threads),
        OnnxRuntimeRunner(path, feeds[0], threads),
    ]
    timing = interleave(runners, plan)
    return {
        "model": model.name,
        "threads": threads,
        "build_s": seconds,
        "host_steps": list(session.host_steps),
        "off": standing.off,
        "allowed": standing.allowed,
        "samples_ms": {n: [s * 1e3 for s in v] for n, v in timing.samples.items()},
        "busy": timing.busy,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints the measurement as JSON on standard output."""
    parser = argparse.ArgumentParser("python -m benchmarks.shipped.measure")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a build assumes of open extents
        plan = Plan(seconds=options.seconds)
        result = measure(model_named(options.model), options.threads, plan)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
