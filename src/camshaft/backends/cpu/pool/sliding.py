"""Writes the code of sliding-window pooling: rows of results in cuts of pixels x vectors of channels.

A cut reduces every input column under its windows over the windows' rows first and then combines
columns for each pixel, so neighbouring windows share the loads and most of the work.  Columns
outside the image are left out when the code is written, rows when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Part, Pointer, Tile, Value
from camshaft.backends.cpu.pool.problem import PoolProblem
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent


@dataclass(frozen=True)
class Split:
    """Tiles of pixels x vectors (of lanes), and work items: output rows times channel blocks."""

    lanes: int
    pixels: int
    vectors: int
    block: int
    blocks: int
    items: Extent


@dataclass(frozen=True)
class Cut:
    """Pixels of a row that are computed together; `start` is the first.

    columns: input columns under their windows that lie in the image, relative to the first window's
    first column.  counted: for each pixel, how many columns of its window an average's divisor counts.
    """

    start: Index
    columns: list[int]
    counted: tuple[int, ...]


@dataclass(frozen=True)
class WindowRows:
    """Window rows of one output row: first..last-1 lie inside the image, row 0 at `top`.

    inside: how many do; counted: how many the average's divisor counts.
    """

    top: Value
    first: Value
    last: Value
    inside: Value
    counted: Value


@dataclass(frozen=True)
class OutputRow:
    """One block of channels of one output row: its image's first pixel, its place, its windows."""

    x: Pointer
    image: Value
    y: Value
    block: Value
    windows: WindowRows


def column_offsets(p: PoolProblem, pixels: int) -> list[int]:
    """Input columns under a tile of windows, relative to its first window's first column."""
    sw, dw = p.strides[1], p.dilations[1]
    return sorted({j * sw + s * dw for j in range(pixels) for s in range(p.kernel[1])})


def tile_cut(p: PoolProblem, width: int, start: int, pixels: int) -> Cut:
    """A tile whose place is known, of images `width` columns wide."""
    counted = tuple(_counted(p, width, start + j) for j in range(pixels))
    return Cut(start, _valid(p, width, start, pixels), counted)


def _valid(p: PoolProblem, width: int, start: int, pixels: int) -> list[int]:
    """Column offsets of a tile that lie inside the image."""
    origin = start * p.strides[1] - p.pads[1]
    return [c for c in column_offsets(p, pixels) if 0 <= origin + c < width]


def _counted(p: PoolProblem, width: int, pixel: int) -> int:
    """Columns that count for a pixel's average: those inside, or inside the padding too."""
    origin = pixel * p.strides[1] - p.pads[1]
    low, high = (-p.pads[1], width + p.pads[3]) if p.include_pad else (0, width)
    return sum(low <= origin + s * p.dilations[1] < high for s in range(p.kernel[1]))


class SlidingWindows:
    """Writes the loops of one kernel, for images of known width."""

    def __init__(self, k: FunctionBuilder, spec: KernelSpec, p: PoolProblem, split: Split) -> None:
        self.k, self.p, self.split = k, p, split
        self.sum_dtype = p.sum_dtype(p.kernel[0] * p.kernel[1])
        numbers = constant_numbers(spec, 1)
        operands = spec.inputs[1:]
        pointers = [operand_pointer(k, spec, 1 + n, numbers) for n in range(len(operands))]
        self.epilogue = Epilogue(k, p.epilogue, operands, pointers, spec.outputs[0], k.args["out0"])

    def all_items(self) -> None:
        """Every work item: one output row, one block of channels."""
        k, p, split = self.k, self.p, self.split
        with k.loop(k.begin, k.end) as item:
            row, block = item // split.blocks, item % split.blocks
            image, y = row // p.oh, row % p.oh
            windows = self._windows(y)
            x = k.args["in0"].at(image * p.steps[0])
            self._row(OutputRow(x, image, y, block, windows))

    def _windows(self, y: Value) -> WindowRows:
        k, p = self.k, self.p
        dh = p.dilations[0]
        top = y * p.strides[0] - p.pads[0]
        first = k.max(-top + (dh - 1), 0) // dh
        last = k.min(k.max(p.h - top + (dh - 1), 0) // dh, p.kernel[0])
        rows = k.max(last - first, 0)
        counted = rows
        if p.include_pad:
            counted = k.min(k.max(p.h + p.pads[2] - top + (dh - 1), 0) // dh, p.kernel[0])
        return WindowRows(top, first, last, rows, counted)

    def _row(self, row: OutputRow) -> None:
        for cut in self._cuts():
            self._cut(row, cut)

    def _cuts(self) -> Iterator[Cut]:
        """The row's tiles; opens the loop over interior ones."""
        k, p, step = self.k, self.p, self.split.pixels
        width = fixed_extent(p.ow, "the width of a pool")
        columns = fixed_extent(p.w, "the width of an image")
        offsets = column_offsets(p, step)
        whole = width // step
        inside = [t for t in range(whole) if _valid(p, columns, t * step, step) == offsets]
        inner = range(inside[0], inside[-1] + 1) if inside else range(0)
        for start in range(0, width, step):
            tile = start // step
            if tile in inner and tile < whole:
                if tile == inner.start:
                    with k.loop(start, inner.stop * step, step) as at:
                        yield Cut(at, offsets, (p.kernel[1],) * step)
                continue
            yield tile_cut(p, columns, start, min(step, width - start))

    def _cut(self, row: OutputRow, cut: Cut) -> None:
        """All channels of the block for one tile of pixels."""
        p, at = self.p, cut.start
        start = row.x.at((at * p.strides[1] - p.pads[1]) * p.steps[2])
        epilogue = self.epilogue.at((row.image, row.y, at, 0))
        for tile in self._channels(row.block):
            here, moved = start.at(tile.start), epilogue.at((0, 0, 0, tile.start))
            self._vectors(here, moved, cut, row.windows, tile.counts(self.split.lanes))

    def _channels(self, block: Value) -> Iterator[Tile]:
        """The block's channels in tiles of vectors."""
        k, split = self.k, self.split
        part = Part(block * split.block, split.block, lambda: k.eq(block, split.blocks - 1))
        return k.tiles(self.p.c, split.lanes * split.vectors, part=part)

    def _vectors(
        self,
        x: Pointer,
        epilogue: Epilogue,
        cut: Cut,
        rows: WindowRows,
        counts: Sequence[int | Value],
    ) -> None:
        """One tile: some pixels times some vectors of channels (of `counts` lanes each)."""
        k, p, lanes = self.k, self.p, self.split.lanes
        sums = [[p.initial(k, self.sum_dtype, lanes) for _ in cut.columns] for _ in counts]
        with k.loop(rows.first, rows.last, carry=sums) as r:
            line = x.at((rows.top + r * p.dilations[0]) * p.steps[1])
            for n, column in enumerate(cut.columns):
                for v, count in enumerate(counts):
                    value = k.load(line.at(column * p.steps[2] + v * lanes), lanes, count)
                    sums[v][n] = p.combine(k, sums[v][n], k.cast(value, self.sum_dtype))
        for v, count in enumerate(counts):
            reduced = dict(zip(cut.columns, sums[v], strict=True))
            for j, counted in enumerate(cut.counted):
                total = self._pixel(reduced, j, counted, rows)
                epilogue.store(total, (0, 0, j, v * lanes), count)

    def _pixel(self, reduced: dict[int, Value], j: int, counted: int, rows: WindowRows) -> Value:
        """The result of pixel j of a tile from its columns' results."""
        k, p = self.k, self.p
        taps = [j * p.strides[1] + s * p.dilations[1] for s in range(p.kernel[1])]
        parts = [reduced[t] for t in taps if t in reduced]
        total = parts[0] if parts else p.initial(k, self.sum_dtype, self.split.lanes)
        for part in parts[1:]:
            total = p.combine(k, total, part)
        if p.is_max:
            return p.maximum(k, total)
        return p.mean(k, total, rows.inside * len(parts), rows.counted * counted)
