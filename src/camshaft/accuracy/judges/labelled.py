"""Classification with labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.accuracy.judges.judge import ByLabels, Feeds, Run
from camshaft.accuracy.judges.scores import scores_of
from camshaft.errors import CalibrationError, ConfigError

RANKS = {"top1": 1, "top5": 5}
"""Metric -> how many of the largest scores may be the label's."""


@dataclass
class Labelled(ByLabels):
    """Classification: per cent of labels among the largest scores of the output that has some.

    samples: (inputs, labels) each; labels are integers, one for each row of the output.
    """

    name: str
    samples: Sequence[tuple[Feeds, np.ndarray]]
    reference: float = field(default=math.nan, init=False)
    suspects: str = field(
        default="do labels begin at the number of the network's first class, and are inputs prepared as in its training?",
        init=False,
    )

    def score(self, run: Run) -> float:
        first = RANKS[self.name]
        right = total = 0
        for number, (feeds, given) in enumerate(self.samples):
            scores = scores_of(run(feeds), number)
            labels = _labels(given, number)
            if labels.dtype.kind not in "iu" or len(labels) != len(scores):
                raise ConfigError(
                    f"evaluate=: sample {number} has labels {labels.dtype}{list(labels.shape)} for {len(scores)} rows of "
                    "scores; give an integer for each row"
                )
            outside = labels[(labels < 0) | (labels >= scores.shape[1])]
            if len(outside):
                raise ConfigError(
                    f"evaluate=: sample {number} has the label {int(outside[0])}; the scores are of classes 0 to "
                    f"{scores.shape[1] - 1}"
                )
            if first > 1 and scores.shape[1] <= first:
                raise ConfigError(
                    f"metric {self.name!r} is always 100 for a network of {scores.shape[1]} classes; use 'top1'"
                )
            best = np.argsort(-scores, axis=1, kind="stable")[:, :first]
            chosen = (best == labels[:, None]).any(axis=1) & ~np.isnan(scores).any(axis=1)
            right += int(chosen.sum())
            total += len(labels)
        if not total:
            raise CalibrationError("evaluate= has no label to judge by: all samples have no row")
        return 100 * right / total


def _labels(given: Any, number: int) -> np.ndarray:
    """Labels of a sample in one row."""
    several = given if isinstance(given, list) else [given]
    if any(isinstance(g, Mapping) for g in several):
        raise ConfigError(
            f"evaluate=: the labels of sample {number} are a detector's; metric 'map' counts boxes"
        )
    if given is None:
        raise ConfigError(f"evaluate=: sample {number} has no labels: None stands in their place")
    try:
        return np.asarray(given).reshape(-1)
    except ValueError as error:
        raise ConfigError(
            f"evaluate=: the labels of sample {number} are no array: {error}"
        ) from error
