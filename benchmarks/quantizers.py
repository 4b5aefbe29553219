"""Quantization side by side: what each tool's INT8 costs in accuracy, how fast it runs, and how long it takes to make.

    python -m benchmarks.quantizers [efficientnet_lite0 ... yolox_nano] [--threads 1] [--control]

All get the same float model and the same 128 calibration photos, and are judged on the same labelled ones: classifiers by top-1 of
500 photos, the detector by mean average precision of 64 pictures.  Other tools are tried at several settings each
(`peer_quantizers`), and the one with the best score is shown.  camshaft's rows are a plain INT8 build, and `camshaft.quantize` as it
is by default, of the detector with at most half a point lost.  --control: also NNCF's accuracy control with the same bound, which
sees the labels it is judged by.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import camshaft
from benchmarks import detection, zoo
from benchmarks.accuracy import Photos
from benchmarks.packages import ROOT, SHARED
from benchmarks.peer_quantizers import (
    FLOAT,
    SETTINGS,
    Feeds,
    Make,
    Run,
    accuracy_controlled,
)
from benchmarks.report import milliseconds, table, write_json
from camshaft.machine.description import describe

CLASSIFIERS = ("efficientnet_lite0", "efficientnet_lite1", "squeezenet1.1")
DETECTOR = "yolox_nano"
HELD = 0.5
"""Points that may be lost where labels are given."""
OUT = ROOT / "build" / "bench" / "quantizers.json"
TIMED = 64
"""Inputs that engines are timed on, in turn."""


class Classifier:
    """A classifier on the labelled photos."""

    metric = "top-1"

    def __init__(self, name: str) -> None:
        self.name, self.path = name, zoo.path_of(name)
        self._photos = Photos(name)
        model = self._photos.model
        self.batches: list[Feeds] = list(zoo.calibration_batches(model))
        self.options: dict[str, Any] = {"shapes": {model.input_name: model.shape}}
        self.feeds: list[Feeds] = [{model.input_name: x} for x in self._photos.inputs]
        self.demand: dict[str, Any] = {}

    def score(self, run: Run) -> float:
        """Per cent of photos that are right."""
        return 100 * float((self._choices(run) == self._photos.labels).mean())

    def agreement(self, run: Run) -> float | None:
        """Per cent of photos with the first choice of the float network."""
        return 100 * float((self._choices(run) == self._wanted).mean())

    @cached_property
    def _wanted(self) -> np.ndarray:
        wanted: np.ndarray = self._photos.reference.argmax(1)
        return wanted

    def _choices(self, run: Run) -> np.ndarray:
        return np.array([int(run(f)[0].argmax()) for f in self.feeds])


class Detector:
    """YOLOX-nano on the labelled pictures."""

    metric = "mAP"

    def __init__(self) -> None:
        self.name, self.path = DETECTOR, detection.MODEL
        self.batches: list[Feeds] = list(detection.calibration())
        self.options: dict[str, Any] = {}
        self.feeds: list[Feeds] = [feeds for feeds, *_ in detection.pictures()]

        def precision(run: Callable[[Feeds], Mapping[str, Any]]) -> float:
            return self.score(lambda feeds: list(run(feeds).values()))

        self.demand: dict[str, Any] = {"evaluate": precision, "max_drop": HELD}

    def score(self, run: Run) -> float:
        """Mean average precision, per cent."""
        return detection.mean_precision(run(f)[0] for f in self.feeds)

    def agreement(self, run: Run) -> float | None:
        """None: boxes have no first choice."""
        return None


Task = Classifier | Detector


@dataclass(frozen=True)
class Row:
    """One engine: score and agreement with the float network in per cent, milliseconds an input (median), seconds to make."""

    model: str
    engine: str
    setting: str
    metric: str
    score: float
    agreement: float | None
    ms: float
    made_s: float


@dataclass
class _Made:
    engine: str
    setting: str
    run: Run
    score: float
    seconds: float


def _camshaft(engine: Any) -> Run:
    return lambda feeds: [np.asarray(a) for a in engine(dict(feeds)).values()]


def _own(task: Task, threads: int) -> Mapping[str, Callable[[], Run]]:
    options: dict[str, Any] = {"threads": threads, **task.options}
    return {
        "camshaft fp32": lambda: _camshaft(camshaft.build(task.path, **options)),
        "camshaft int8": lambda: _camshaft(
            camshaft.build(task.path, precision={"int8"}, calibration=task.batches, **options)
        ),
        "camshaft quantize": lambda: _camshaft(
            camshaft.quantize(task.path, calibration=task.batches, **task.demand, **options).engine
        ),
    }


def _timed(engine: str, setting: str, make: Callable[[], Run], task: Task) -> _Made:
    start = time.perf_counter()
    run = make()
    seconds = time.perf_counter() - start
    made = _Made(engine, setting, run, task.score(run), seconds)
    print(f"{task.name}: {engine} {setting} {made.score:.1f} {seconds:.0f} s", flush=True)
    return made


def _of_peers(task: Task, threads: int, folder: Path, control: bool) -> Iterator[_Made]:
    """Float engines, and each tool's best quantized one."""
    for name, load in FLOAT.items():
        yield _timed(f"{name} fp32", "", lambda load=load: load(task.path, threads), task)  # type: ignore[misc]
    tools: dict[str, Mapping[str, Make]] = dict(SETTINGS)
    if control:
        tools["nncf accuracy control"] = {"": accuracy_controlled(task.score, HELD)}
    for name, settings in tools.items():
        tried = [
            _timed(
                name,
                setting,
                lambda make=make: make(task.path, task.batches, threads, folder),  # type: ignore[misc]
                task,
            )
            for setting, make in settings.items()
        ]
        yield max(tried, key=lambda made: made.score)


def compared(task: Task, threads: int, control: bool) -> list[Row]:
    """All engines of one model, timed input by input in turn."""
    made = [_timed(name, "", make, task) for name, make in _own(task, threads).items()]
    with tempfile.TemporaryDirectory() as folder:
        made += _of_peers(task, threads, Path(folder), control)
        times: list[list[float]] = [[] for _ in made]
        for feeds in task.feeds[:TIMED]:
            for engine, spent in zip(made, times, strict=True):
                engine.run(feeds)  # what the one before left in caches is no longer there
                start = time.perf_counter()
                engine.run(feeds)
                spent.append(time.perf_counter() - start)
        return [
            Row(
                task.name,
                m.engine,
                m.setting,
                task.metric,
                m.score,
                task.agreement(m.run),
                1e3 * statistics.median(spent),
                m.seconds,
            )
            for m, spent in zip(made, times, strict=True)
        ]


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table; points lost are those of the same runtime's float engine."""
    floats = {(r.model, r.engine.split()[0]): r for r in rows if r.engine.endswith("fp32")}
    cells = []
    for r in rows:
        runtime = {"nncf": "openvino"}.get(r.engine.split()[0], r.engine.split()[0])
        lost = floats[r.model, runtime].score - r.score
        cells.append(
            (
                r.model,
                r.engine + (f" ({r.setting})" if r.setting else ""),
                f"{r.score:.1f}",
                f"{lost:.1f}",
                "" if r.agreement is None else f"{r.agreement:.1f}",
                milliseconds(r.ms),
                f"{r.made_s:.0f}",
            )
        )
    return table(["model", "engine", "score", "lost", "agreement %", "ms", "made in s"], cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/quantizers.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.quantizers")
    names = (*CLASSIFIERS, DETECTOR)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(names)}; all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="NNCF's accuracy control, too")
    options = parser.parse_args(arguments)
    if not (SHARED / "data" / "photos-labelled").is_dir():
        print(f"skipped: needs the labelled photos and pictures in {SHARED / 'data'}")
        return
    rows: list[Row] = []
    for name in options.models or names:
        if name not in names:
            parser.error(f"no model {name!r}; there is {', '.join(names)}")
        task = Detector() if name == DETECTOR else Classifier(name)
        rows += compared(task, options.threads, options.control)
    print(markdown(rows))
    write_json(
        OUT, {"machine": describe(), "threads": options.threads, "rows": [asdict(r) for r in rows]}
    )


if __name__ == "__main__":
    main()
