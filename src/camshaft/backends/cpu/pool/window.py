"""Sliding-window pooling, maximum and average: vectors of channels, tiles of output pixels.

A tile reduces every input column under its windows over the window's rows first and then combines
columns for each pixel, so neighbouring windows share the loads and most of the work.  Columns
outside the image are left out when the code is written, rows when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from camshaft.backends.base import KernelSpec, Params, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Part, Pointer, Value
from camshaft.backends.cpu.pool.problem import PoolProblem, supported
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.sizes import typical

_ENOUGH_ITEMS = 24
_LEAST_ITEM_BYTES = 8 << 10
_MOST_PIXELS = 8


@dataclass(frozen=True)
class Split:
    """Tiles of pixels x vectors (of lanes), and work items: output rows times channel blocks."""

    lanes: int
    pixels: int
    vectors: int
    block: int
    blocks: int
    items: int


def column_offsets(p: PoolProblem, pixels: int) -> list[int]:
    """Input columns under a tile of windows, relative to its first window's first column."""
    sw, dw = p.strides[1], p.dilations[1]
    return sorted({j * sw + s * dw for j in range(pixels) for s in range(p.kernel[1])})


def split_of(p: PoolProblem, params: Params, target: CpuTarget) -> Split:
    """Rows, and blocks of channels where there are few rows: reading along memory is faster."""
    lanes, tile = p.lanes(target), int(params["vectors"])
    tiles = -(-p.c // (lanes * tile))
    rows = p.n * p.oh
    tile_bytes = p.kernel[0] * p.ow * p.strides[1] * p.dtype.bytes * lanes * tile
    most = max(1, tiles * tile_bytes // _LEAST_ITEM_BYTES)
    blocks = max(1, min(tiles, most, -(-_ENOUGH_ITEMS // max(1, typical(rows)))))
    block = -(-tiles // blocks) * tile * lanes
    blocks = max(1, -(-p.c // block))
    items = rows * blocks if p.c else 0
    return Split(lanes, int(params["pixels"]), tile, block, blocks, items)


class PoolWindow:
    """Pooling over any window, with any padding, stride and dilation."""

    name = "pool_window"
    version = 2

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[PoolWindowCandidate]:
        """Tiles of as many pixels as fit in registers, for windows of up to 64 columns."""
        p = supported(spec)
        if p is None or p.kernel[1] > 64:
            return ()
        return [PoolWindowCandidate(spec, target, p, params) for params in _tiles(p, target)]


def _tiles(p: PoolProblem, target: CpuTarget) -> list[Params]:
    """Pixels and vectors of channels of a tile."""
    room = target.registers - 3
    across = -(-p.c // p.lanes(target))
    found: list[Params] = []
    for vectors in (1, 2, 4):
        if vectors > across:
            break
        fitting = [
            pixels
            for pixels in range(1, min(_MOST_PIXELS, p.ow) + 1)
            if len(column_offsets(p, pixels)) * vectors <= room
        ]
        best = max(fitting, default=1 if vectors == 1 else 0)
        if best:
            found.append({"pixels": -(-p.ow // -(-p.ow // best)), "vectors": vectors})
    return found


class PoolWindowCandidate(CpuCandidate[PoolProblem]):
    """Parameters: pixels, vectors (tile: output pixels of a row x vectors of channels)."""

    def emit(self) -> Source:
        """One phase; work items are output rows, or blocks of their channels."""
        split = split_of(self.problem, self.params, self.target)
        m = Module(self.target)
        args = phase_args(self.spec)
        with m.phase("pool", split.items, args) as k:
            if split.items != 0:
                _SlidingWindows(k, self.spec, self.problem, split).all_items()
        return m.source()


class _SlidingWindows:
    """Writes the loops of one kernel."""

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
            self._row(image, y, block)

    def _row(self, image: Value, y: Value, block: Value) -> None:
        k, p = self.k, self.p
        dh = p.dilations[0]
        top = y * p.strides[0] - p.pads[0]
        first = k.max(-top + (dh - 1), 0) // dh
        last = k.min(k.max(p.h - top + (dh - 1), 0) // dh, p.kernel[0])
        rows = k.max(last - first, 0)
        counted = rows
        if p.include_pad:
            counted = k.min(k.max(p.h + p.pads[2] - top + (dh - 1), 0) // dh, p.kernel[0])
        x = k.args["in0"].at(image * p.steps[0])
        bounds = _Rows(top, first, last, rows, counted)
        for at, columns, pixels in self._tiles():
            position = (image, y, at, 0)
            start = x.at((at * p.strides[1] - p.pads[1]) * p.steps[2])
            self._tile(start, self.epilogue.at(position), at, columns, pixels, bounds, block)

    def _tiles(self) -> Iterator[tuple[Index, list[int], int]]:
        """Opens the loop over interior tiles; yields (first pixel, valid columns, pixels)."""
        k, p, step = self.k, self.p, self.split.pixels
        whole = p.ow // step
        inside = [t for t in range(whole) if len(self._valid(t * step, step)) == len(
            column_offsets(p, step))]  # fmt: skip
        inner = range(inside[0], inside[-1] + 1) if inside else range(0)
        for start in range(0, p.ow, step):
            tile = start // step
            if tile in inner and tile < whole:
                if tile == inner.start:
                    with k.loop(start, inner.stop * step, step) as at:
                        yield at, column_offsets(p, step), step
                continue
            pixels = min(step, p.ow - start)
            yield start, self._valid(start, pixels), pixels

    def _valid(self, start: int, pixels: int) -> list[int]:
        """Column offsets of a tile that lie inside the image."""
        origin = start * self.p.strides[1] - self.p.pads[1]
        return [c for c in column_offsets(self.p, pixels) if 0 <= origin + c < self.p.w]

    def _tile(
        self,
        x: Pointer,
        epilogue: Epilogue,
        at: Index,
        columns: list[int],
        pixels: int,
        rows: _Rows,
        block: Value,
    ) -> None:
        """All channels of the block for one tile of pixels."""
        k, p, split = self.k, self.p, self.split
        part = Part(block * split.block, split.block, lambda: k.eq(block, split.blocks - 1))
        for tile in k.tiles(p.c, split.lanes * split.vectors, part=part):
            c, counts = tile.start, tile.counts(split.lanes)
            here, moved = x.at(c), epilogue.at((0, 0, 0, c))
            self._vectors(here, moved, at, columns, pixels, rows, counts)

    def _vectors(
        self,
        x: Pointer,
        epilogue: Epilogue,
        at: Index,
        columns: list[int],
        pixels: int,
        rows: _Rows,
        counts: Sequence[int | Value],
    ) -> None:
        """One tile: some pixels times some vectors of channels (of `counts` lanes each)."""
        k, p, lanes = self.k, self.p, self.split.lanes
        sums = [[p.initial(k, self.sum_dtype, lanes) for _ in columns] for _ in counts]
        with k.loop(rows.first, rows.last, carry=sums) as r:
            line = x.at((rows.top + r * p.dilations[0]) * p.steps[1])
            for n, column in enumerate(columns):
                for v, count in enumerate(counts):
                    value = k.load(line.at(column * p.steps[2] + v * lanes), lanes, count)
                    sums[v][n] = p.combine(k, sums[v][n], k.cast(value, self.sum_dtype))
        for v, count in enumerate(counts):
            reduced = dict(zip(columns, sums[v], strict=True))
            for j in range(pixels):
                total = self._pixel(reduced, at, j, rows)
                epilogue.store(total, (0, 0, j, v * lanes), count)

    def _pixel(self, reduced: dict[int, Value], at: Index, j: int, rows: _Rows) -> Value:
        """The result of pixel j of a tile from its columns' results."""
        k, p = self.k, self.p
        taps = [j * p.strides[1] + s * p.dilations[1] for s in range(p.kernel[1])]
        parts = [reduced[t] for t in taps if t in reduced]
        total = parts[0] if parts else p.initial(k, self.sum_dtype, self.split.lanes)
        for part in parts[1:]:
            total = p.combine(k, total, part)
        if p.is_max:
            return total
        counted = self._counted(at, j, len(parts))
        return p.mean(k, total, rows.inside * len(parts), rows.counted * counted)

    def _counted(self, at: Index, pixel: int, inside: int) -> int:
        """Columns that count for a pixel's average: those inside, or inside the padding too."""
        p = self.p
        if not p.include_pad:
            return inside
        if isinstance(at, Value):
            return p.kernel[1]
        origin = (at + pixel) * p.strides[1] - p.pads[1]
        reach = [origin + s * p.dilations[1] for s in range(p.kernel[1])]
        return sum(-p.pads[1] <= column < p.w + p.pads[3] for column in reach)


@dataclass(frozen=True)
class _Rows:
    """Window rows of one output row: first..last-1 lie inside the image, row 0 at `top`.

    inside: how many do; counted: how many the average's divisor counts.
    """

    top: Value
    first: Value
    last: Value
    inside: Value
    counted: Value
