"""What calibration keeps of the rows that a product reads: extremes of each channel, and some rows.

The rows are of the first batches (`quant.calibration.calibrate.FEW`), the extremes of all.  Like an `Observer`'s, the state depends on
the multiset of rows alone, not on batches or their order: kept are the rows with the smallest hashes, of those that differ.
"""

from __future__ import annotations

import numpy as np

from camshaft.quant.channels.extremes import ChannelExtremes

ROWS = 128
"""Rows that are kept of a tensor."""


def _hashes(rows: np.ndarray) -> np.ndarray:
    """A number for each row [R, K] of float32, uint64 [R], equal for equal rows."""
    bits = np.ascontiguousarray(rows).view(np.uint32).astype(np.uint64)
    odd = np.random.default_rng(0).integers(0, 1 << 63, rows.shape[1], np.uint64) * 2 + 1
    mixed = (bits + 1) * odd
    total = (mixed ^ (mixed >> np.uint64(29))).sum(axis=1, dtype=np.uint64)
    return np.asarray(total * np.uint64(0x9E3779B97F4A7C15))


class RowSample:
    """Rows [.., K] of one tensor.

    name: the tensor's name.
    rows: float32 [R, K], R at most ROWS, in the order of their hashes.
    """

    __slots__ = ("_extremes", "_hashes", "name", "rows")

    def __init__(self, name: str) -> None:
        self.name = name
        self._extremes = ChannelExtremes(name)
        self.rows: np.ndarray | None = None
        self._hashes: np.ndarray | None = None

    def update(self, values: np.ndarray) -> None:
        """Take in rows, float32 [.., K]."""
        new = np.asarray(values, np.float32).reshape(-1, values.shape[-1])
        if not new.size:
            return
        self.widen(new.min(axis=0), new.max(axis=0))
        hashes = _hashes(new)
        if self.rows is not None and self._hashes is not None:
            hashes = np.concatenate([self._hashes, hashes])
            new = np.concatenate([self.rows, new])
        _, first = np.unique(hashes, return_index=True)
        kept = first[:ROWS]
        self.rows, self._hashes = new[kept], hashes[kept]

    def widen(self, least: np.ndarray, most: np.ndarray) -> None:
        """Take in extremes of channels, float32 [K] each, of rows that are not shown."""
        self._extremes.add(least, most)

    @property
    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and most of each channel, float32 [K]; CalibrationError while nothing has been seen."""
        return self._extremes.seen
