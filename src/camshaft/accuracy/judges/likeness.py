"""How like the float network's answers are, where there are no labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from camshaft.accuracy.judges.judge import Feeds, Judge, Run
from camshaft.accuracy.judges.scores import scores_of
from camshaft.accuracy.noise import Outputs, decibels, noise_ratio

CHANGED, ERROR = 3.0, 5.0
"""Allowed drops by default: per cent of first choices, and of noise, of which 5 are 26 dB."""


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
        self._wanted = [scores_of(run(b), n) for n, b in enumerate(self.batches)]

    @property
    def default_drop(self) -> float:
        return CHANGED

    def verdict(self, score: float, allowed: float) -> str:
        return f"{score:.2f} % of first choices are the float network's, {allowed:.2f} % asked"

    def score(self, run: Run) -> float:
        changed = [
            _changes(wanted, scores_of(run(batch), number))
            for number, (batch, wanted) in enumerate(zip(self.batches, self._wanted, strict=True))
        ]
        if any(c is None for c in changed):
            return 0.0
        rows = sum(map(len, self._wanted))
        if not rows:
            return 100.0
        counted = sum(c[0] for c in changed if c is not None)
        expected = sum(c[1] for c in changed if c is not None)
        by_chance = counted <= expected + 2 * math.sqrt(expected) + 1
        return 100 * (1 - (expected if by_chance else counted) / rows)


def _changes(wanted: np.ndarray, got: np.ndarray) -> tuple[int, float] | None:
    """How many rows have another first choice, and how many are expected to by their noise; None: scores that cannot be held against
    each other."""
    if got.shape != wanted.shape:
        return None
    rows = np.arange(len(wanted))
    order = np.argsort(-wanted, axis=1, kind="stable")
    first = order[:, 0]
    second = order[:, 1]
    changed = np.argsort(-got, axis=1, kind="stable")[:, 0] != first
    numbers = np.isfinite(wanted)
    if not np.array_equal(wanted[~numbers], got[~numbers], equal_nan=True):
        return None
    highest = np.where(numbers, wanted, -np.inf)
    margin = np.where(numbers[rows, first], highest[rows, first] - highest[rows, second], np.inf)
    error = np.subtract(got, wanted, out=np.zeros_like(wanted), where=numbers)
    if not np.isfinite(error).all():
        return None
    deviations = math.sqrt(2) * error.std(axis=1)
    expected = sum(
        0.5 * math.erfc(m / d / math.sqrt(2)) for m, d in zip(margin, deviations, strict=True) if d
    )
    return int(np.count_nonzero(changed)), expected


@dataclass
class Noise(Judge):
    """100 less the error of the worst output, root mean square, per cent of its values."""

    batches: Sequence[Feeds]
    name: str = field(default="noise", init=False)
    reference: float = field(default=100.0, init=False)
    _wanted: list[Outputs] = field(default_factory=list, init=False, repr=False)

    def prepare(self, run: Run) -> None:
        self._wanted = [run(b) for b in self.batches]

    @property
    def default_drop(self) -> float:
        return ERROR

    def said(self, score: float) -> str:
        return f"noise {100 - score:.2f} % ({_power_of(score)})"

    def limit(self, allowed: float) -> str:
        return f"{100 - allowed:.2f} % allowed"

    def verdict(self, score: float, allowed: float) -> str:
        return f"noise is {100 - score:.2f} % of the outputs ({_power_of(score)}), {100 - allowed:.2f} % allowed"

    def score(self, run: Run) -> float:
        ratio = noise_ratio(self._wanted, [run(b) for b in self.batches])
        return 100 * (1 - min(1.0, math.sqrt(ratio)))


def _power_of(score: float) -> str:
    """The noise that a score stands for, as power."""
    return f"{decibels((1 - score / 100) ** 2):.1f} dB"
