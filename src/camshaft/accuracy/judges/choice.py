"""The judge for what a user gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from camshaft.accuracy.judges.detections import Decode
from camshaft.accuracy.judges.detector import OVERLAPS, Detector
from camshaft.accuracy.judges.function import Scored
from camshaft.accuracy.judges.judge import METRICS, Feeds, Judge, Run
from camshaft.accuracy.judges.labelled import RANKS, Labelled
from camshaft.accuracy.judges.likeness import Agreement, Noise
from camshaft.accuracy.judges.scores import chooses
from camshaft.errors import CalibrationError, ConfigError


def check_choice(evaluate: Any, metric: str | None, decode: Decode | None) -> None:
    """ConfigError for what does not go together, whatever the network is."""
    if callable(metric):
        raise ConfigError("metric is a function: give it as evaluate=, and leave metric out")
    if metric is not None and metric not in METRICS:
        raise ConfigError(
            f"metric {metric!r} is unknown; there is {', '.join(METRICS)}, or a function (evaluate=)"
        )
    if metric is not None and callable(evaluate):
        raise ConfigError(
            f"metric {metric!r} beside a function as evaluate=, which is the metric; leave it out"
        )
    if decode is None:
        return
    if not callable(decode):
        raise ConfigError(
            f"decode= is of type {type(decode).__name__}; give a function of outputs by name that returns (boxes, scores, labels)"
        )
    if callable(evaluate) or metric not in (None, *OVERLAPS):
        beside = "a function as evaluate=" if callable(evaluate) else f"metric {metric!r}"
        raise ConfigError(f"decode= is for metrics of boxes, and {beside} is none; leave it out")


def judge_of(
    evaluate: Callable[[Run], float] | Iterable[Any] | None,
    metric: str | None,
    batches: Sequence[Feeds],
    run: Run,
    decode: Decode | None = None,
) -> Judge:
    """The judge for what the user gave, prepared.

    evaluate: a function of `run`, samples (inputs, labels), batches of inputs without labels, or None: the calibration's
    `batches`.  run: the float network.  decode: makes boxes of its outputs.
    """
    check_choice(evaluate, metric, decode)
    judge = _judge(evaluate, metric, batches, run, decode)
    judge.prepare(run)
    return judge


def _judge(
    evaluate: Any, metric: str | None, batches: Sequence[Any], run: Run, decode: Decode | None
) -> Judge:
    if callable(evaluate):
        return Scored(evaluate)
    samples: list[Any] = list(batches if evaluate is None else evaluate)
    if not samples:
        source = "calibration=" if evaluate is None else "evaluate="
        raise CalibrationError(
            f"{source} has no sample to judge by: the iterable is empty (or used up)"
        )
    if all(isinstance(s, tuple | list) and len(s) == 2 for s in samples):
        _require_inputs([feeds for feeds, _ in samples])
        if metric is None:
            metric = "map" if decode is not None or _has_boxes(samples[0][1]) else "top1"
        if metric in OVERLAPS:
            return Detector(metric, samples, decode)
        if metric in RANKS:
            return Labelled(metric, samples)
        samples = [feeds for feeds, _ in samples]
    _require_inputs(samples)
    if decode is not None or metric in {*OVERLAPS, *RANKS}:
        given = "decode=" if metric is None else f"metric {metric!r}"
        pairs = "pairs (inputs, labels)"
        if metric not in RANKS:
            pairs = 'pairs (inputs, {"boxes": [n, 4], "labels": [n]})'
        raise ConfigError(f"{given} needs labels: give {pairs} (evaluate=)")
    if metric is None:
        metric = "agreement" if chooses(run(samples[0])) else "noise"
    return Agreement(samples) if metric == "agreement" else Noise(samples)


def _has_boxes(labels: Any) -> bool:
    first = labels[0] if isinstance(labels, list | tuple) and labels else labels
    return isinstance(first, Mapping)


def _require_inputs(samples: Sequence[Any]) -> None:
    if not all(isinstance(s, Mapping) for s in samples):
        raise ConfigError(
            "evaluate= takes a function, pairs (inputs, labels), or inputs without labels; inputs are {input name: array}"
        )
