"""What time fusion gains: recurrent layers as one kernel beside the same layers step by step, and beside ONNX Runtime.

    python -m benchmarks.recurrent [--threads 1] [--rounds 15]

`step by step` is the unfused graph (optimization_level=0), whose products have the same kernels; weights of bf16 and
int8 are camshaft's own.  Figures are medians of interleaved rounds, ratios medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import camshaft
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from camshaft.bench.runners import CamshaftRunner, OnnxRuntimeRunner, Runner
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench" / "recurrent.json"
GATES = {"LSTM": 4, "GRU": 3}


@dataclass(frozen=True)
class Net:
    """Layers of one kind, one behind the other: sizes of the input and the state, steps, batch."""

    kind: str
    layers: int
    width: int
    hidden: int
    steps: int
    batch: int = 1
    bidirectional: bool = False
    streams: bool = False

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape; streams: also the states that an earlier call left."""
        states = dict.fromkeys(("h", "c"), (1 + self.bidirectional, self.batch, self.hidden))
        return {"x": (self.steps, self.batch, self.width), **(states if self.streams else {})}

    def model(self) -> onnx.ModelProto:
        """Input x [T, N, width], output y [T, N, directions * hidden]."""
        rng, d, g = np.random.default_rng(0), 1 + self.bidirectional, GATES[self.kind]
        nodes, weights, x, width = [], dict[str, np.ndarray](), "x", self.width
        weights["flat"] = np.array([0, 0, -1])
        states = ("h", "c") if self.streams else ()
        for n in range(self.layers):
            scale = 1 / np.sqrt(self.hidden)
            for name, columns in (("w", width), ("r", self.hidden)):
                shape = (d, g * self.hidden, columns)
                weights[f"{name}{n}"] = rng.uniform(-scale, scale, shape).astype(np.float32)
            bias = rng.uniform(-scale, scale, (d, 2 * g * self.hidden))
            weights[f"b{n}"] = bias.astype(np.float32)
            nodes.append(
                helper.make_node(
                    self.kind,
                    [x, f"w{n}", f"r{n}", f"b{n}", "", *states],
                    [f"y{n}"],
                    hidden_size=self.hidden,
                    direction="bidirectional" if self.bidirectional else "forward",
                )
            )
            if self.kind == "GRU":  # as PyTorch exports it
                nodes[-1].attribute.append(helper.make_attribute("linear_before_reset", 1))
            nodes.append(helper.make_node("Transpose", [f"y{n}"], [f"t{n}"], perm=[0, 2, 1, 3]))
            x = "y" if n == self.layers - 1 else f"x{n}"
            nodes.append(helper.make_node("Reshape", [f"t{n}", "flat"], [x]))
            width = d * self.hidden
        f32 = TensorProto.FLOAT
        graph = helper.make_graph(
            nodes,
            "recurrent",
            [helper.make_tensor_value_info(n, f32, list(s)) for n, s in self.inputs.items()],
            [helper.make_tensor_value_info("y", f32, [self.steps, self.batch, width])],
            [numpy_helper.from_array(a, name) for name, a in weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


NETS = {
    "LSTM 2 x 512, T=100": Net("LSTM", 2, 512, 512, 100),
    "LSTM 2 x 512, T=100, batch 16": Net("LSTM", 2, 512, 512, 100, 16),
    "GRU 256, T=200": Net("GRU", 1, 256, 256, 200),
    "bidirectional LSTM 256, T=80": Net("LSTM", 1, 512, 256, 80, bidirectional=True),
    "LSTM 96, T=200": Net("LSTM", 1, 96, 96, 200),
    "LSTM 128, one step": Net("LSTM", 1, 128, 128, 1, streams=True),
}


def runners_of(net: Net, threads: int, folder: Path) -> dict[str, Runner]:
    """Name -> a runner of the net."""
    path = folder / "net.onnx"
    onnx.save(net.model(), path)
    rng = np.random.default_rng(1)
    feeds = {n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in net.inputs.items()}
    ways: Mapping[str, Mapping[str, Any]] = {
        "fused": {},
        "bf16": {"precision": {"bf16"}},
        "int8": {"precision": {"int8"}},
        "step by step": {"optimization_level": 0},
    }
    found: dict[str, Runner] = {}
    for name, options in ways.items():
        engine = camshaft.build(path, threads=threads, **options)
        found[name] = CamshaftRunner(engine, feeds, threads, name)
    found["onnxruntime"] = OnnxRuntimeRunner(path, feeds, threads)
    return found


def measured(net: Net, threads: int, rounds: int) -> dict[str, list[float]]:
    """Runner -> milliseconds of a call in each round, in which every runner has its turn of about 20 ms."""
    with tempfile.TemporaryDirectory() as folder:
        runners = runners_of(net, threads, Path(folder))
        times: dict[str, list[float]] = {name: [] for name in runners}
        counts = {name: _count(runner) for name, runner in runners.items()}
        for _ in range(rounds):
            for name, runner in runners.items():
                start = time.perf_counter()
                for _ in range(counts[name]):
                    runner.run()
                times[name].append(1e3 * (time.perf_counter() - start) / counts[name])
        return times


def _count(runner: Runner) -> int:
    runner.run()
    start = time.perf_counter()
    runner.run()
    return max(1, round(0.02 / (time.perf_counter() - start)))


def ratio(times: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """How many times as fast, the median over rounds."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    results = []
    for threads in given.threads:
        rows = []
        for name, net in NETS.items():
            times = measured(net, threads, given.rounds)
            results.append({"net": name, "threads": threads, "ms": times})
            over = [f"{ratio(times, 'onnxruntime', way):.2f}" for way in ("fused", "bf16", "int8")]
            gain = ratio(times, "step by step", "fused")
            rows.append([name, f"{statistics.median(times['fused']):.3g}", *over, f"{gain:.2f}"])
        header = ["net", "ms, FP32", "FP32", "BF16", "INT8", "over step by step"]
        print(f"{threads} threads; ratios are ONNX Runtime's time over camshaft's")
        print(table(header, rows), flush=True)
    write_json(OUT, {"machine": describe(), "results": results})


if __name__ == "__main__":
    main()
