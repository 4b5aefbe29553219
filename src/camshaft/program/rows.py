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
class Targets:
    """Words of a program's tables that vary with the sizes of a call.

    items: by row.  args: by position among all arguments.  patches: byte offsets, by patch.
    nbytes: by binding.  shapes: by position among all extents of bindings.  All int64 [n].
    """

    items: np.ndarray
    args: np.ndarray
    patches: np.ndarray
    nbytes: np.ndarray
    shapes: np.ndarray
