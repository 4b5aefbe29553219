"""What an engine costs besides its inference time: building, loading, file size, the call itself.

    python -m benchmarks.limits [--model resnet50]

Measures a cold build, a build with a warm timing cache, whether both give the same bytes, the
load, the file against the weights it must hold, and a call of a very small network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import camshaft
from benchmarks import zoo
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench" / "limits.json"


@dataclass(frozen=True)
class Limit:
    """One figure beside its target; lower is better."""

    what: str
    value: float
    target: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.target


def build_limits(name: str, threads: int) -> list[Limit]:
    """Build, load (median, file in the system's cache) and size of the zoo model `name` in FP32."""
    path = zoo.path_of(name)
    with tempfile.TemporaryDirectory() as folder:
        cache, files = Path(folder) / "timing-cache", [Path(folder) / f"{i}.engine" for i in (0, 1)]
        seconds = []
        for file in files:
            start = time.perf_counter()
            engine = camshaft.build(path, threads=threads, timing_cache=cache)
            seconds.append(time.perf_counter() - start)
            engine.save(file)
        load = statistics.median(_load_seconds(files[0]) for _ in range(9))
        size = files[0].stat().st_size / weight_bytes(path)
        differ = float(files[0].read_bytes() != files[1].read_bytes())
    return [
        Limit(f"{name}: cold build", seconds[0], 60.0, "s"),
        Limit(f"{name}: build with a warm timing cache", seconds[1], 5.0, "s"),
        Limit(f"{name}: two builds with one timing cache differ", differ, 0.0, ""),
        Limit(f"{name}: load", load * 1e3, 100.0, "ms"),
        Limit(f"{name}: engine file over weights", size, 1.1, "times"),
    ]


def _load_seconds(file: Path) -> float:
    start = time.perf_counter()
    camshaft.load(file).create_context().close()
    return time.perf_counter() - start


def weight_bytes(path: Path) -> int:
    """Bytes of the model's floating-point initializers: what an FP32 engine must hold."""
    arrays = (numpy_helper.to_array(w) for w in onnx.load(str(path)).graph.initializer)
    return sum(a.nbytes for a in arrays if a.dtype.kind == "f")


def call_limit(rounds: int = 51) -> Limit:
    """Microseconds of one call of the zoo's perceptron, Python to Python: median of blocks."""
    engine = camshaft.build(zoo.path_of("mlp"), threads=1)
    feeds = {"input": np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)}
    blocks = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(2000):
            engine(feeds)
        blocks.append((time.perf_counter() - start) / 2000)
    return Limit("mlp: one call", float(np.median(blocks)) * 1e6, 4.0, "us")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/limits.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.limits")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    limits = [call_limit(), *build_limits(options.model, options.threads)]
    write_json(OUT, {"machine": describe(), "limits": [asdict(x) for x in limits]})
    rows = [
        (x.what, f"{x.value:.4g} {x.unit}", f"{x.target:.4g}", "MET" if x.met else "MISSED")
        for x in limits
    ]
    print(table(["what", "measured", "target", ""], rows))


if __name__ == "__main__":
    main()
