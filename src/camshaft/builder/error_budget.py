"""Kernels that trade accuracy for speed (Winograd F(4,3)) within a budget that is measured.

What their error does to a net's outputs is known only by running the net.  It runs on sample
inputs, with these kernels and with the fastest others.  If an output deviates by more than the
budget, layers get the other kernel, first those that alone change the outputs most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from camshaft.builder.assemble import Choice
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.errors import CamshaftError
from camshaft.ir.types import dtype_of

Arrays = Mapping[str, np.ndarray]


def within_budget(builder: Builder, tuned: Tuned, feeds: Arrays, budget: float) -> Tuned:
    """`tuned` with as many of its approximate kernels as keep every float output within `budget`.

    feeds: sample inputs of a static graph, by name.  budget: largest deviation of an output's
    element, relative to the output's range (largest minus smallest value) with other kernels.

    Costs nothing where no kernel is approximate, and two runs where all may stay.  Layers of equal
    specs keep or lose their kernel together.  Where the net cannot be run on the samples, no
    approximate kernel stays.
    """
    groups: dict[int, list[int]] = {}
    for i, choice in enumerate(tuned.choices):
        if choice is not None and choice.approximate:
            groups.setdefault(id(choice), []).append(i)
    if not groups:
        return tuned
    return _Search(builder, tuned, feeds, budget, list(groups.values())).run()


@dataclass
class _Search:
    """groups: tasks that share an approximate choice."""

    builder: Builder
    tuned: Tuned
    feeds: Arrays
    budget: float
    groups: list[list[int]]
    _exact: dict[int, Choice] = field(default_factory=dict)

    def run(self) -> Tuned:
        for group in self.groups:
            exact = self.builder.exact_choice(self.tuned.tasks[group[0]])
            self._exact.update(dict.fromkeys(group, exact))
        if self.budget == 0:
            return self._keeping([])
        try:
            return self._kept()
        except CamshaftError as error:  # a host step that refuses the samples, say
            return self._keeping([], f"the net cannot be run on random inputs to measure: {error}")

    def _kept(self) -> Tuned:
        want = self._outputs(self._keeping([]))

        def fits(kept: Sequence[list[int]]) -> bool:
            return deviation(self._outputs(self._keeping(kept)), want) <= self.budget

        if fits(self.groups):
            return self.tuned
        alone = {
            group[0]: deviation(self._outputs(self._keeping([group])), want)
            for group in self.groups
        }
        order = sorted(self.groups, key=lambda g: alone[g[0]])
        low, high = 0, len(order)  # the first `low` fit, the first `high` do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(order[:middle]) else (low, middle)
        return self._keeping(order[:low])

    def _keeping(self, kept: Sequence[list[int]], why: str = "beyond the error budget") -> Tuned:
        """The graph in which only the tasks of `kept` have approximate kernels."""
        stay = {i for group in kept for i in group}
        choices = list(self.tuned.choices)
        for i, exact in self._exact.items():
            if i not in stay:
                choices[i] = replace(exact, reason=f"{exact.reason}; {self._name(i)} is {why}")
        return replace(self.tuned, choices=tuple(choices))

    def _name(self, task: int) -> str:
        choice = self.tuned.choices[task]
        assert choice is not None
        return f"{choice.tactic} ({choice.time_us:.1f} us)"

    def _outputs(self, tuned: Tuned) -> Arrays:
        engine = self.builder.finish(tuned, self.builder.backend.fingerprint)
        with engine.create_context(self.builder.threads) as context:
            context.states.update({name: self.feeds[name] for name in engine.states})
            return context.run({name: self.feeds[name] for name in engine.inputs})


def deviation(got: Arrays, want: Arrays) -> float:
    """Largest |got - want| of a float output, relative to the range of `want`; infinite where only
    one of them is a number."""
    return max((_deviation(got[n], want[n]) for n in want if dtype_of(want[n]).is_float), default=0)


def _deviation(got: np.ndarray, want: np.ndarray) -> float:
    a, b = got.astype(np.float64).reshape(-1), want.astype(np.float64).reshape(-1)
    numbers = np.isfinite(b)
    if not np.array_equal(a[~numbers], b[~numbers], equal_nan=True):
        return float("inf")
    a, b = a[numbers], b[numbers]
    if not b.size:
        return 0.0
    worst = float(np.max(np.abs(a - b)))
    if np.isnan(worst):
        return float("inf")
    span = float(b.max() - b.min()) or float(np.abs(b).max())
    return worst / span if worst else 0.0
