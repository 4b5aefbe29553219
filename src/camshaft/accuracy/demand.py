"""What a user asks of accuracy, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from camshaft.accuracy.judges.choice import check_choice, judge_of
from camshaft.accuracy.judges.detections import Decode
from camshaft.accuracy.judges.judge import Feeds, Judge, Run
from camshaft.accuracy.search import Account
from camshaft.errors import ConfigError

LARGEST_DROP = 1e12
"""Beyond which a number is none that someone means."""


@dataclass
class Demand:
    """The accuracy that an engine must have.

    evaluate, metric, decode: as for `camshaft.quantize`.  max_drop: how far the score may fall below the float network's; None: the
    metric's own.  account: filled by the build.
    """

    evaluate: Callable[[Run], float] | Sequence[Any] | None = None
    metric: str | None = None
    max_drop: float | None = None
    decode: Decode | None = None
    account: Account = field(default_factory=Account, init=False)

    @staticmethod
    def of(
        evaluate: Callable[[Run], float] | Iterable[Any] | None,
        metric: str | None,
        max_drop: float | None,
        decode: Decode | None = None,
    ) -> Demand:
        """ConfigError for a drop that is no number of at least 0, or what cannot be samples."""
        is_number = isinstance(max_drop, Real) and not isinstance(max_drop, bool)
        if max_drop is not None and not (is_number and 0 <= max_drop <= LARGEST_DROP):
            raise ConfigError(
                f"max_drop is {max_drop!r:.40}; give a number of at least 0, in the metric's unit"
            )
        demand = Demand(None, metric, None if max_drop is None else float(max_drop), decode)
        demand.take(evaluate)
        return demand

    def take(self, evaluate: Callable[[Run], float] | Iterable[Any] | None) -> None:
        """Judge by this.  ConfigError for what can be no samples, or does not go with the metric."""
        if evaluate is not None and not callable(evaluate):
            if isinstance(evaluate, Mapping | str | bytes) or not isinstance(evaluate, Iterable):
                raise ConfigError(
                    f"evaluate= is of type {type(evaluate).__name__}; give a function, or a list of pairs (inputs, labels)"
                )
            evaluate = list(evaluate)
        check_choice(evaluate, self.metric, self.decode)
        self.evaluate = evaluate

    @property
    def inputs(self) -> list[Feeds]:
        """Inputs among what it is judged by."""
        if self.evaluate is None or callable(self.evaluate):
            return []
        pairs = (s[0] if isinstance(s, tuple | list) and s else s for s in self.evaluate)
        return [p for p in pairs if isinstance(p, Mapping)]

    def judge(self, batches: Sequence[Feeds], run: Run) -> tuple[Judge, float]:
        """The judge, prepared with the float network `run`, and the least score allowed."""
        judge = judge_of(self.evaluate, self.metric, batches, run, self.decode)
        drop = judge.default_drop if self.max_drop is None else self.max_drop
        allowed = judge.reference - drop
        self.account.judge, self.account.metric = judge, judge.name
        self.account.reference, self.account.allowed = judge.reference, allowed
        return judge, allowed
