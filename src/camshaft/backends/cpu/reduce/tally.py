"""Tactic: what calibration counts of a tensor, in one pass right behind the step that computes it.

Work items are pieces of an image that fit L2, so that results do not depend on the number of workers.  Vectors
lie along channels; a few of them are carried down the rows of a piece.  Then the sampled values are copied out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Tile, Value
from camshaft.backends.cpu.lang.small_floats import SMALL_FLOATS
from camshaft.backends.cpu.pointwise.axes import Nest, merged
from camshaft.backends.cpu.pointwise.support import COMPUTABLE
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.attrs import int_attr
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.types import f32, f64

_COLUMNS = 4
"""Vectors of channels side by side, each with two extremes and a sum."""
_RUN = 32
"""Rows that are summed in f32 before that is added to a sum in f64, whose vectors take twice the room and time."""


class Tally:
    """Extremes and sums of channels, and samples, of any strided operand."""

    name = "tally"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[TallyCandidate]:
        """One way; none for constants, empty tensors and what is no number."""
        if spec.op != "tally" or spec.inputs[0].const:
            return ()
        x = spec.inputs[0]
        if x.dtype not in (*COMPUTABLE, *SMALL_FLOATS) or not all(map(is_positive, x.shape)):
            return ()
        return [TallyCandidate(spec, target, None)]


class TallyCandidate(CpuCandidate[None]):
    """One pass over each piece."""

    def emit(self) -> Source:
        """One phase; work items are pieces."""
        x = self.spec.inputs[0]
        pieces = ceil_div(prod(x.shape[1:-1]), int_attr(self.spec, "rows"))
        m = Module(self.target)
        with m.phase("tally", x.shape[0] * pieces, phase_args(self.spec)) as k:
            writer = _Tally(k, self.spec)
            with k.loop(k.begin, k.end) as item:
                writer.piece(item // pieces, item % pieces, item)
        return m.source()


class _Tally:
    """Writes the code for one piece.

    rows: the axes between the first and the last, merged.
    """

    def __init__(self, k: FunctionBuilder, spec: KernelSpec) -> None:
        self.k, self.lanes = k, k.target.lanes(f32)
        self.x = spec.inputs[0]
        self.channels: Extent = self.x.shape[-1]
        self.rows: Nest = merged(self.x.shape[1:-1], [tuple(self.x.strides[1:-1])])
        self.count: Extent = prod(self.rows.shape)
        self.length, self.every = int_attr(spec, "rows"), int_attr(spec, "every")
        self.sampled = ceil_div(self.count * self.channels, self.every)

    def piece(self, image: Value, part: Value, item: Value) -> None:
        """Piece `part` of an image; item: its number among all."""
        k = self.k
        first = part * self.length
        last = k.min(first + self.length, self.count)
        x = k.args["in0"].at(image * self.x.strides[0])
        results = [k.args[f"out{n}"].at(item * self.channels) for n in range(3)]
        sample = k.args["out3"].at(image * self.sampled)
        for tile in k.tiles(self.channels, _COLUMNS * self.lanes, lanes=self.lanes):
            self._columns(x, results, sample, tile, (first, last))
        if self.every > 1:
            self._sample(x, sample, first * self.channels, last * self.channels)

    def _columns(
        self,
        x: Pointer,
        results: Sequence[Pointer],
        sample: Pointer,
        tile: Tile,
        rows: tuple[Value, Value],
    ) -> None:
        """Extremes and sums of neighbouring channels, and their values where all are sampled."""
        k, lanes = self.k, self.lanes
        counts = tile.counts(lanes)
        starts: list[Index] = [k.add(k.index(tile.start), n * lanes) for n in range(len(counts))]
        least = [k.const(float("inf"), f32, lanes) for _ in counts]
        most = [k.const(float("-inf"), f32, lanes) for _ in counts]
        totals = [k.const(0, f64, lanes) for _ in counts]
        first, last = rows
        with k.loop(first, last, _RUN, carry=[least, most, totals], nonempty=True) as start_row:
            sums = [k.const(0, f32, lanes) for _ in counts]
            stop = k.min(start_row + _RUN, last)
            with k.loop(start_row, stop, carry=[least, most, sums], nonempty=True) as row:
                line = x.at(self._offset(row))
                for n, (start, count) in enumerate(zip(starts, counts, strict=True)):
                    value = self._loaded(line, start, count)
                    if self.every == 1:
                        k.store(value, sample.at(row * self.channels + start), count)
                    least[n], most[n] = k.lesser(value, least[n]), k.greater(value, most[n])
                    sums[n] = sums[n] + value
            for n, part in enumerate(sums):
                totals[n] = totals[n] + k.cast(part, f64)
        for n, (start, count) in enumerate(zip(starts, counts, strict=True)):
            is_finite = k.compare("lt", k.abs(totals[n]), float("inf"))
            for found, result in zip((least[n], most[n]), results, strict=False):
                k.store(k.select(is_finite, found, float("nan")), result.at(start), count)
            k.store(totals[n], results[2].at(start), count)

    def _loaded(self, line: Pointer, start: Index, count: int | Value) -> Value:
        step = self.x.strides[-1]
        place = line.at(start if step == 1 else self.k.index(start) * step)
        return self.k.cast(self.k.load_strided(place, step, self.lanes, count), f32)

    def _sample(self, x: Pointer, sample: Pointer, first: Value, last: Value) -> None:
        """Copy the sampled ones of the values first .. last - 1 of an image."""
        k, every = self.k, self.every
        dense = self.count == 1 or self.rows.strides[0] == (self.channels,)
        dense = dense and self.x.strides[-1] == 1
        with k.loop((first + (every - 1)) // every, (last + (every - 1)) // every) as n:
            at = n * every
            if not dense:
                row, channel = at // self.channels, at % self.channels
                at = self._offset(row) + channel * self.x.strides[-1]
            k.store(k.cast(k.load(x.at(at)), f32), sample.at(n))

    def _offset(self, row: Value) -> Index:
        """Where a row begins, in elements."""
        total = self.k.index(0)
        (strides,) = self.rows.strides
        rest = row
        for axis in reversed(range(len(strides))):
            place = rest
            if axis:
                place, rest = rest % self.rows.shape[axis], rest // self.rows.shape[axis]
            total = total + place * strides[axis]
        return total
