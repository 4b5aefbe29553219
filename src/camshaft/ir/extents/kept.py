"""Rows that a mask keeps: a size that is found in the values of an input.

A mask [B, ..., S] says which of the S places of each of B sequences hold something.  Rows that hold nothing
(padding) need not be computed; how many are left is a symbol, counted before a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir.extents.symbol import Symbol


@dataclass(frozen=True)
class Kept:
    """What is kept of the rows of a mask, and the symbol that says how many these are.

    A row is kept whose mask is not 0.  places: places that are read of every sequence; one in which the mask
    hides any of them is kept whole.  ones: whether a mask that holds anything but 0 and 1 keeps all rows.
    Where nothing would be kept, row 0 is.
    """

    symbol: Symbol
    places: tuple[int, ...] = ()
    ones: bool = False

    def count(self, mask: np.ndarray) -> int:
        """How many rows are kept."""
        if self.places:
            return len(self.rows(mask))
        if self.ones and has_others(mask):
            return mask.size
        return max(1, int(np.count_nonzero(mask)))

    def rows(self, mask: np.ndarray) -> np.ndarray:
        """Their numbers among the B * S rows, ascending: i64 [count]."""
        return kept_rows(mask, self.places, self.ones)


def kept_rows(mask: np.ndarray, places: Sequence[int], ones: bool) -> np.ndarray:
    """See `Kept.rows`."""
    if ones and has_others(mask):
        return np.arange(mask.size)
    kept = (mask != 0).reshape(mask.shape[0], -1)
    read = [min(place, kept.shape[1] - 1) for place in places]
    kept |= ~kept[:, read].all(axis=1, keepdims=True)
    rows = np.flatnonzero(kept)
    return rows if len(rows) else np.zeros(1, np.int64)


def has_others(mask: np.ndarray) -> bool:
    """Whether a mask holds anything but 0 and 1."""
    return mask.dtype != np.bool_ and bool(((mask != 0) & (mask != 1)).any())
