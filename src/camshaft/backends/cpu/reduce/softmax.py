"""Softmax and log-softmax along any axis, f32.

Three ways, by where the axis lies: along contiguous memory with vectors along the row
(`_SoftmaxAlong`, in registers or in passes, as the length allows), across it with one softmax per
lane (`_SoftmaxAcross`), and for rows of a few elements, such as pairs of class scores, with whole rows
kept in registers, one per lane.
The largest element is subtracted first, so nothing overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr import math
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.pointwise.axes import MAX_PLANES, Nest, is_at_most, merged
from camshaft.backends.cpu.pointwise.lanes import (
    deinterleaved,
    interleaved,
    interleaved_run,
    rows_of,
    store_interleaved_run,
    store_rows,
    transposed,
)
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.attrs import axis_attr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, largest
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import f32

_ITEM_BYTES = 16 << 10
_IN_REGISTERS = 8  # vectors of a row
_KEPT = (1, 2, 3, 4, 6, 8)  # vectors of rows of open length that have code of their own
_SHORT = 16  # elements of a row that is handled with its neighbours, one row per lane
_SIDE = 4


@dataclass(frozen=True)
class SoftmaxProblem:
    """rows: the kept axes, merged (x first, then y).  length, steps: of the softmax axis."""

    rows: Nest
    length: Extent
    steps: tuple[Extent, Extent]
    log: bool
    short: int  # elements of a row where rows are a few contiguous elements, else 0

    @staticmethod
    def of(spec: KernelSpec, lanes: int) -> SoftmaxProblem:
        """The numbers of a "softmax" spec."""
        attrs = dict(spec.attrs)
        x, y = spec.inputs[0], spec.outputs[0]
        axis = axis_attr(spec, len(x.shape), -1)
        kept = [a for a in range(len(x.shape)) if a != axis]
        rows = merged(
            tuple(x.shape[a] for a in kept),
            [tuple(o.strides[a] for a in kept) for o in (x, y)],
        )
        length = x.shape[axis]
        steps = (x.strides[axis], y.strides[axis]) if length != 1 else (1, 1)
        few = length if length != 1 and is_at_most(length, _SHORT) else 0
        short = few if steps == (1, 1) and typical(rows.shape[-1]) >= lanes else 0
        return SoftmaxProblem(rows, length, steps, bool(attrs.get("log", False)), short)

    @property
    def along_row(self) -> bool:
        """Whether lanes lie along the softmax axis."""
        return self.steps == (1, 1) and not self.short


class Softmax:
    """Softmax or log-softmax."""

    name = "softmax"
    version = 5

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[SoftmaxCandidate]:
        """One way, for f32."""
        if spec.op != "softmax" or len(spec.inputs) != 1:
            return ()
        x = spec.inputs[0]
        if x.dtype != f32 or x.const or not x.shape:
            return ()
        return [SoftmaxCandidate(spec, target, SoftmaxProblem.of(spec, target.lanes(f32)))]


class SoftmaxCandidate(CpuCandidate[SoftmaxProblem]):
    """Computes row by row, or a vector of rows at a time."""

    def emit(self) -> Source:
        """One phase; work items are runs of rows or of vectors of rows."""
        p, lanes = self.problem, self.target.lanes(f32)
        outer = list(p.rows.shape[:-1])
        last = p.rows.shape[-1]
        if not p.along_row:
            outer.append(-(-last // lanes))  # one vector of rows at a time
        else:
            outer.append(last)
        unit = 4 * p.length * (1 if p.along_row else lanes)
        per_item = largest(1, _ITEM_BYTES // largest(1, unit))
        count = prod(outer) if 0 not in self.spec.outputs[0].shape else 0
        m = Module(self.target)
        with m.phase("softmax", -(-count // per_item), phase_args(self.spec)) as k:
            if count != 0:
                writer = _SoftmaxAlong(k, p) if p.along_row else _SoftmaxAcross(k, p)
                first, end = k.begin * per_item, k.min(k.end * per_item, count)
                for write in writer.ways():
                    with row_loop(k, first, end, outer) as position:
                        write(position)
        return m.source()


Way = Callable[[Sequence[Index]], None]
"""Writes the rows at a position of the kept axes, an index for each of the loops."""


class _SoftmaxWriter:
    """Writes softmax at one position of the kept axes; subclasses differ in where lanes lie."""

    def __init__(self, k: FunctionBuilder, p: SoftmaxProblem) -> None:
        self.k, self.p = k, p
        self.lanes = k.target.lanes(f32)

    def ways(self) -> Iterator[Way]:
        """Ways to write rows, each within the branch that it is for."""
        raise NotImplementedError

    def _pointers(self, position: Sequence[Index]) -> tuple[Pointer, Pointer]:
        """x and y at a position of the kept axes."""
        pointers = []
        for name, strides in zip(("in0", "out0"), self.p.rows.strides, strict=True):
            pointer = self.k.args[name]
            for index, stride, extent in zip(position, strides, self.p.rows.shape, strict=True):
                if extent != 1:
                    pointer = pointer.at(index * stride)
            pointers.append(pointer)
        return pointers[0], pointers[1]


class _SoftmaxAlong(_SoftmaxWriter):
    """One row, lanes along it."""

    def ways(self) -> Iterator[Way]:
        """In registers where the row fits, else in passes."""
        length = self.p.length
        if is_at_most(length, _IN_REGISTERS * self.lanes):
            yield partial(self._in_registers, length=length)
        elif isinstance(length, int):
            yield self._in_passes
        else:
            yield from self._of_open_length(length, _KEPT)

    def _of_open_length(self, length: Dim, kept: Sequence[int]) -> Iterator[Way]:
        """In the first of the numbers of registers that hold the row, else in passes."""
        if not kept:
            yield self._in_passes
            return
        low, high = bounds(length)
        most = kept[0] * self.lanes
        in_registers = partial(self._in_vectors, vectors=kept[0])
        if low > most:
            yield from self._of_open_length(length, kept[1:])
        elif high <= most:
            yield in_registers
        else:
            with self.k.if_else(self.k.index(length) <= most) as branch:
                with branch.then():
                    yield in_registers
                with branch.otherwise():
                    yield from self._of_open_length(length, kept[1:])

    def _load(self, x: Pointer, count: int | Value) -> Value:
        """Lanes of x; those that do not exist become -infinity, which adds nothing."""
        value = self.k.load(x, self.lanes, count)
        if count == self.lanes:
            return value
        return self.k.select(self.k.lane_mask(count, self.lanes), value, float("-inf"))

    def _in_registers(self, position: Sequence[Index], length: int) -> None:
        lanes = self.lanes
        x, y = self._pointers(position)
        counts = [min(lanes, length - n) for n in range(0, length, lanes)]
        values = [self._load(x.at(n * lanes), count) for n, count in enumerate(counts)]
        for n, result in enumerate(self._results(values)):
            self.k.store(result, y.at(n * lanes), counts[n])

    def _in_vectors(self, position: Sequence[Index], vectors: int) -> None:
        """A row of open length, at most `vectors` vectors.

        Whole vectors only, since masked stores are slow on some CPUs: the last ones end where the row
        does and repeat what others have.
        """
        k, lanes, length = self.k, self.lanes, self.k.index(self.p.length)
        x, y = self._pointers(position)
        if vectors == 1:
            (result,) = self._results([self._load(x, length)])
            k.store(result, y, length)
            return
        sure = max(n for n in _KEPT if n < vectors)
        starts: list[Index] = [n * lanes for n in range(sure)]
        starts += [k.min(length - lanes, n * lanes) for n in range(sure, vectors)]
        values = [k.load(x.at(start), lanes) for start in starts]
        repeated = [k.lane_mask(n * lanes - starts[n], lanes) for n in range(sure, vectors)]
        for start, result in zip(starts, self._results(values, repeated), strict=True):
            k.store(result, y.at(start))

    def _results(self, values: Sequence[Value], repeated: Sequence[Value] = ()) -> Iterator[Value]:
        """Softmax of a row in registers, vector by vector.

        repeated: which lanes of the last vectors are elements that others have, too.
        """
        k = self.k
        largest = k.reduce(k.fold(values, k.greater), k.greater)
        shifted = [v - largest for v in values]
        powers = [math.exp_of_negative(k, v) for v in shifted]
        counted = powers[: len(powers) - len(repeated)]
        counted += [
            k.select(again, 0.0, power)
            for again, power in zip(repeated, powers[len(counted) :], strict=True)
        ]
        total = k.reduce(k.fold(counted, k.add), k.add)
        final = math.log(k, total) if self.p.log else 1.0 / total
        for difference, power in zip(shifted, powers, strict=True):
            yield difference - final if self.p.log else power * final

    def _in_passes(self, position: Sequence[Index]) -> None:
        k, log = self.k, self.p.log
        x, y = self._pointers(position)
        lows = [k.const(float("-inf"), f32, self.lanes) for _ in range(_SIDE)]

        def update_maxima(n: int, place: Index, count: int | Value) -> None:
            value = self._load(x.at(place), count)
            lows[n] = k.greater(value, lows[n])

        self._pass(update_maxima, lows)
        largest = k.reduce(k.fold(lows, k.greater), k.greater)
        sums = [k.const(0.0, f32, self.lanes) for _ in range(_SIDE)]

        def add_powers(n: int, place: Index, count: int | Value) -> None:
            power = math.exp_of_negative(k, self._load(x.at(place), count) - largest)
            sums[n] = sums[n] + power
            if not log:
                k.store(power, y.at(place), count)

        self._pass(add_powers, sums)
        total = k.reduce(k.fold(sums, k.add), k.add)
        final = math.log(k, total) if log else 1.0 / total

        def finish(n: int, place: Index, count: int | Value) -> None:
            if log:
                k.store(
                    k.load(x.at(place), self.lanes, count) - largest - final, y.at(place), count
                )
            else:
                k.store(k.load(y.at(place), self.lanes, count) * final, y.at(place), count)

        self._pass(finish, [])

    def _pass(self, visit: Callable[[int, Index, int | Value], None], carry: list[Value]) -> None:
        """Visit every vector of the row: (which of the carried values, position, lanes)."""
        lanes = self.lanes
        for tile in self.k.tiles(self.p.length, _SIDE * lanes, carry=carry, lanes=lanes):
            for n, count in enumerate(tile.counts(lanes)):
                visit(n, tile.start + n * lanes, count)


class _SoftmaxAcross(_SoftmaxWriter):
    """One softmax per lane."""

    def ways(self) -> Iterator[Way]:
        """One way."""
        yield self._lanes

    def _lanes(self, position: Sequence[Index]) -> None:
        """The lanes of rows at `position` (its last entry counts vectors of rows)."""
        k, lanes, rows = self.k, self.lanes, self.p.rows.shape[-1]
        start = k.index(position[-1]) * lanes
        x, y = self._pointers([*position[:-1], start])
        body = self._short if self.p.short else self._strided
        for tile in k.tile_at(rows, lanes, start, is_full=lambda: start + lanes <= rows):
            body(x, y, tile.count)

    def _short(self, x: Pointer, y: Pointer, count: int | Value) -> None:
        """Rows of a few elements: all in registers, transposed so that each lane has a row."""
        k = self.k
        values = self._columns(x, count)
        largest = k.fold(values, k.greater)
        shifted = [v - largest for v in values]
        powers = [math.exp_of_negative(k, v) for v in shifted]
        total = k.fold(powers, k.add)
        if self.p.log:
            final = math.log(k, total)
            self._store_columns([v - final for v in shifted], y, count)
        else:
            final = 1.0 / total
            self._store_columns([v * final for v in powers], y, count)

    def _is_dense(self, operand: int) -> bool:
        """Whether few enough elements lie in dense rows that shuffling them is cheap."""
        length = self.p.short
        return length <= MAX_PLANES and self.p.rows.along(-1)[operand] == length

    def _columns(self, x: Pointer, count: int | Value) -> list[Value]:
        """Element n of every row, for all n."""
        k, lanes, length = self.k, self.lanes, self.p.short
        if self._is_dense(0):
            return deinterleaved(k, interleaved_run(k, x, length, lanes, count))
        step = self.p.rows.along(-1)[0]
        columns: list[Value] = []
        for first in range(0, length, lanes):
            wanted = min(lanes, length - first)
            rows = rows_of(k, x, step, first, wanted, lanes, count)
            columns += transposed(k, rows)[:wanted]
        return columns

    def _store_columns(self, columns: list[Value], y: Pointer, count: int | Value) -> None:
        k, lanes, length = self.k, self.lanes, self.p.short
        if self._is_dense(1):
            store_interleaved_run(k, interleaved(k, columns), y, count)
            return
        step = self.p.rows.along(-1)[1]
        for first in range(0, length, lanes):
            group = columns[first : first + lanes]
            group = group + [self._zero] * (lanes - len(group))
            width = min(lanes, length - first)
            store_rows(k, transposed(k, group), y, step, first, width, count)

    @property
    def _zero(self) -> Value:
        return self.k.const(0, f32, self.lanes)

    def _strided(self, x: Pointer, y: Pointer, count: int | Value) -> None:
        k, p, lanes = self.k, self.p, self.lanes
        x_lane, y_lane = p.rows.along(-1) if p.rows.shape[-1] != 1 else (1, 1)
        x_step, y_step = p.steps

        def read(at: Value) -> Value:
            return k.load_strided(x.at(at * x_step), x_lane, lanes, count)

        state = [k.const(float("-inf"), f32, lanes)]
        with k.loop(0, p.length, carry=state) as n:
            value = read(n)
            state[0] = k.greater(value, state[0])
        (largest,) = state
        sums = [k.const(0.0, f32, lanes)]
        with k.loop(0, p.length, carry=sums) as n:
            power = math.exp_of_negative(k, read(n) - largest)
            sums[0] = sums[0] + power
            if not p.log:
                k.store_strided(power, y.at(n * y_step), y_lane, count)
        final = math.log(k, sums[0]) if p.log else 1.0 / sums[0]
        with k.loop(0, p.length) as n:
            place = y.at(n * y_step)
            if p.log:
                result = read(n) - largest - final
            else:
                result = k.load_strided(place, y_lane, lanes, count) * final
            k.store_strided(result, place, y_lane, count)
