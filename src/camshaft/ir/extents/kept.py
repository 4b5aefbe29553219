"""Rows that a mask or lengths keep: a size that is found in the values of an input.

A mask [B, ..., S] says which of the S places of each of B sequences hold something, lengths [B] how many of
the first ones do.  Rows that hold nothing (padding) need not be computed; how many are left is a symbol, counted
before a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import numpy as np

from camshaft.ir.extents.symbol import Symbol

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Kept:
    """What is kept of the rows of an input, and the symbol that says how many these are.

    A row is kept whose mask is not 0; inverted: is False.  places: places that are read of every sequence; one in which the mask
    hides any of them is kept whole.  ones: whether a mask that holds anything but 0 and 1 keeps all rows.
    lengths: of an input that is no mask but lengths, how many places there are: a number, or the name and the axis of
    the input that says it.  Where nothing would be kept, row 0 is.
    """

    symbol: Symbol
    places: tuple[int, ...] = ()
    ones: bool = False
    lengths: int | tuple[str, int] | None = None
    inverted: bool = False

    def count(self, array: np.ndarray, shapes: Shapes = MappingProxyType({})) -> int:
        """How many rows are kept.  shapes: of the inputs of this call, by name; masks need none."""
        mask = self.mask(array, shapes)
        if self.places:
            return len(kept_rows(mask, self.places, self.ones))
        if self.ones and has_others(mask):
            return mask.size
        return max(1, int(np.count_nonzero(mask)))

    def mask(self, array: np.ndarray, shapes: Shapes) -> np.ndarray:
        """The mask [B, ..., S] that the input is or says."""
        if self.lengths is None:
            return ~array if self.inverted else array
        return np.arange(self.longest(shapes)) < array.reshape(-1, 1)

    def most(self, name: str, shapes: Shapes) -> int:
        """How many rows there are.  name: of the input itself."""
        return max(1, prod(shapes[name]) * (1 if self.lengths is None else self.longest(shapes)))

    def full(self, shapes: Shapes) -> int:
        """What the elements of the input are where no row is padding."""
        return int(not self.inverted) if self.lengths is None else self.longest(shapes)

    def longest(self, shapes: Shapes) -> int:
        """How many places a sequence has; 1 where the input that says it has no such axis."""
        if not isinstance(self.lengths, tuple):
            return self.lengths or 1
        name, axis = self.lengths
        shape = shapes[name]
        return shape[axis] if axis < len(shape) else 1


def kept_rows(mask: np.ndarray, places: Sequence[int], ones: bool) -> np.ndarray:
    """Numbers of the rows that are kept among the B * S of a mask, ascending: i64 [count]."""
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
