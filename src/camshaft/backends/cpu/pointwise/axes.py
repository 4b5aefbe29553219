"""Iteration spaces of elementwise kernels: which axes remain, and which one becomes vector lanes.

Pure arithmetic on shapes and strides, used by the tactics that visit every element once.  Axes
that lie one behind the other in every operand are merged first, so that most work is one long row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.strides import Strides
from camshaft.ir.types import Shape

MAX_PLANES = 8
"""Longest axis unrolled whole across vectors (channels of an image, halves of a shuffle)."""


@dataclass(frozen=True)
class Nest:
    """Loops over an output: extents, and for every operand its element strides (0: broadcast)."""

    shape: Shape
    strides: tuple[Strides, ...]

    def along(self, axis: int) -> Strides:
        """Every operand's stride along one axis."""
        return tuple(s[axis] for s in self.strides)


@dataclass(frozen=True)
class Tiling:
    """How a nest is cut into tiles of `planes` x lanes elements.

    lane_axis: lies along vector lanes.  plane_axis: across the vectors of a tile, in groups of
    `planes`; None where a tile is a plain run of vectors.
    """

    lane_axis: int
    plane_axis: int | None = None
    planes: int = 1


def merged(shape: Shape, strides: Sequence[Strides]) -> Nest:
    """The nest without unit axes, neighbours merged where all operands allow; at least one axis."""
    kept = [axis for axis, extent in enumerate(shape) if extent != 1]
    extents: list[Extent] = []
    columns: list[Strides] = []
    for axis in kept:
        column = tuple(s[axis] for s in strides)
        if columns and all(
            outer == shape[axis] * inner for outer, inner in zip(columns[-1], column, strict=True)
        ):
            extents[-1] *= shape[axis]
            columns[-1] = column
        else:
            extents.append(shape[axis])
            columns.append(column)
    if not extents:
        extents, columns = [1], [(1,) * len(strides)]
    return Nest(tuple(extents), tuple(zip(*columns, strict=True)))


def tiling_of(nest: Nest, lanes: int) -> Tiling:
    """How to vectorise `nest`, whose last operand is the output.

    Where some operand has its contiguous axis elsewhere than the others, a tile spans both axes
    and is transposed in registers.  The lanes go to the output's axis unless that is too short.
    """
    last = len(nest.shape) - 1
    across = _cross_axis(nest)
    if across is None:
        across = _short_rows_axis(nest, lanes)
    if across is None or nest.strides[-1][last] != 1:
        return Tiling(last)
    along = last
    if typical(nest.shape[last]) < min(typical(nest.shape[across]), lanes):
        along, across = across, last
    extent = nest.shape[across]
    return Tiling(along, across, extent if is_at_most(extent, MAX_PLANES) else lanes)


def is_at_most(extent: Extent, most: int) -> TypeGuard[int]:
    """Whether an extent is an int not above `most`."""
    return isinstance(extent, int) and extent <= most


def _cross_axis(nest: Nest) -> int | None:
    """The axis along which most operands that are strided along the last axis are contiguous."""
    last = len(nest.shape) - 1
    votes = [0] * len(nest.shape)
    for strides in nest.strides:
        if strides[last] not in (0, 1):
            for axis in range(last):
                votes[axis] += strides[axis] == 1
    best = max(range(len(votes)), key=lambda axis: (votes[axis], axis))
    return best if votes[best] else None


def _short_rows_axis(nest: Nest, lanes: int) -> int | None:
    """The axis next to a last axis too short for vectors, where operands are dense over both."""
    last = len(nest.shape) - 1
    extent = nest.shape[last]
    if last == 0 or not is_at_most(extent, min(MAX_PLANES, lanes // 2)):
        return None
    if typical(nest.shape[last - 1]) < lanes:
        return None
    for strides in nest.strides:
        dense = strides[last] == 1 and strides[last - 1] == extent
        if not dense and strides[last - 1] not in (0, 1):
            return None
    return last - 1
