"""How far quantized outputs are off on a few calibration batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

Feeds = Mapping[str, np.ndarray]
MOST_KEPT = 4
"""Batches that are looked at again."""


class Seen:
    """Calibration batches, of which the first are kept while they are read.

    batches: those, in order.
    """

    def __init__(self, batches: Iterable[Feeds] | None) -> None:
        self._source = batches
        self.batches: list[dict[str, np.ndarray]] = []

    def __iter__(self) -> Iterator[Feeds]:
        for batch in self._source or ():
            if len(self.batches) < MOST_KEPT:
                self.batches.append({n: np.array(a) for n, a in batch.items()})
            yield batch


def worst_deviation(wanted: Sequence[Feeds], got: Sequence[Feeds]) -> float:
    """The largest root mean square error of a float output, relative to the output's range.

    wanted, got: outputs by name, batch by batch.
    """
    worst = 0.0
    for want, have in zip(wanted, got, strict=True):
        for name, a in want.items():
            if a.dtype.kind != "f" or not a.size:
                continue
            wide = a.astype(np.float64)
            span = float(wide.max() - wide.min())
            error = float(np.sqrt(np.mean((wide - have[name]) ** 2)))
            worst = max(worst, error / span if span else error)
    return worst
