"""What the builds of one network share as their accuracy is measured: the float network's answers, the judge, the account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from camshaft.accuracy.demand import Demand
from camshaft.accuracy.judges.judge import Feeds, Judge
from camshaft.accuracy.search import Account, Probe, Trial
from camshaft.builder.engine_builder import Builder
from camshaft.builder.precision import Decision
from camshaft.errors import CalibrationError
from camshaft.ir.graph import Graph
from camshaft.quant.deviation import MOST_KEPT


@dataclass
class Judged:
    """builder: of the engine that is wanted.  quick: makes one of engines whose kernels are not timed.  demand: what is asked, None: nothing."""

    builder: Builder
    quick: Callable[[], Builder]
    threads: int
    demand: Demand | None
    account: Account = field(init=False)
    _probe: Probe | None = field(default=None, init=False, repr=False)
    _judge: tuple[Judge, float] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.account = Account() if self.demand is None else self.demand.account

    def probe(self, graph: Graph, batches: Sequence[Feeds]) -> Probe:
        """What measures noise beside a float graph.  batches: calibration's; without them what the demand names is taken."""
        if self._probe is None or self._probe.graph is not graph:
            inputs = batches or (self.demand.inputs[:MOST_KEPT] if self.demand else ())
            if self.demand is not None and not inputs:
                raise CalibrationError(
                    "nothing to measure accuracy on: give calibration data (calibration=), or samples (evaluate=)"
                )
            self._probe = Probe(self.builder, self.quick(), self.threads, graph, inputs)
        return self._probe

    def prepare(self, graph: Graph) -> None:
        """Judge the float network now, if the demand says by what: what is wrong with that shows before calibration."""
        said = self.demand is not None and self.demand.evaluate is not None
        if said and self._judge is None:
            self.judge(Probe(self.builder, self.quick(), self.threads, graph, ()))

    def judge(self, probe: Probe) -> tuple[Judge, float]:
        """The judge of the demand, and the least score allowed."""
        assert self.demand is not None
        if self._judge is None:
            with probe.running(probe.graph) as run:
                self._judge = self.demand.judge(probe.all_batches, run)
        return self._judge

    def holds(self, halved: Decision, graph: Graph, batches: Sequence[Feeds]) -> bool:
        """Whether a decision with half floats is accurate enough; all are where nothing is demanded."""
        if self.demand is None:
            return True
        probe = self.probe(graph, batches)
        judge, allowed = self.judge(probe)
        with probe.running_tuned(halved.tuned) as run:
            score = judge.score(run)
        trial = Trial("with half floats", 0, score, halved.tuned.time_us)
        if score < allowed:
            self.account.trials.append(trial)
            return False
        self.account.choose(trial)
        return True
