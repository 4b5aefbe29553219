"""The search for the fastest engine whose accuracy is enough.

Precision is chosen by time first (`builder.precision`).  Then the noise of what was chosen is measured at the outputs.  Without a
demand, layers that make most of a large noise stay float.  With one, layers are put back to float, the loudest first, until the
judge is content; how many it takes is found by doubling and bisection, so that an engine is judged some ten times, however many
layers there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from camshaft.accuracy.judges.judge import Feeds, Judge, Run
from camshaft.accuracy.judges.likeness import Agreement
from camshaft.accuracy.judges.scores import chooses
from camshaft.accuracy.noise import Outputs, Ranking, Unit, decibels, noise_ratio
from camshaft.accuracy.ranges import Distribution
from camshaft.accuracy.repairs import Repair, Repairs
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.precision import Attempt, Decision
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
from camshaft.runtime.engine import Engine

FEW = 4
"""Batches on which noise is measured."""
ENOUGH = 10**-2.5
AGREES = 98.5
"""Noise over signal, as powers (25 dB), and per cent of first choices that stay the same, where no more is looked for."""
SHARE = 0.05
"""Share of all noise from which a layer's noise dominates."""
WORTH = 0.2
"""Most that a layer in float may add to the time, as a share of it, over the share of the noise that it takes away."""
MOST_LAYERS = 8
MOST_EVALUATIONS = 32
"""Layers that stay float though nothing was demanded, and engines that are measured to find them."""


@dataclass(frozen=True)
class Trial:
    """One engine that was judged.

    what: what it is.  kept: layers that are float for their noise.  score: the judge's.  time_us: of its kernels, None
    where they were not timed.
    """

    what: str
    kept: int
    score: float
    time_us: float | None = None


@dataclass
class Account:
    """What a search found, for reports.

    judge, and its metric and reference, allowed: None without a demand.  score: of what was chosen.  noise: layers and their noise over
    signal at the outputs, alone in INT8.  total: that of all INT8 layers together.  trials: all that was judged.
    chosen: the one that was taken.  ranges: in words, how ranges were chosen.  repairs: what was tried before floats.  histograms: of tensors that are quantized.
    """

    judge: Judge | None = None
    metric: str | None = None
    reference: float | None = None
    allowed: float | None = None
    score: float | None = None
    noise: dict[Unit, float] = field(default_factory=dict)
    total: float | None = None
    trials: list[Trial] = field(default_factory=list)
    chosen: Trial | None = None
    ranges: str = ""
    repairs: tuple[Repair, ...] = ()
    histograms: tuple[Distribution, ...] = ()

    def choose(self, trial: Trial) -> None:
        """Note an engine that was judged and is taken, unless a later one is."""
        self.trials.append(trial)
        self.chosen, self.score = trial, trial.score

    @property
    def decibels(self) -> dict[Unit, float]:
        """Noise of layers, dB below the signal, loudest first."""
        found = sorted(self.noise.items(), key=lambda item: -item[1])
        return {unit: decibels(noise) for unit, noise in found}


@dataclass
class Probe:
    """Runs graphs on data, with kernels that are not timed.

    builder: of the engine that is wanted.  quick: of those whose kernels are not timed.  all_batches: inputs to run them on.
    """

    builder: Builder
    quick: Builder
    threads: int
    graph: Graph
    all_batches: Sequence[Feeds]
    _wanted: list[Outputs] | None = field(default=None, init=False, repr=False)

    @cached_property
    def choices(self) -> Agreement | None:
        """Judges by the float network's first choices on all batches; None where its outputs are no scores of classes."""
        with self.running(self.graph) as run:
            if not chooses(run(self.batches[0])):
                return None
            judge = Agreement(self.all_batches)
            judge.prepare(run)
        return judge

    @property
    def batches(self) -> Sequence[Feeds]:
        """Those on which noise is measured."""
        return self.all_batches[:FEW]

    @contextmanager
    def running(self, graph: Graph) -> Iterator[Run]:
        """A function that runs a graph."""
        engine = self.quick.finish(self.quick.tune(graph), self.quick.backend.fingerprint)
        with self._running(engine) as run:
            yield run

    @contextmanager
    def running_tuned(self, tuned: Tuned) -> Iterator[Run]:
        """A function that runs a graph with the kernels that were chosen for it: other kernels round float sums
        otherwise, which moves values at the edge of two levels.  One that keeps states runs as `running` does."""
        if self.builder.states:
            with self.running(tuned.graph) as run:
                yield run
            return
        engine = self.builder.finish(tuned, self.builder.backend.fingerprint)
        with self._running(engine) as run:
            yield run

    @contextmanager
    def _running(self, engine: Engine) -> Iterator[Run]:
        with engine.create_context(self.threads, check_finite=False) as context:

            def run(feeds: Feeds) -> Outputs:
                if not isinstance(feeds, Mapping):
                    raise ConfigError(
                        f"evaluate=: run was called with {type(feeds).__name__}; give inputs as {{input name: array}}"
                    )
                made = context.run(dict(feeds))
                return {n: a.copy() if isinstance(a, np.ndarray) else a for n, a in made.items()}

            yield run

    def noise(self, graph: Graph) -> float:
        """Noise over signal, as powers, of a graph beside the float one."""
        if self._wanted is None:
            self._wanted = self._outputs(self.graph)
        return noise_ratio(self._wanted, self._outputs(graph))

    def _outputs(self, graph: Graph) -> list[Outputs]:
        with self.running(graph) as run:
            return [run(batch) for batch in self.batches]


def units_of(graph: Graph, attempt: Attempt) -> list[Unit]:
    """Layers that are INT8 in an attempt because that was permitted, node by node of the float graph."""
    free = {o for o, why in attempt.reasons.items() if why.startswith("int8: permitted")}
    found = (tuple(o for o in n.origin if o in free) for n in graph.nodes)
    return list(dict.fromkeys(unit for unit in found if unit))


@dataclass
class AccuracySearch:
    """One search.

    probe: runs graphs.  simulate: a graph of the answers that all layers in INT8 give but those given and those of `noisy`, which
    is cheap to make.  choose: the fastest graph that leaves those of `noisy` float.  noisy: source layer -> why it stays float, filled by the search.
    said: tells progress what was judged.  repairs: what can be done about noise besides; None: nothing.
    """

    probe: Probe
    simulate: Callable[[frozenset[str]], Graph]
    choose: Callable[[], Decision]
    noisy: dict[str, str]
    account: Account = field(default_factory=Account)
    said: Callable[[int], None] = lambda done: None
    repairs: Repairs | None = None

    def without_loudest(self, decision: Decision, as_float: Tuned) -> Decision:
        """The decision with layers in float whose noise dominates the outputs', where noise is large and their time is
        little.  as_float: the float graph, with times."""
        units = units_of(self.probe.graph, decision.attempt)
        if not units:
            return decision
        total = self.account.total = self.probe.noise(decision.attempt.graph)
        if self._is_enough(decision, total):
            return decision
        ranking = self._ranking(units)
        if self._repaired(ranking, rounds=False):
            decision = self.choose()
            total = self.account.total = self.probe.noise(decision.attempt.graph)
            if self._is_enough(decision, total):
                return decision
        costs = _costs(as_float, decision.tuned)
        for _ in range(MOST_LAYERS):
            unit = ranking.next(least=SHARE * total, most=MOST_EVALUATIONS)
            if unit is None:
                break
            share = _share(ranking.known[unit], total)
            if costs(unit) <= WORTH * share * decision.tuned.time_us:
                self._keep(unit, ranking.known[unit], total)
        self.account.noise = dict(ranking.known)
        if not self.noisy:
            return decision
        made = self.choose()
        left = self.probe.noise(made.attempt.graph)
        self.account.total = left
        count = len({u for u in ranking.known if u[0] in self.noisy})
        cost = made.tuned.time_us - decision.tuned.time_us
        told = (
            f"{count} layer{'s' * (count != 1)} kept in fp32 for noise (outputs {decibels(total):.1f} dB without, "
            f"{decibels(left):.1f} dB so; {max(cost, 0) / 1e3:.3f} ms)"
        )
        return Decision(made.attempt, made.tuned, f"{made.summary}; {told}")

    def _is_enough(self, decision: Decision, noise: float) -> bool:
        """Whether noise is small, and hardly changes the first choice where the outputs are scores of classes."""
        if noise >= ENOUGH:
            return False
        judge = self.probe.choices
        if judge is None:
            return True
        with self.probe.running(decision.attempt.graph) as run:
            return judge.score(run) >= AGREES

    def _ranking(self, units: Sequence[Unit]) -> Ranking:
        layers = frozenset(o for n in self.probe.graph.nodes for o in n.origin)

        def measure(some: Sequence[Unit]) -> float:
            quantized = {o for unit in some for o in unit}
            self.said(ranking.evaluations)
            return self.probe.noise(self.simulate(layers - quantized))

        ranking = Ranking(units, measure)  # `measure` counts by it
        return ranking

    def _keep(self, unit: Unit, noise: float, total: float) -> None:
        share = f"{decibels(noise):.1f} dB alone, of {decibels(total):.1f} dB of all"
        self.noisy.update((o, f"fp32: its noise at the outputs ({share})") for o in unit)

    # -- with a demand -----------------------------------------------------------------------

    def within(
        self,
        decision: Decision,
        judge: Judge,
        allowed: float,
        as_float: Callable[[], Decision],
    ) -> Decision:
        """The fastest decision whose score is at least `allowed`.  as_float: makes that without INT8 but where it is required."""
        units = units_of(self.probe.graph, decision.attempt)
        if not units:
            return self._least(decision, judge, allowed, 0)
        if self._judged(judge, decision, "all permitted layers in INT8") >= allowed:
            return decision
        ranking = self._ranking(units)
        if self._repaired(ranking, rounds=True):
            decision = self.choose()
            if self._judged(judge, decision, "repaired") >= allowed:
                return decision
        total = self.account.total = self._noise()
        if self._refined(ranking, total):
            decision = self.choose()
            if self._judged(judge, decision, "inputs in two parts") >= allowed:
                return decision
            total = self.account.total = self._noise()
        order: list[Unit] = []

        def keep(count: int) -> None:
            while len(order) < count and (unit := ranking.next()) is not None:
                order.append(unit)
            self._keep_first(order[:count], ranking, total)

        def enough(count: int) -> bool:
            keep(count)
            with self.probe.running(self.simulate(frozenset())) as run:
                value = judge.score(run)
            self.account.trials.append(Trial(f"loudest {count} in float", count, value))
            return value >= allowed

        count = fewest(enough, len(units))
        while count < len(units):
            keep(count)
            self.account.noise = dict(ranking.known)
            made = self.choose()
            if not made.attempt.has_int8:
                break
            score = self._judged(judge, made, f"loudest {count} in float, tuned", count)
            if score >= allowed:
                told = f"{count} of {len(units)} layers kept from int8: {judge.said(score)}, {judge.limit(allowed)}"
                return Decision(made.attempt, made.tuned, f"{made.summary}; {told}")
            count += max(1, count // 4)
        self.account.noise = dict(ranking.known)
        self.noisy.update((o, "fp32: accuracy") for unit in units for o in unit)
        made = as_float()
        self.noisy.clear()
        worst = ", ".join(" + ".join(u) for u in order[:3])
        told = f"no INT8 engine has {judge.name} {judge.number(allowed)}"
        told += f"; most in the way: {worst}" if worst else ""
        made = Decision(made.attempt, made.tuned, f"{made.summary}; {told}")
        return self._least(made, judge, allowed, len(units))

    def _least(self, decision: Decision, judge: Judge, allowed: float, kept: int) -> Decision:
        """A decision with as little INT8 as there may be, with its score; the summary says if that is not enough."""
        if not decision.attempt.has_int8:
            spent = decision.tuned.time_us
            self.account.choose(Trial("no layer in INT8", kept, judge.reference, spent))
            return decision
        score = self._judged(judge, decision, "only what layer_precision asks for in INT8", kept)
        if score >= allowed:
            return decision
        told = f"layers that layer_precision asks for in int8 have {judge.said(score)}, {judge.limit(allowed)}"
        return Decision(decision.attempt, decision.tuned, f"{decision.summary}; {told}")

    def _repaired(self, ranking: Ranking, *, rounds: bool) -> bool:
        """Whether some repair was kept.  rounds: try to round weights by data, too, which makes all layers quieter alike."""
        if self.repairs is None:
            return False
        tried = self.repairs.run(self._noise, ranking, self._noise(), rounds=rounds)
        return self._repaired_by(tried, ranking)

    def _refined(self, ranking: Ranking, total: float) -> bool:
        """Whether some layer reads its input in two parts from now on."""
        if self.repairs is None:
            return False
        return self._repaired_by(self.repairs.refine(self._noise, ranking, total), ranking)

    def _noise(self) -> float:
        """Of all permitted layers in INT8."""
        return self.probe.noise(self.simulate(frozenset()))

    def _repaired_by(self, tried: Sequence[Repair], ranking: Ranking) -> bool:
        """Whether some repair was kept.  The ranking starts anew, with layers that were mended on their own measured again."""
        self.account.repairs += tuple(tried)
        kept = [r for r in tried if r.kept]
        ranking.restart({r.unit: None for r in kept if r.unit is not None})
        return bool(kept)

    def _keep_first(self, units: Sequence[Unit], ranking: Ranking, total: float) -> None:
        self.noisy.clear()
        for unit in units:
            self._keep(unit, ranking.known[unit], total)

    def _judged(self, judge: Judge, decision: Decision, what: str, kept: int = 0) -> float:
        with self.probe.running_tuned(decision.tuned) as run:
            score = judge.score(run)
        spent = decision.tuned.time_us or None  # 0 where nothing is timed
        self.account.choose(Trial(what, kept, score, spent))
        return score


def _share(noise: float, total: float) -> float:
    """Share of all noise; infinite noise is all of it."""
    return 1.0 if noise == math.inf else min(1.0, noise / total)


def _costs(as_float: Tuned, quantized: Tuned) -> Callable[[Unit], float]:
    """How many microseconds more a unit takes in float, 0 at least."""
    slow, fast = (_by_layers(t) for t in (as_float, quantized))

    def cost(unit: Unit) -> float:
        key = frozenset(unit)
        return max(0.0, slow.get(key, 0.0) - fast.get(key, 0.0))

    return cost


def _by_layers(tuned: Tuned) -> dict[frozenset[str], float]:
    found: dict[frozenset[str], float] = {}
    for origin, spent in tuned.time_by_origin().items():
        key = frozenset(origin)
        found[key] = found.get(key, 0.0) + spent
    return found


def fewest(enough: Callable[[int], bool], most: int) -> int:
    """The least count from 1 to `most` that is enough, if what is enough stays so for more; `most` is taken to be.

    Counts are doubled until one is enough, and what lies below is bisected."""
    least, count = 0, 1
    while count < most and not enough(count):
        least, count = count, 2 * count
    count = min(count, most)
    while count - least > 1:
        middle = (least + count) // 2
        if enough(middle):
            count = middle
        else:
            least = middle
    return count
