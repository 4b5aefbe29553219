"""Judges: one number that says how good a network's answers are, larger is better.

With labels that is a metric of the task; without, agreement with the float network.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.accuracy.noise import Outputs, decibels, noise_ratio
from camshaft.errors import CalibrationError, ConfigError

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], Outputs]
"""Inputs of the model by name; its outputs by name, arrays of the caller's own."""
METRICS = ("top1", "top5", "agreement", "noise")
"""top1, top5: per cent of labels among the largest 1 or 5 scores.  agreement: per cent of samples with the float network's first
choice.  noise: 100 less the error of the outputs, root mean square, per cent of their values."""
DROPS = {"noise": 5.0, "agreement": 3.0}
"""Allowed drop by default, where it is not `DROP`; 5 per cent of noise are 26 dB."""
DROP = 0.5


class Judge(ABC):
    """Judges answers; `prepare` first.

    name: of the metric.  reference: the float network's score.
    """

    name: str
    reference: float

    def prepare(self, run: Run) -> None:
        """Look at the float network's answers."""
        self.reference = self.score(run)

    @abstractmethod
    def score(self, run: Run) -> float:
        """How good the answers of `run` are."""

    @property
    def default_drop(self) -> float:
        """The drop that is allowed where nothing is said."""
        return DROPS.get(self.name, DROP)


@dataclass
class Scored(Judge):
    """A user's own function of `run`."""

    function: Callable[[Run], float]
    name: str = field(init=False)
    reference: float = field(default=math.nan, init=False)

    def __post_init__(self) -> None:
        self.name = getattr(self.function, "__name__", type(self.function).__name__)

    def prepare(self, run: Run) -> None:
        super().prepare(run)
        if not math.isfinite(self.reference):
            raise ConfigError(
                f"evaluate: {self.name} returned {self.reference} for the float network, beside which no drop can be "
                "told; return a finite number, larger is better"
            )

    @property
    def default_drop(self) -> float:
        raise ConfigError(
            f"evaluate is the function {self.name}, whose unit only you know: say max_drop in it"
        )

    def score(self, run: Run) -> float:
        """NaN, as of answers that are none, is worse than all."""
        value = self.function(run)
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            number = float(value)
        except (TypeError, ValueError):
            raise ConfigError(
                f"evaluate: {self.name} returned {type(value).__name__}; return one number, larger is better"
            ) from None
        return -math.inf if math.isnan(number) else number


@dataclass
class Labelled(Judge):
    """Classification: per cent of labels among the largest scores of the output that has some.

    samples: (inputs, labels) each; labels are integers, one for each row of the output.
    """

    name: str
    samples: Sequence[tuple[Feeds, np.ndarray]]
    reference: float = field(default=math.nan, init=False)

    def score(self, run: Run) -> float:
        first = 5 if self.name == "top5" else 1
        right = total = 0
        for number, (feeds, given) in enumerate(self.samples):
            scores = _scores(run(feeds), number)
            labels = _labels(given, number)
            if labels.dtype.kind not in "iu" or len(labels) != len(scores):
                raise ConfigError(
                    f"evaluate: sample {number} has labels {labels.dtype}{list(labels.shape)} for {len(scores)} rows of "
                    "scores; give an integer for each row"
                )
            outside = labels[(labels < 0) | (labels >= scores.shape[1])]
            if len(outside):
                raise ConfigError(
                    f"evaluate: sample {number} has the label {int(outside[0])}; the scores are of classes 0 to "
                    f"{scores.shape[1] - 1}"
                )
            best = np.argsort(-scores, axis=1, kind="stable")[:, :first]
            right += int((best == labels[:, None]).any(axis=1).sum())
            total += len(labels)
        if not total:
            raise CalibrationError("evaluate has no label to judge by: all samples have no row")
        return 100 * right / total


@dataclass
class Agreement(Judge):
    """Per cent of rows whose first choice is the float network's.

    What is expected by the noise of a row's scores, as normally distributed, beside the distance of first and second choice, since
    few samples say little by how many of them change; those counted, where that is more than chance explains.
    """

    batches: Sequence[Feeds]
    name: str = field(default="agreement", init=False)
    reference: float = field(default=100.0, init=False)
    _wanted: list[np.ndarray] = field(default_factory=list, init=False, repr=False)

    def prepare(self, run: Run) -> None:
        self._wanted = [_scores(run(b), n) for n, b in enumerate(self.batches)]

    def score(self, run: Run) -> float:
        got = np.concatenate([_scores(run(b), n) for n, b in enumerate(self.batches)])
        wanted = np.concatenate(self._wanted)
        if got.shape != wanted.shape:
            return 0.0
        rows = np.arange(len(wanted))
        order = np.argsort(-wanted, axis=1, kind="stable")
        first, second = order[:, 0], order[:, 1]
        same = np.argsort(-got, axis=1, kind="stable")[:, 0] == first
        numbers = np.isfinite(wanted)
        if not np.array_equal(wanted[~numbers], got[~numbers], equal_nan=True):
            return 0.0
        highest = np.where(numbers, wanted, -np.inf)
        margin = np.where(
            numbers[rows, first], highest[rows, first] - highest[rows, second], np.inf
        )
        error = np.subtract(got, wanted, out=np.zeros_like(wanted), where=numbers)
        if not np.isfinite(error).all():
            return 0.0
        deviations = math.sqrt(2) * error.std(axis=1)
        expected = sum(
            0.5 * math.erfc(m / d / math.sqrt(2))
            for m, d in zip(margin, deviations, strict=True)
            if d
        )
        counted = len(same) - int(np.count_nonzero(same))
        by_chance = counted <= expected + 2 * math.sqrt(expected) + 1
        return 100 * (1 - (expected if by_chance else counted) / len(same))


@dataclass
class Noise(Judge):
    """100 less the error of the worst output, root mean square, per cent of its values."""

    batches: Sequence[Feeds]
    name: str = field(default="noise", init=False)
    reference: float = field(default=100.0, init=False)
    _wanted: list[Outputs] = field(default_factory=list, init=False, repr=False)

    def prepare(self, run: Run) -> None:
        self._wanted = [run(b) for b in self.batches]

    def score(self, run: Run) -> float:
        ratio = noise_ratio(self._wanted, [run(b) for b in self.batches])
        return 100 * (1 - min(1.0, math.sqrt(ratio)))


def said_of(judge: Judge, score: float) -> str:
    """A score in words."""
    if isinstance(judge, Noise):
        return f"noise {100 - score:.2f} % ({decibels((1 - score / 100) ** 2):.1f} dB)"
    return f"{judge.name} {score:.2f}"


def _labels(given: Any, number: int) -> np.ndarray:
    """Labels of a sample in one row."""
    try:
        return np.asarray(given).reshape(-1)
    except ValueError as error:
        raise ConfigError(
            f"evaluate: the labels of sample {number} are no array: {error}"
        ) from error


def _scores(outputs: Outputs, number: int) -> np.ndarray:
    """Scores of classes: the output that may hold some, [rows, classes] of float64."""
    able = {n: _class_scores(a) for n, a in outputs.items()}
    found = {n: scores for n, scores in able.items() if scores is not None}
    if len(found) > 1:
        raise ConfigError(
            f"evaluate: {' and '.join(map(repr, found))} may all be scores of classes; give a function as evaluate, or "
            "metric='noise'"
        )
    for scores in found.values():
        return scores.astype(np.float64)
    raise ConfigError(
        f"evaluate: the model has no output of class scores [rows, classes] (sample {number}); give a function "
        "as evaluate, or metric='noise'"
    )


def chooses(outputs: Outputs) -> bool:
    """Whether all that a network says may be a score for each class."""
    return len(outputs) == 1 and all(_class_scores(a) is not None for a in outputs.values())


def _class_scores(array: Any) -> np.ndarray | None:
    """An output as [rows, classes] if it may be that: no other axis is longer than 1."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim < 2:
        return None
    longer = [d for d in array.shape[1:] if d != 1]
    return array.reshape(len(array), longer[0]) if len(longer) == 1 and longer[0] else None


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
