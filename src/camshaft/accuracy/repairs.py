"""Repairs that are tried before layers go back to float, each kept where noise falls.

Cheapest first: ranges chosen anew for the loudest layers, channels scaled of what is joined and of the rest
(`quant.channels.balance`), weights rounded by what layers read (`quant.gptq`).  These cost no time when the engine runs.  The loudest
layers may then read their input in two parts of 8 bits (`quant.fine`), which does.  What else
helps is always on: means of rounding errors taken off biases, kernels that keep their sums, channels of depthwise
convolutions scaled, channels of rows carried apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.accuracy.noise import Ranking, Unit, decibels
from camshaft.quant.calibration.solvers import Solver, solver_named
from camshaft.quant.channels.balance import Balance
from camshaft.quant.channels.families import Family
from camshaft.quant.fine import WORDS
from camshaft.quant.implicit import ImplicitQuantization

WAYS: Mapping[str, tuple[str, float]] = {
    "minimum and maximum": ("minmax", 100.0),
    "least squares": ("mse", 100.0),
    "99.99 %": ("percentile", 99.99),
}
"""Ways to choose a range -> calibrator and percentile."""
LOUDEST = 4
"""Layers whose ranges are chosen anew."""
MOST_EVALUATIONS = 16
"""Engines that are measured to find them: where all layers are about as loud, to tell them apart is not worth more."""
GAIN = 0.97
"""Share of the noise that a repair must bring it below."""
FINE_GAIN = 0.9
"""The same of a repair that costs time."""


@dataclass(frozen=True)
class Repair:
    """What was tried: noise over signal before and after.  unit: the one layer that it changes, None: several.  gain: the share
    of noise that it had to fall below."""

    what: str
    before: float
    after: float
    unit: Unit | None = None
    gain: float = GAIN

    @property
    def kept(self) -> bool:
        """Whether noise fell by more than chance."""
        return self.after < self.gain * self.before

    @property
    def left(self) -> float:
        """Noise with what was kept."""
        return self.after if self.kept else self.before

    @property
    def words(self) -> str:
        """In decibels."""
        gain = decibels(self.after) - decibels(self.before)
        return f"{self.what}: {gain:+.1f} dB, {'kept' if self.kept else 'left'}"


@dataclass
class Repairs:
    """Repairs of one quantization with ranges.

    by_hand: whether the user chose the calibrator, so that ranges stay as they are.  refines: whether two products of bytes may be
    faster than one of floats.
    """

    quantization: ImplicitQuantization
    by_hand: bool
    refines: bool = True

    def run(
        self, noise: Callable[[], float], ranking: Ranking, total: float, *, rounds: bool
    ) -> Sequence[Repair]:
        """Try them.

        noise: of all permitted layers in INT8, now `total`.  ranking: of the layers, by their noise.  rounds: also round
        weights by data, which takes seconds.
        """
        if not self.quantization.seen.batches:
            return ()
        tried: list[Repair] = []
        for unit in [] if self.by_hand else _loudest(ranking):
            for group in self.quantization.groups_of(unit):
                tried.append(self._fit(group, unit, noise, total))
                total = tried[-1].after
        for joins in (True, False):
            found = [f for f in self.quantization.families() if f.joins is joins]
            made = self._balance(found, ranking, noise, total)
            tried += made
            total = made[-1].left if made else total
        if rounds:
            undo = self.quantization.round_by_data()
            tried.append(Repair("weights rounded by what layers read", total, noise()))
            if not tried[-1].kept:
                undo()
        return tried

    def _fit(self, group: str, unit: Unit, noise: Callable[[], float], before: float) -> Repair:
        """The range of a group of tensors chosen by the way with the least noise."""
        q = self.quantization
        assert q.solvers is not None
        images, rows, others = q.solvers
        best, least = others, before
        words = ""
        for way, (calibrator, percentile) in WAYS.items():
            solver: Solver = solver_named(calibrator, percentile)
            q.solve(images, rows, {**others, group: solver})
            after = noise()
            if after < GAIN * least:
                best, least, words = {**others, group: solver}, after, f" by {way}"
        q.solve(images, rows, best)
        return Repair(f"range of what {unit[0]} reads{words}", before, least, unit)

    def refine(self, noise: Callable[[], float], ranking: Ranking, total: float) -> list[Repair]:
        """Let the loudest layers read their input in two parts, which costs time; a build that times kernels puts those back to
        float that are slower so.  As `run`."""
        if not self.refines or not self.quantization.seen.batches:
            return []
        tried: list[Repair] = []
        for unit in _loudest(ranking):
            count, undo = self.quantization.refine(unit)
            if count:
                tried.append(Repair(f"{unit[0]} reads {WORDS}", total, noise(), unit, FINE_GAIN))
                total = tried[-1].left
                if not tried[-1].kept:
                    undo()
        return tried

    def _balance(
        self, wanted: Sequence[Family], ranking: Ranking, noise: Callable[[], float], before: float
    ) -> list[Repair]:
        """Channels scaled of all families where it is expected to help; if that does not, of each that the loudest layers
        read."""
        tried = self._balance_together(wanted, noise, before)
        if tried and not tried[0].kept:
            loudest = {layer for unit in _loudest(ranking) for layer in unit}
            for family in wanted:
                if not loudest.isdisjoint(family.layers):
                    tried += self._balance_together([family], noise, tried[-1].left)
        return tried

    def _balance_together(
        self, wanted: Sequence[Family], noise: Callable[[], float], before: float
    ) -> list[Repair]:
        made, undo = self.quantization.balance(wanted) if wanted else ([], lambda: None)
        if not made:
            return []
        tried = Repair(_said(made, wanted[0].joins), before, noise())
        if not tried.kept:
            undo()
        return [tried]


def _said(made: Sequence[Balance], joins: bool) -> str:
    strengths = sorted({b.strength for b in made})
    figures = f"{strengths[0]:g}" + (f" to {strengths[-1]:g}" if len(strengths) > 1 else "")
    what = "joined tensors" if joins else "tensors"
    of = next(iter(made[0].tensors)) if len(made) == 1 else f"{len(made)} {what}"
    return f"channels of {of} scaled (strength {figures})"


def _loudest(ranking: Ranking) -> list[Unit]:
    """The first of the ranking, as far as few engines tell them."""
    most = ranking.evaluations + MOST_EVALUATIONS
    while len(ranking.known) < LOUDEST and ranking.next(most=most) is not None:
        pass
    return list(ranking.known)[:LOUDEST]
