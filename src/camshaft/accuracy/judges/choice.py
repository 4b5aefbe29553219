"""The judge for what a user gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from camshaft.accuracy.judges.function import Scored
from camshaft.accuracy.judges.judge import METRICS, Feeds, Judge, Run
from camshaft.accuracy.judges.labelled import Labelled
from camshaft.accuracy.judges.likeness import Agreement, Noise
from camshaft.accuracy.judges.scores import chooses
from camshaft.errors import CalibrationError, ConfigError


def judge_of(
    evaluate: Callable[[Run], float] | Iterable[Any] | None,
    metric: str | None,
    batches: Sequence[Feeds],
    run: Run,
) -> Judge:
    """The judge for what the user gave, prepared.

    evaluate: a function of `run`, samples (inputs, labels), batches of inputs without labels, or None: the calibration's
    `batches`.  run: the float network.
    """
    if metric is not None and metric not in METRICS:
        raise ConfigError(
            f"metric {metric!r} is unknown; there is {', '.join(METRICS)}, or a function as evaluate"
        )
    judge = _judge(evaluate, metric, batches, run)
    judge.prepare(run)
    return judge


def _judge(evaluate: Any, metric: str | None, batches: Sequence[Any], run: Run) -> Judge:
    if callable(evaluate):
        if metric is not None:
            raise ConfigError(
                f"metric {metric!r} beside a function as evaluate, which is the metric; leave it out"
            )
        return Scored(evaluate)
    samples: list[Any] = list(batches if evaluate is None else evaluate)
    if not samples:
        source = "calibration" if evaluate is None else "evaluate"
        raise CalibrationError(
            f"{source} has no sample to judge by: the iterable is empty (or used up)"
        )
    if all(isinstance(s, tuple | list) and len(s) == 2 for s in samples):
        if metric in (None, "top1", "top5"):
            _require_inputs([feeds for feeds, _ in samples])
            return Labelled(metric or "top1", [(feeds, labels) for feeds, labels in samples])
        samples = [feeds for feeds, _ in samples]
    _require_inputs(samples)
    if metric in ("top1", "top5"):
        raise ConfigError(f"metric {metric!r} needs labels: give evaluate=[(inputs, labels), ...]")
    if metric is None:
        metric = "agreement" if chooses(run(samples[0])) else "noise"
    return Agreement(samples) if metric == "agreement" else Noise(samples)


def _require_inputs(samples: Sequence[Any]) -> None:
    if not all(isinstance(s, Mapping) for s in samples):
        raise ConfigError(
            "evaluate must be a function, pairs (inputs, labels), or inputs without labels; inputs are {input name: array}"
        )
