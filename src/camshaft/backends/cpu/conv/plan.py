"""How a direct convolution cuts its output into register tiles: geometry only, no code.

A tile is a run of pixels in one output row.  Tiles of a row whose pixels see the same filter
columns inside the image share code; such runs of tiles are *segments*: usually left border,
interior, right border.  Taps outside the image are left out of a segment's code (*static
clipping*), so no input needs a border of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed, fixed_extent, is_static, typical

PREFETCH_BYTES, PREFETCH_TILES = 256 << 10, 64
"""Least bytes of weights and most tiles of a panel for which fetching weights ahead pays."""


def vector_widths(count: int, lanes: int) -> tuple[int, ...]:
    """Vectors of `lanes` that hold `count` elements, the last one halved while it still fits.

    Half a vector costs half on CPUs that execute wide vectors in two parts, and never more.
    """
    full, rest = divmod(count, lanes)
    last = lanes
    while last >= 8 and rest <= last // 2:
        last //= 2
    return (lanes,) * full + (last,) * (rest > 0)


@dataclass(frozen=True)
class Run:
    """Consecutive filter columns first .. first+count-1 that the same pixels of a tile see."""

    first: int
    count: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """Tiles first .. first+count-1 of a row, which run the same code.

    windows: for each pixel of a tile the filter columns inside the image (first, one past last).
    room: for each pixel how many elements from its window's start on belong to the image row (capped;
    only where the code may read a little further than a window).
    """

    first: int
    count: int
    windows: tuple[tuple[int, int], ...]
    room: tuple[int, ...]

    def runs(self, taps: int) -> list[Run]:
        """The filter columns in order, grouped by the pixels that see them."""
        found: list[Run] = []
        for tap in range(taps):
            rows = tuple(i for i, (low, high) in enumerate(self.windows) if low <= tap < high)
            if found and found[-1].rows == rows:
                found[-1] = Run(found[-1].first, found[-1].count + 1, rows)
            else:
                found.append(Run(tap, 1, rows))
        return [run for run in found if run.rows]


@dataclass(frozen=True)
class ConvPlan:
    """Tiles, panels and work items of one candidate.

    rows, cols: pixels and vectors of a register tile.  lanes: elements of a vector.
    block: output rows (or tiles, where there is one row) of a work item.
    panel_major: whether items of one weight panel follow each other.
    sums: which take turns in the reduction, of every element of a tile.
    """

    problem: ConvProblem
    rows: int
    cols: int
    lanes: int
    block: int
    panel_major: bool
    sums: int = 1

    @property
    def kb(self) -> int:
        """Output channels of a weight panel."""
        return self.cols * self.lanes

    @property
    def panels_per_group(self) -> int:
        """Panels that cover the output channels of one group."""
        return -(-self.problem.k // self.kb)

    @property
    def panels(self) -> int:
        """All weight panels."""
        return self.problem.groups * self.panels_per_group

    @property
    def tail(self) -> int:
        """Output channels of a group's last panel if it is not full, else 0."""
        return self.problem.k % self.kb

    def widths(self, count: int) -> tuple[int, ...]:
        """Lanes of the vectors that hold `count` channels of a panel."""
        return vector_widths(count, self.lanes)

    @property
    def tiles(self) -> Extent:
        """Tiles of one output row."""
        return -(-self.problem.ow // self.rows)

    @property
    def is_one_row(self) -> bool:
        """Whether all pixels form one row: then items are made of tiles, not of rows."""
        p = self.problem
        borders = p.has_open_columns and (p.pad[1] > 0 or p.pad_end[1] > 0)
        return p.n * p.oh == 1 and not borders

    @property
    def units(self) -> Extent:
        """Rows, or tiles where there is one row."""
        return self.tiles if self.is_one_row else self.problem.n * self.problem.oh

    @property
    def blocks(self) -> Extent:
        """Blocks of units."""
        return -(-self.units // self.block)

    @property
    def items(self) -> Extent:
        """Work items."""
        return self.panels * self.blocks

    @property
    def prefetches(self) -> bool:
        """Whether a panel's first tiles fetch the next panel: many weights, few pixels."""
        p = self.problem
        weights = p.form.unit.bytes * p.r * self.row_steps * self.kb * self.panels
        tiles = typical(self.tiles * p.n * p.oh)
        return self.panel_major and weights >= PREFETCH_BYTES and tiles <= PREFETCH_TILES

    @property
    def is_static(self) -> bool:
        """Whether a filter row is written out product by product (few channels)."""
        p = self.problem
        return p.has_few_channels and (not p.is_int8 or is_static(p.x_strides[2:]))

    @property
    def merges_columns(self) -> bool:
        """Whether a filter row's elements lie next to each other in x (no dilation, no gap)."""
        p = self.problem
        return p.x_strides[3] == 1 and p.dilation[1] * p.x_strides[2] == p.c

    @property
    def tap_steps(self) -> int:
        """Groups of channels of a filter column (not of INT8 that is static): channels, pairs or fours."""
        return -(-self.problem.c // self.problem.form.group)

    @cached_property
    def static_quads(self) -> tuple[tuple[tuple[int, int] | None, ...], ...]:
        """INT8, static: the (filter column, channel) of each byte of each i32 group of a row.

        None is padding.  Where columns are merged, a group spans them.
        """
        p = self.problem
        if self.merges_columns:
            lists = [[(s, c) for s in range(p.s) for c in range(p.c)]]
        else:
            lists = [[(s, c) for c in range(p.c)] for s in range(p.s)]
        groups: list[tuple[tuple[int, int] | None, ...]] = []
        for elements in lists:
            padded = [*elements, *[None] * (-len(elements) % 4)]
            groups += [tuple(padded[i : i + 4]) for i in range(0, len(padded), 4)]
        return tuple(groups)

    @property
    def row_steps(self) -> int:
        """Vectors of weights per output vector and filter row: steps of the reduction."""
        if self.problem.is_int8 and self.is_static:
            return len(self.static_quads)
        return self.problem.s * self.tap_steps

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments of a row, left to right."""
        found: list[Segment] = []
        columns = self.problem.columns
        for start in range(0, columns, self.rows):
            pixels = range(start, min(start + self.rows, columns))
            windows = tuple(self.problem.columns_of(ow) for ow in pixels)
            room = tuple(self._room(ow) for ow in pixels)
            last = found[-1] if found else None
            if last and (last.windows, last.room) == (windows, room):
                found[-1] = Segment(last.first, last.count + 1, windows, room)
            else:
                found.append(Segment(start // self.rows, 1, windows, room))
        return tuple(found)

    def _room(self, ow: int) -> int:
        p = self.problem
        if not (self.is_static and p.is_int8):
            return 0
        sw, sc = fixed(p.x_strides[2:], "the strides of an image row")
        window = (p.s - 1) * p.dilation[1] * sw + (p.c - 1) * sc + 1
        width = fixed_extent(p.w, "the width of an image")
        return min((width - 1) * sw + (p.c - 1) * sc + 1 - p.column(ow, 0) * sw, window + 3)

    def least_room(self, windows: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """`Segment.room` of a tile in a row of open width, whose end is known only from what its
        windows see: at least so many elements."""
        p = self.problem
        if not (self.is_static and p.is_int8):
            return (0,) * len(windows)
        sw, sc = fixed(p.x_strides[2:], "the strides of an image row")
        ends = [
            (i * p.stride[1] + (high - 1) * p.dilation[1]) * sw + (p.c - 1) * sc + 1 if high else 0
            for i, (_, high) in enumerate(windows)
        ]
        return tuple(max(ends[i:]) - i * p.stride[1] * sw for i in range(len(windows)))

    # --- zero point -----------------------------------------------------------------------

    @cached_property
    def row_classes(self) -> tuple[tuple[int, int], ...]:
        """Distinct filter row ranges in the order in which `row_class` numbers them."""
        p = self.problem
        ranges = [p.rows_of(oh) for oh in range(p.rows)]
        top, bottom = self.row_class_edges
        if top + bottom > p.rows:
            return tuple(ranges)
        middle = [(0, p.r)] if top + bottom < p.rows else [(0, 0)]
        return (*ranges[:top], *middle, *ranges[p.rows - bottom :])

    @cached_property
    def row_class_edges(self) -> tuple[int, int]:
        """How many output rows at the top and at the bottom have filter rows outside."""
        p = self.problem
        ranges = [p.rows_of(oh) for oh in range(p.rows)]
        clipped = [oh for oh, found in enumerate(ranges) if found != (0, p.r)]
        inner = [oh for oh, found in enumerate(ranges) if found == (0, p.r)]
        if not inner:
            return p.rows, p.rows
        top = sum(1 for oh in clipped if oh < inner[0])
        return top, len(clipped) - top

    @cached_property
    def column_classes(self) -> tuple[tuple[int, int], ...]:
        """Distinct filter column ranges, in order of first appearance."""
        p = self.problem
        return tuple(dict.fromkeys(p.columns_of(ow) for ow in range(p.columns)))
