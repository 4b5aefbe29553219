"""How far quantized outputs are off on a few calibration batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from camshaft.ir.types import dtype_of

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
    """The largest root mean square error of a float output, relative to the output's range; infinite where only
    one of two elements is a number, or they are infinities of different signs.

    wanted, got: outputs by name, batch by batch.
    """
    floats = (
        (a.astype(np.float64), have[name].astype(np.float64))
        for want, have in zip(wanted, got, strict=True)
        for name, a in want.items()
        if dtype_of(a).is_float
    )
    return max((_error(*pair) for pair in floats), default=0.0)


def _error(want: np.ndarray, have: np.ndarray) -> float:
    numbers = np.isfinite(want)
    alike = np.array_equal(want[~numbers], have[~numbers], equal_nan=True)
    want, have = want[numbers], have[numbers]
    if not alike or not np.isfinite(have).all():
        return float("inf")
    if not want.size:
        return 0.0
    span = float(want.max() - want.min())
    error = float(np.sqrt(np.mean((want - have) ** 2)))
    return error / span if span else error
