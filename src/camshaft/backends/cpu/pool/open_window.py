"""Sliding-window pooling over images whose width is known at run time only (see `edges`).

Rows too short to have two ends are cut into narrower tiles, the shortest go pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.edges import Edges, steps_from
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.backends.cpu.pool.problem import PoolProblem
from camshaft.backends.cpu.pool.sliding import (
    Cut,
    OutputRow,
    SlidingWindows,
    Split,
    column_offsets,
    tile_cut,
)
from camshaft.ir.extents.extent import ceil_div
from camshaft.ir.extents.sizes import typical


class OpenWindows(SlidingWindows):
    """`SlidingWindows` for images of open width."""

    def __init__(self, k: FunctionBuilder, spec: KernelSpec, p: PoolProblem, split: Split) -> None:
        super().__init__(k, spec, p, split)
        pads = (p.pads[1], p.pads[3])
        self.edges = Edges.of(
            p.w, p.kernel[1], p.strides[1], p.dilations[1], pads, ceil=p.ceil_mode
        )

    def _row(self, row: OutputRow) -> None:
        k, p, step = self.k, self.p, self.split.pixels
        width, pixels = typical(p.w), typical(p.ow)
        if not self.edges.typical_windows(step, pixels):
            self._in_tiles(row, steps_from(step))
            return
        with k.if_else(k.eq(k.index(p.w), width)) as branch:
            with branch.then():
                for start in range(0, pixels, step):
                    self._cut(row, tile_cut(p, width, start, min(step, pixels - start)))
            with branch.otherwise():
                self._in_tiles(row, steps_from(step))

    def _in_tiles(self, row: OutputRow, steps: Sequence[int]) -> None:
        """In tiles of the first of the steps for which the row is long enough."""
        k, p = self.k, self.p
        if not steps:
            with k.loop(0, p.ow) as at:
                self._pixel_alone(row, at)
            return
        with k.if_else(k.index(p.ow) >= self.edges.fewest(steps[0])) as branch:
            with branch.then():
                self.split = replace(self.split, pixels=steps[0])
                super()._row(row)
            with branch.otherwise():
                self._in_tiles(row, steps[1:])

    def _cuts(self) -> Iterator[Cut]:
        k, p, edges, step = self.k, self.p, self.edges, self.split.pixels
        offsets, whole = column_offsets(p, step), (p.kernel[1],) * step
        lefts, rights = edges.lefts(step), edges.rights(step)
        for n in range(lefts):
            origin = n * step * p.strides[1] - p.pads[1]
            columns = [c for c in offsets if origin + c >= 0]
            windows = edges.left_windows(n * step, step)
            inside = tuple(last - first for first, last in windows)
            yield Cut(k.index(n * step), columns, whole if p.include_pad else inside)
        begin, end = lefts * step, p.ow - rights * step
        with k.loop(0, ceil_div(end - begin, step)) as number:
            start = k.max(k.min(number * step + begin, end - step), edges.left)
            yield Cut(start, offsets, whole)
        for n in range(rights, 0, -1):
            yield from self._right(n * step)

    def _right(self, before: int) -> Iterator[Cut]:
        """The tile that begins `before` pixels before the end of the row, in its variants."""
        k, p, edges = self.k, self.p, self.edges
        start = k.index(p.ow - before)
        found = [self._right_cut(start, last, before) for last in edges.last]
        kinds = {(tuple(cut.columns), cut.counted): cut for cut in found}
        if len(kinds) == 1:
            yield found[0]
            return
        for number, cut in enumerate(found):
            with k.if_(k.eq(k.index(edges.variant), number)):
                yield cut

    def _right_cut(self, start: Value, last: int, before: int) -> Cut:
        p, edges, step = self.p, self.edges, self.split.pixels
        reach = p.dilations[1] * (p.kernel[1] - 1)
        first = last - (before - 1) * p.strides[1] - reach  # relative to the image's last column
        columns = [c for c in column_offsets(p, step) if first + c <= 0]
        beyond = p.pads[3] if p.include_pad else 0
        windows = edges.right_windows(last - beyond, before, step)
        return Cut(start, columns, tuple(last - first for first, last in windows))

    def _pixel_alone(self, row: OutputRow, at: Value) -> None:
        """One pixel, whose window is known at run time only."""
        k, p, split, rows = self.k, self.p, self.split, row.windows
        step = p.dilations[1]
        left = at * p.strides[1] - p.pads[1]
        first = k.max(-left + (step - 1), 0) // step
        last = k.min(k.max(p.w - left + (step - 1), 0) // step, p.kernel[1])
        inside = counted = k.max(last - first, 0)
        if p.include_pad:
            counted = k.min(k.max(p.w + p.pads[3] - left + (step - 1), 0) // step, p.kernel[1])
        start = row.x.at(left * p.steps[2])
        epilogue = self.epilogue.at((row.image, row.y, at, 0))
        for tile in self._channels(row.block):
            x, place = start.at(tile.start), epilogue.at((0, 0, 0, tile.start))
            counts = tile.counts(split.lanes)
            sums = [p.initial(k, self.sum_dtype, split.lanes) for _ in counts]
            with k.loop(rows.first, rows.last, carry=sums) as r:
                line = x.at((rows.top + r * p.dilations[0]) * p.steps[1])
                with k.loop(first, last, carry=sums) as tap:
                    pixel = line.at(tap * step * p.steps[2])
                    for v, count in enumerate(counts):
                        value = k.load(pixel.at(v * split.lanes), split.lanes, count)
                        sums[v] = p.combine(k, sums[v], k.cast(value, self.sum_dtype))
            for v, count in enumerate(counts):
                if p.is_max:
                    total = p.maximum(k, sums[v])
                else:
                    total = p.mean(k, sums[v], rows.inside * inside, rows.counted * counted)
                place.store(total, (0, 0, 0, v * split.lanes), count)
