"""Judges: one number that says how good a network's answers are, larger is better.

With labels that is a metric of the task; without, agreement with the float network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np

from camshaft.accuracy.noise import Outputs, decibels
from camshaft.errors import ConfigError

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], Outputs]
"""Inputs of the model by name; its outputs by name, arrays of the caller's own."""
METRICS = ("top1", "top5", "map", "map50", "map75", "agreement", "noise")
"""top1, top5: per cent of labels among the largest 1 or 5 scores.  map: mean average precision of boxes, per cent, over intersections
over union from 0.5 to 0.95; map50, map75: from 0.5, 0.75.  agreement: per cent of samples with the float network's first
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


class ByLabels(Judge):
    """Judges answers by what is right.  suspects: what labels are of which no answer is right, in words."""

    suspects: str

    def prepare(self, run: Run) -> None:
        super().prepare(run)
        if not self.reference:
            raise ConfigError(
                f"evaluate=: {self.name} of the float network is 0 on the samples given, so that INT8 can lose nothing: "
                f"{self.suspects}"
            )


def verdict(metric: str, reference: float, score: float, allowed: float) -> str:
    """What came of a demand, for people.  metric: the judge's name.  reference: the float network's score."""
    if metric == "noise":
        return f"noise is {100 - score:.2f} % of the outputs ({power_of(score)}), {100 - allowed:.2f} % allowed"
    if metric == "agreement":
        return f"{score:.2f} % of first choices are the float network's, {allowed:.2f} % asked"
    unit = " %" if metric in METRICS else ""
    found, wanted, least = (_said(value, exact=not unit) for value in (score, reference, allowed))
    return f"{metric} {found}{unit}, {wanted}{unit} in floats, {least}{unit} asked"


def power_of(score: float) -> str:
    """The noise that a score of the metric "noise" stands for, as power."""
    return f"{decibels((1 - score / 100) ** 2):.1f} dB"


def _said(score: float, *, exact: bool) -> str:
    """A score; exact: whose unit nobody knows."""
    return f"{score:.6g}" if exact else f"{score:.2f}"
