"""Detection with labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from camshaft.accuracy.judges.boxes import Boxes, truth_of
from camshaft.accuracy.judges.coco import mean_average_precision, require_tools
from camshaft.accuracy.judges.detections import Decode, decoded, found_in
from camshaft.accuracy.judges.judge import ByLabels, Feeds, Run
from camshaft.errors import CalibrationError

OVERLAPS = {"map": None, "map50": 0.5, "map75": 0.75}
"""Metric -> the overlap from which a box is found; None: the mean over COCO's ten."""


@dataclass
class Detector(ByLabels):
    """Mean average precision, per cent, of boxes that a network finds.

    samples: (inputs, labels) each; `truth_of` says what labels are.  decode: makes boxes, scores and labels of the outputs;
    None: they are some.
    """

    name: str
    samples: Sequence[tuple[Feeds, Any]]
    decode: Decode | None = None
    reference: float = field(default=math.nan, init=False)
    suspects: str = field(
        default="are boxes labelled in the coordinates of the network's boxes, as two corners each; do classes begin at the number "
        "that the network gives; are inputs prepared as in its training?",
        init=False,
    )
    _truth: list[list[Boxes]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        require_tools()
        self._truth = [truth_of(given, n) for n, (_, given) in enumerate(self.samples)]
        if not any(len(boxes.labels) for pictures in self._truth for boxes in pictures):
            raise CalibrationError("evaluate= has no box to judge by: no picture's labels have one")

    def score(self, run: Run) -> float:
        truth: list[Boxes] = []
        found: list[Boxes] = []
        for number, (feeds, _) in enumerate(self.samples):
            outputs = run(feeds)
            pictures = len(self._truth[number])
            truth += self._truth[number]
            if self.decode is None:
                found += found_in(outputs, number, pictures)
            else:
                found += decoded(self.decode(outputs), number, pictures)
        return mean_average_precision(truth, found, OVERLAPS[self.name])
