"""How far quantized outputs are off on a few calibration batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from camshaft.ir.types import dtype_of

Feeds = Mapping[str, np.ndarray]
MOST_KEPT = 96
MOST_BYTES = 64 << 20
"""Batches that are looked at again, and their bytes; there is always one."""


class Seen:
    """The first of many batches, kept.

    batches: those, in order.  nbytes: of all of them.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, np.ndarray]] = []
        self.nbytes = 0

    def add(self, batch: Feeds) -> bool:
        """Keep one more, unless there are enough; whether it is kept."""
        if len(self.batches) >= MOST_KEPT or self.nbytes >= MOST_BYTES:
            return False
        self.batches.append({n: np.array(a) for n, a in batch.items()})
        self.nbytes += sum(a.nbytes for a in batch.values())
        return True


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
