"""What is timed for one model: camshaft and its peers, in FP32 or INT8.

The reference that outputs are checked against is ONNX Runtime in FP32 on the float model.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import camshaft
from benchmarks import zoo
from benchmarks.packages import ROOT
from camshaft.bench.runners import (
    CamshaftRunner,
    Feeds,
    OnnxRuntimeRunner,
    OpenVinoRunner,
    Runner,
)

TIMING_CACHE = ROOT / "build" / "bench" / "timing-cache.json"


@dataclass
class Job:
    """One model at one number of threads; builds is filled with the seconds each engine took."""

    model: zoo.ZooModel
    threads: int
    feeds: Feeds
    builds: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(name: str, threads: int) -> Job:
        """The job of the zoo model `name`, fed with one of its photos."""
        model = zoo.model_named(name)
        return Job(model, threads, {model.input_name: model.inputs(1)[0]})

    def path(self, suffix: str = "") -> Path:
        return zoo.path_of(self.model.name + suffix)

    def camshaft(self, name: str, path: Path, **options: Any) -> Runner:
        """An engine of `path`, built with the benchmark's timing cache."""
        TIMING_CACHE.parent.mkdir(parents=True, exist_ok=True)
        shapes = {n: a.shape for n, a in self.feeds.items()}
        start = time.perf_counter()
        engine = camshaft.build(
            path, shapes=shapes, threads=self.threads, timing_cache=TIMING_CACHE, **options
        )
        self.builds[name] = time.perf_counter() - start
        return CamshaftRunner(engine, self.feeds, self.threads, name)

    def calibration(self) -> Iterator[Mapping[str, np.ndarray]]:
        """The batches that INT8 ranges come from, the same as the peers'."""
        for batch in zoo.calibration_batches(self.model):
            yield {self.model.input_name: batch}


def _torch(job: Job) -> Runner:
    runner: Callable[..., Runner] = importlib.import_module("benchmarks.torch_runner").TorchRunner
    return runner(job.model, next(iter(job.feeds.values())), job.threads, "pytorch")


FP32: dict[str, Callable[[Job], Runner]] = {
    "camshaft": lambda job: job.camshaft("camshaft", job.path()),
    "onnxruntime": lambda job: OnnxRuntimeRunner(job.path(), job.feeds, job.threads),
    "openvino": lambda job: OpenVinoRunner(job.path(), job.feeds, job.threads),
    "pytorch": _torch,
}
INT8: dict[str, Callable[[Job], Runner]] = {
    "camshaft": lambda job: job.camshaft(
        "camshaft", job.path(), precision={"int8"}, calibration=job.calibration()
    ),
    "camshaft-qdq": lambda job: job.camshaft("camshaft-qdq", job.path(".qdq"), precision={"int8"}),
    "onnxruntime-qdq": lambda job: OnnxRuntimeRunner(
        job.path(".qdq"), job.feeds, job.threads, "onnxruntime-qdq"
    ),
    "openvino-qdq": lambda job: OpenVinoRunner(
        job.path(".qdq"), job.feeds, job.threads, "openvino-qdq"
    ),
    "openvino-nncf": lambda job: OpenVinoRunner(
        zoo.nncf_path_of(job.model.name), job.feeds, job.threads, "openvino-nncf"
    ),
    "pytorch-fp32": lambda job: _renamed(_torch(job), "pytorch-fp32"),
}
ENGINES = {"fp32": FP32, "int8": INT8}
"""Precision -> engine name -> how to make its runner."""


def _renamed(runner: Runner, name: str) -> Runner:
    runner.name = name
    return runner


def reference(job: Job) -> list[np.ndarray]:
    """The model's outputs in ONNX Runtime, FP32."""
    runner = OnnxRuntimeRunner(job.path(), job.feeds, job.threads)
    runner.run()
    return runner.outputs()


def deviation(outputs: list[np.ndarray], wanted: list[np.ndarray]) -> dict[str, float]:
    """Worst output's largest error over its largest value ("max"), and root mean squares ("rms").

    ValueError if the outputs differ in number or shape, or hold anything not finite.
    """
    worst = {"max": 0.0, "rms": 0.0}
    for i, (got, want) in enumerate(zip(outputs, wanted, strict=True)):
        if got.shape != want.shape:
            raise ValueError(f"output {i} has shape {got.shape} where {want.shape} was expected")
        if not np.isfinite(got).all():
            raise ValueError(f"output {i} holds NaN or infinity")
        error = np.abs(got.astype(np.float64) - want)
        scale = max(float(np.abs(want).max()), 1e-30)
        power = max(float(np.sqrt(np.square(want, dtype=np.float64).mean())), 1e-30)
        worst["max"] = max(worst["max"], float(error.max()) / scale)
        worst["rms"] = max(worst["rms"], float(np.sqrt(np.square(error).mean())) / power)
    return worst
