"""A metric that is a user's own function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from camshaft.accuracy.judges.judge import Judge, Run
from camshaft.errors import ConfigError


@dataclass
class Scored(Judge):
    """A user's own function of `run`."""

    function: Callable[[Run], float]
    name: str = field(init=False)
    reference: float = field(default=math.nan, init=False)
    unit: str = field(default="", init=False)
    _returned: float = field(default=math.nan, init=False, repr=False)

    def __post_init__(self) -> None:
        name = getattr(self.function, "__name__", None)
        self.name = name if isinstance(name, str) else type(self.function).__name__

    def prepare(self, run: Run) -> None:
        super().prepare(run)
        if not math.isfinite(self.reference):
            raise ConfigError(
                f"evaluate=: {self.name} returned {self._returned} for the float network, beside which no drop can be "
                "told; return a finite number, larger is better"
            )

    @property
    def default_drop(self) -> float:
        raise ConfigError(
            f"evaluate= is the function {self.name}, whose unit only you know: say max_drop in it"
        )

    def score(self, run: Run) -> float:
        """NaN, as of answers that are none, is worse than all."""
        value = self.function(run)
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"evaluate=: {self.name} returned {type(value).__name__}; return one number, larger is better"
            ) from None
        self._returned = number
        return -math.inf if math.isnan(number) else number
