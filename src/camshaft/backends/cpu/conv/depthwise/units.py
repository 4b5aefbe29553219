"""How a stream of INT8 depthwise convolution walks along a row: geometry only, no code.

A row is walked in *units* of `fold` output columns; each unit reads the input columns that no unit
before it has read.  In a row of open width the first units, whose columns begin outside the image,
are counted from the row's first unit, the last ones from its end, and a loop does those between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf

from camshaft.backends.cpu.conv.depthwise.quads import Quads
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.lang import Value
from camshaft.ir.extents.extent import Extent


@dataclass(frozen=True)
class Origin:
    """What units and columns count from.

    position: a unit of the row, or the row's end in units; None: its first unit.
    low, high: the image's first column and one past its last, from the origin's first column on.
    units: one past the row's last unit, from the origin on.
    """

    position: Value | None = None
    low: float = -inf
    high: float = inf
    units: float = inf


@dataclass(frozen=True)
class Units:
    """The units of a row, for tiles with these quads; fold: output columns of a unit."""

    problem: ConvProblem
    quads: Quads
    fold: int

    @property
    def step(self) -> int:
        """Input columns from unit to unit."""
        return self.problem.stride[1] * self.fold

    @property
    def reach(self) -> int:
        """Input columns from the first filter column to the last."""
        return (self.problem.s - 1) * self.problem.dilation[1]

    @property
    def begun(self) -> int:
        """Units that have begun before the first one ends."""
        return self.reach // self.step

    @property
    def count(self) -> Extent:
        """Whole units of a row."""
        return self.problem.ow // self.fold

    def new_columns(self, unit: int) -> list[int]:
        """Input columns, counted from the left padding, read first for output unit `unit`."""
        end = unit * self.step + self.reach + 1
        columns = range(end - self.step, end)
        return [c for c in columns if any(u >= unit for u, _ in self.users(c))]

    def users(self, column: int) -> list[tuple[int, int]]:
        """(unit, filter column) pairs that read an input column; units may be negative."""
        pairs = []
        for s in range(self.problem.s):
            unit, rest = divmod(column - s * self.problem.dilation[1], self.step)
            if rest == 0:
                pairs.append((unit, s))
        return pairs

    # --- rows of open width -----------------------------------------------------------------

    @cached_property
    def left(self) -> int:
        """Units at the left some of whose columns lie before the image."""
        unit = 0
        while any(c - self.problem.pad[1] < self.quads.back for c in self.new_columns(unit)):
            unit += 1
        return unit

    @property
    def variant(self) -> Extent:
        """Which of `ends` is the row's: what is left over at its end."""
        p = self.problem
        if self.fold > 1:
            return p.ow % self.fold
        return (p.w + p.pad[1] + p.pad_end[1] - self.reach - 1) % p.stride[1]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """One past the image's last column, counted from the row's end in units."""
        p = self.problem
        first = self.reach + 1 - p.stride[1] - p.pad[1] - p.pad_end[1]
        return tuple(first + n for n in range(max(self.fold, p.stride[1])))

    @cached_property
    def right(self) -> int:
        """Most units at the right some of whose columns lie behind the image."""
        unit, end = -1, min(self.ends) + self.problem.pad[1]
        while any(c + self.fold > end for c in self.new_columns(unit)):
            unit -= 1
        return -1 - unit
