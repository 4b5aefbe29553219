"""Which candidates are worth compiling: a model of their times, learned from timings.

The logarithm of a candidate's time, less the mean of its spec's candidates, is a linear function of its
`features`; ridge regression over timing records finds the weights (`scripts/fit_cost_model.py`), which lie
beside this module, for each kind of processor and for all others.  The model only says what is left out of a
contest: what it gets wrong costs time, never correctness.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path

from camshaft.builder.tuning.contest import Offer

FILE = Path(__file__).with_name("cost_model.json")
OTHERS = "others"
"""Entry of the file for processors that nobody has timed."""


@dataclass(frozen=True)
class CostModel:
    """weights: feature -> weight.  margin: candidates that are expected to be slower than the best by
    more than this fraction are left out.  most: so many are kept at most."""

    weights: Mapping[str, float]
    margin: float
    most: int

    def expected(self, features: Mapping[str, float]) -> float:
        """The logarithm of a candidate's time, but for what all candidates of its spec have in common."""
        return sum(self.weights.get(name, 0.0) * value for name, value in features.items())

    def worth_timing(
        self, offers: Sequence[Offer], threads: int, *, packings: bool = False
    ) -> list[Offer]:
        """The offers that may be the fastest, in their order.

        Those that the model knows nothing of are kept, and so is one that is not approximate, where there is one:
        the error budget may ask for it.  packings: one stays of each packing of weights, which may be that of other
        kernels of the layer.
        """
        features = {o.id: self._known(o.candidate.features(threads)) for o in offers}
        known = sorted(
            (o for o in offers if features[o.id]), key=lambda o: self.expected(features[o.id])
        )
        if not known:
            return list(offers)
        limit = self.expected(features[known[0].id]) + log(1 + self.margin)
        kept = [o.id for o in known[: self.most] if self.expected(features[o.id]) <= limit]
        kept += [o.id for o in known if not o.candidate.approximate][:1]
        if packings:
            kept += {o.candidate.packing: o.id for o in reversed(known)}.values()
        return [o for o in offers if o.id in kept or not features[o.id]]

    def _known(self, features: Mapping[str, float]) -> Mapping[str, float]:
        """The features, or none of a tactic that no weight is for: all tactics have one in common."""
        return features if len(self.weights.keys() & features.keys()) > 1 else {}


@cache
def cost_model(processor: str) -> CostModel:
    """The model for a kind of processor (`Backend.kind`), or that for all others."""
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    return CostModel(**entries.get(processor, entries[OTHERS]))
