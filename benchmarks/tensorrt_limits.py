"""What TensorRT's form of calls costs over the engine's own, and what a refit takes.

    python -m benchmarks.tensorrt_limits [--model resnet50]

Calls of a small net through `ExecutionContext.run_into`, `IExecutionContext.execute_v2` and `execute_async_v3`, in turn within
each round; a difference is the median of the rounds' differences.  Refits of one weight and of all, each after the first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import camshaft
import camshaft.tensorrt as trt
from benchmarks import zoo
from benchmarks.limits import Limit
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench" / "tensorrt_limits.json"
CALLS = 1000


def net() -> camshaft.Network:
    """y = relu(x), of 64 numbers: hardly anything but the call."""
    n = camshaft.Network("small")
    n.output(n.relu(n.input("x", (1, 64))), "y")
    return n


def calls() -> dict[str, Callable[[], Any]]:
    """A call each way, on arrays that stay."""
    x, y = np.ones((1, 64), np.float32), np.empty((1, 64), np.float32)
    engine = camshaft.build(net(), threads=1)
    context = engine.create_context()
    runtime: Any = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    theirs = runtime.deserialize_cuda_engine(engine.to_bytes()).create_execution_context()
    theirs.set_tensor_address("x", x.ctypes.data)
    theirs.set_tensor_address("y", y.ctypes.data)
    addresses, given, taken = [x.ctypes.data, y.ctypes.data], {"x": x}, {"y": y}
    return {
        "run_into": lambda: context.run_into(given, taken),
        "execute_v2": lambda: theirs.execute_v2(addresses),
        "execute_async_v3": lambda: theirs.execute_async_v3(0),
    }


def call_limits(rounds: int) -> list[Limit]:
    """Microseconds of TensorRT's calls over run_into."""
    ways = calls()
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            seen[name].append((time.perf_counter() - start) / CALLS * 1e6)
    own = seen.pop("run_into")
    return [
        Limit(f"{name} over run_into", _median_difference(taken, own), 5.0, "us")
        for name, taken in seen.items()
    ]


def _median_difference(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.median(x - y for x, y in zip(a, b, strict=True))


def refit_limits(name: str, rounds: int) -> list[Limit]:
    """Milliseconds to exchange the largest weight of a zoo model, and all."""
    path = zoo.path_of(name)
    engine = camshaft.build(path, refittable=True, optimization_level=1, threads=1)
    weights = _weights(path, engine)
    largest = max(weights, key=lambda n: weights[n].nbytes)
    found = []
    for what, given in (("its largest weight", {largest: weights[largest]}), ("all", weights)):
        engine.refit(given)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            engine.refit(given)
            seconds.append(time.perf_counter() - start)
        found.append(
            Limit(f"{name}: refit of {what}", statistics.median(seconds) * 1e3, 1000.0, "ms")
        )
    return found


def _weights(path: Path, engine: camshaft.Engine) -> dict[str, np.ndarray]:
    initializers = onnx.load(str(path)).graph.initializer
    return {t.name: numpy_helper.to_array(t) for t in initializers if t.name in engine.refittable}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/tensorrt_limits.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.tensorrt_limits")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args(arguments)
    limits = [*call_limits(options.rounds), *refit_limits(options.model, options.rounds)]
    write_json(OUT, {"machine": describe(), "limits": [asdict(x) for x in limits]})
    rows = [
        (x.what, f"{x.value:.3g} {x.unit}", f"{x.target:.4g}", "MET" if x.met else "MISSED")
        for x in limits
    ]
    print(table(["what", "measured", "target", ""], rows))


if __name__ == "__main__":
    main()
