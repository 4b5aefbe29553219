"""A program resolved to addresses: the table that a driver walks, and what a call comes to.

Between the runtime, which makes the rows, and the backends, which run them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Outcome(IntEnum):
    """What entering a program comes to; n > 0 means "the host step at row n - 1 is due"."""

    DONE = 0
    IS_BUSY = -1  # another call is in progress, or the program was not started
    NOT_FINITE = -2  # an input holds NaN or infinity
    OVERLAP = -3  # an output shares memory with another array
    UNEXPECTED = -4  # an array is no ndarray of just the type, shape, layout and writability


class Patch(NamedTuple):
    """An argument that points into a caller's array: binding number and byte offset."""

    binding: int
    offset: int


class Row(NamedTuple):
    """One phase of a kernel, or a host step.

    code: the phase's address, 0 for a host step.  args: addresses (0: null), or patches.
    items: how many work items.  waits: whether all earlier rows must have finished.
    """

    code: int
    args: tuple[int | Patch, ...]
    items: int
    waits: bool


@dataclass(frozen=True)
class Words:
    """Words of a table that vary with the sizes of a call, int64 [n] each.

    Word at[i] is base[i] + results[first[i]] + results[second[i]], and where in_arena[i] is 1 the
    arena's address on top of that.
    """

    at: np.ndarray
    base: np.ndarray
    first: np.ndarray
    second: np.ndarray
    in_arena: np.ndarray

    def write(self, table: np.ndarray, results: np.ndarray, arena: int) -> None:
        """Put them into the table."""
        values = self.base + results[self.first] + results[self.second]
        table[self.at] = values + self.in_arena * arena

    def moved(self, scale: int, offset: int) -> Words:
        """The same words at other positions of a table."""
        return Words(self.at * scale + offset, self.base, self.first, self.second, self.in_arena)


@dataclass(frozen=True)
class Targets:
    """Where results of setting a shape go.

    items: by row.  args: by position among all arguments.  patches: byte offsets, by patch.
    dims: in the context's block of dims.  nbytes: by binding.  shapes: by position among all extents
    of bindings.
    """

    items: Words
    args: Words
    patches: Words
    dims: Words
    nbytes: Words
    shapes: Words
