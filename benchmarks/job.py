"""One model at one number of threads, and how its engines are made."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import onnx

import camshaft
from benchmarks import zoo
from benchmarks.packages import ROOT
from benchmarks.zoo_model import Feeds, ZooModel
from camshaft.bench.runners import CamshaftRunner, OnnxRuntimeRunner, OpenVinoRunner, Runner
from camshaft.config import BuildConfig
from camshaft.config.given import PRECISIONS
from camshaft.errors import CalibrationError

TIMING_CACHE = ROOT / "build" / "bench" / "timing-cache.json"


class NotBuilt(Exception):
    """What is asked for is planned, and this version of camshaft does not have it."""


@dataclass
class Job:
    """One model at one number of threads; builds is filled with the seconds each engine took."""

    model: ZooModel
    threads: int
    feeds: Feeds
    builds: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(name: str, threads: int) -> Job:
        """The job of the zoo model `name`, with the first of its feeds."""
        model = zoo.model_named(name)
        return Job(model, threads, model.feeds(1)[0])

    def path(self, suffix: str = "") -> Path:
        return zoo.path_of(self.model.name + suffix)

    def camshaft(self, name: str, suffix: str = "", **options: Any) -> Runner:
        """An engine of a variant of the model, built with the benchmark's timing cache; NotBuilt if
        this version has no such precision or option."""
        TIMING_CACHE.parent.mkdir(parents=True, exist_ok=True)
        shapes = {n: a.shape for n, a in self.feeds.items()}
        start = time.perf_counter()
        engine = build(
            self.path(suffix),
            shapes=shapes,
            threads=self.threads,
            timing_cache=TIMING_CACHE,
            **options,
        )
        self.builds[name] = time.perf_counter() - start
        return CamshaftRunner(engine, self.feeds, self.threads, name)

    def onnxruntime(self, name: str, suffix: str = "") -> Runner:
        return OnnxRuntimeRunner(self.path(suffix), self.feeds, self.threads, name)

    def openvino(self, name: str, path: Path | None = None, precision: str = "f32") -> Runner:
        model = self.path() if path is None else path
        return OpenVinoRunner(model, self.feeds, self.threads, name, precision)

    def torch(self, name: str, **options: Any) -> Runner:
        """options: of torch_runner.TorchRunner; dtype by its name."""
        module = importlib.import_module("benchmarks.torch_runner")
        runner: Callable[..., Runner] = module.TorchRunner
        return runner(self.model, self.feeds, self.threads, name, **options)

    def calibration(self) -> Iterator[Feeds]:
        """The batches that INT8 ranges come from, the same as the peers'."""
        yield from zoo.calibration_batches(self.model)


def build(model: Path | onnx.ModelProto, **options: Any) -> Any:
    """camshaft.build; NotBuilt if this version has no such precision or option, or if it has no INT8
    without calibration."""
    if missing := sorted(set(options.get("precision", ())) - set(PRECISIONS)):
        raise NotBuilt(f"precision {', '.join(missing)}")
    known = {f.name for f in fields(BuildConfig)} | {"calibration"}
    if missing := sorted(set(options) - known):
        raise NotBuilt(f"option {', '.join(missing)}")
    try:
        return camshaft.build(model, **options)
    except CalibrationError:
        if "calibration" in options:
            raise
        raise NotBuilt("INT8 without calibration") from None
