"""Judges: one number that says how good a network's answers are, larger is better.

With labels that is a metric of the task; without, agreement with the float network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np

from camshaft.accuracy.noise import Outputs
from camshaft.errors import ConfigError

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], Outputs]
"""Inputs of the model by name; its outputs by name, arrays of the caller's own."""
METRICS = ("top1", "top5", "map", "map50", "map75", "agreement", "noise")
"""top1, top5: per cent of labels among the largest 1 or 5 scores.  map: mean average precision of boxes, per cent, over intersections
over union from 0.5 to 0.95; map50, map75: from 0.5, 0.75.  agreement: per cent of samples with the float network's first
choice.  noise: 100 less the error of the outputs, root mean square, per cent of their values."""
DROP = 0.5
"""Allowed drop by default, in points of a metric of the task."""


class Judge(ABC):
    """Judges answers; `prepare` first.

    name: of the metric.  reference: the float network's score.
    """

    name: str
    reference: float
    unit: str = " %"
    """Behind a number, in words; "" where nobody knows it."""

    def prepare(self, run: Run) -> None:
        """Look at the float network's answers."""
        self.reference = self.score(run)

    @abstractmethod
    def score(self, run: Run) -> float:
        """How good the answers of `run` are."""

    @property
    def default_drop(self) -> float:
        """The drop that is allowed where nothing is said."""
        return DROP

    def said(self, score: float) -> str:
        """A score in words."""
        return f"{self.name} {self.number(score)}"

    def limit(self, allowed: float) -> str:
        """The least score that is allowed, in words."""
        return f"{self.number(allowed)} allowed"

    def verdict(self, score: float, allowed: float) -> str:
        """What came of a demand, for people."""
        found, wanted, least = (self.number(x) for x in (score, self.reference, allowed))
        return f"{self.name} {found}{self.unit}, {wanted}{self.unit} in floats, {least}{self.unit} asked"

    def number(self, score: float) -> str:
        """A score as people read it."""
        return f"{score:.2f}" if self.unit else f"{score:.6g}"


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
