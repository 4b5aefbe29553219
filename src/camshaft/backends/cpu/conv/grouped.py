"""Convolution with small groups, of floats and INT8; depthwise of floats is the smallest group.

Tactic for op "conv" where the output channels of several groups fill a vector exactly.  Lanes
are output channels; each group's input channel (INT8: four of them) is spread over the lanes of that
group by a shuffle.  A tile is `cols` neighbouring pixels of an output row, whose sums stay in
registers; for each filter row and input channel its weights are loaded once, and each input pixel of
the row is loaded and spread once for all the sums it adds to.  A tile is followed down the image, so
that the rows shared with the one before are still in the first cache.  Half floats are widened as they are
loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.conv.columns import (
    UNROLL_LIMIT,
    BandItems,
    ColumnRun,
    choose,
    column_runs,
    computes,
)
from camshaft.backends.cpu.conv.features import grouped_features
from camshaft.backends.cpu.conv.grouped_tiles import Shape, tiles
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.conv.row_cut import write_row
from camshaft.backends.cpu.conv.taps import clamped_rows, columns_inside
from camshaft.backends.cpu.edges import Windows
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Index, Module, Pointer, Scalar, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import HALVES, f32, i16, i32, u8

NARROW_TILES = (4, 2, 1)
"""Pixels of the tiles in rows of open width that are too narrow for a candidate's own tiles."""


class ConvGrouped:
    """Grouped convolution: x [N,H,W,C] of floats or u8, w [K,R,S,C/groups] of floats or s8, y [N,OH,OW,K]."""

    name = "conv_grouped"
    version = 3

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[ConvGroupedCandidate]:
        """Tiles that fill the registers, in bands of rows that keep `threads` busy.

        For several groups to a vector, C/groups at most twice K/groups; INT8 groups of four
        channels or multiples.  Any window, pads and pitch.  (One group to a vector is for
        `conv_direct`.)
        """
        if not (computes(spec, integer=False) or computes(spec, integer=True)):
            return ()
        p = ConvProblem.of(spec)
        if not isinstance(p.x_strides[2], int):
            return ()
        lanes = target.lanes(f32)
        if p.groups == 1 or p.k == lanes or lanes % p.k or p.c > 2 * p.k:
            return ()
        if p.is_int8 and p.c % 4:
            return ()
        if p.s * Shape.of(p, target).steps > UNROLL_LIMIT:
            return ()
        return [
            ConvGroupedCandidate(spec, target, p, params) for params in tiles(p, target, threads)
        ]


class ConvGroupedCandidate(CpuCandidate[ConvProblem]):
    """Parameters: cols, output pixels of a tile; rows, output rows of a work item; typical (where the
    width is open), pixels of a tile in rows of exactly the typical width, 0 if they have no code of
    their own."""

    @property
    def packing(self) -> Packing:
        """The same for all parameters."""
        return ("grouped",)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Weights, and for a zero point compensation and a row of it; the rest as is."""
        p = self.problem
        shape = Shape.of(p, self.target)
        packed = [_pack(shape, constants[0], halves=not self.target.has_vnni)]
        if p.zero_point:
            total = constants[0].astype(np.int64).sum(axis=(1, 2, 3))
            first = np.zeros(shape.vectors * shape.lanes, np.int32)
            first[: len(total)] = -p.zero_point * total
            columns = max(int(self.params["cols"]), int(self.params.get("typical", 0)))
            blank = shape.blank_row(columns)
            packed += [first, np.full(blank, p.zero_point, np.uint8)]
        return [*packed, *constants[1:]]

    def features(self, threads: int) -> Mapping[str, float]:
        """As `conv.features` says; none of half floats or open widths, to which no model was fitted."""
        p = self.problem
        if p.w_dtype in HALVES or p.has_open_columns:
            return {}
        return grouped_features(
            p.typical, Shape.of(p, self.target), self.params, self.target, threads
        )

    def emit(self) -> Source:
        """One phase; full vectors of output channels and the tail are functions of their own."""
        return _GroupedProgram(self).source()


def _pack(shape: Shape, w: np.ndarray, *, halves: bool) -> np.ndarray:
    """Weights [K,R,S,C/g] to [vector][R][step][S][lane], for INT8 [...][lane][4] s8.

    halves: INT8 for targets without a byte dot product, [...][S][2][lane][2] i16, even channels
    apart from odd ones.
    """
    k, r, s, _ = w.shape
    padded = np.zeros((shape.vectors * shape.lanes, r, s, shape.problem.c), w.dtype)
    padded[:k] = w
    if not shape.problem.is_int8:
        vectors = padded.reshape(shape.vectors, shape.lanes, r, s, shape.steps)
        return np.ascontiguousarray(vectors.transpose(0, 2, 4, 3, 1))
    quads = padded.reshape(shape.vectors, shape.lanes, r, s, shape.steps, 4)
    quads = quads.transpose(0, 2, 4, 3, 1, 5)
    if halves:
        wide = quads.astype(np.int16)
        quads = np.stack([wide[..., 0::2], wide[..., 1::2]], axis=4)
    return np.ascontiguousarray(quads)


class _GroupedProgram:
    """Writes the program of one candidate."""

    def __init__(self, candidate: ConvGroupedCandidate) -> None:
        spec, params, target = candidate.spec, candidate.params, candidate.target
        self.spec, self.params, self.target = spec, params, target
        self.p = candidate.problem
        self.shape = Shape.of(self.p, target)
        self.lanes = self.shape.lanes
        self.adjacent = max(1, 16 // self.lanes)  # vectors of one cache line go together
        self.halves = self.p.is_int8 and not target.has_vnni
        self.cols, self.typical = int(params["cols"]), int(params.get("typical", 0))
        types = [i16 if self.halves else self.p.w_dtype]
        if self.p.zero_point:
            types += [i32, u8]
        self.packed = {n: m + len(types) - 1 for n, m in constant_numbers(spec, 2).items()}
        types += [spec.inputs[n].dtype for n in self.packed]
        self.args = phase_args(spec, types)

    def source(self) -> Source:
        """The module: a phase over items that calls a band function per vector of channels."""
        module = Module(self.target)
        outputs = self.p.groups * self.p.k
        full, tail = divmod(outputs, self.lanes)
        if full:
            self._band_function(module, "band", self.lanes)
        if tail:
            self._band_function(module, "band_tail", tail)
        blocks = -(-self.shape.vectors // self.adjacent)
        items = BandItems(self.p.n, self.p.oh, int(self.params["rows"]), blocks)
        with module.phase("conv_grouped", items.count, self.args) as k:
            pointers = [k.args[a.name] for a in self.args]
            with k.loop(k.begin, k.end) as item:
                image, first, last, block = items.decode(k, item)
                start = block * self.adjacent
                if full:
                    stop = k.min(start + self.adjacent, full)
                    k.call("band", *pointers, image, first, last, start, stop)
                if tail:
                    with k.if_(k.eq(block, blocks - 1)):
                        k.call("band_tail", *pointers, image, first, last, full, full + 1)
        return module.source()

    def _band_function(self, module: Module, symbol: str, count: int) -> None:
        """Vectors start..stop-1 of output channels (`count` channels of each exist), output rows
        first..last-1."""
        params: list[Arg | Scalar] = [*self.args]
        params += [Scalar(s) for s in ("image", "first", "last", "start", "stop")]
        with module.function(symbol, params) as k:
            if not self.p.has_open_columns:
                self._columns(k, column_runs(self.p, self.cols), count)
            elif not self.typical:
                self._open_columns(k, count)
            else:
                same = self.p.typical
                with k.if_else(k.eq(k.index(self.p.w), same.w)) as branch:
                    with branch.then():
                        self._columns(k, column_runs(same, self.typical), count)
                    with branch.otherwise():
                        self._open_columns(k, count)

    @contextmanager
    def _places(self, k: FunctionBuilder) -> Iterator[tuple[Value, Value]]:
        """The band's output rows and vectors of channels."""
        first, last, start, stop = (k.scalars[s] for s in ("first", "last", "start", "stop"))
        with k.loop(first, last) as oh, k.loop(start, stop) as vector:
            yield oh, vector

    def _columns(self, k: FunctionBuilder, runs: Sequence[ColumnRun], count: int) -> None:
        """The band in tiles whose places are known."""
        for run in runs:
            with k.loop(0, run.count) as tile, self._places(k) as (oh, vector):
                self._tile(k, run, (oh, tile * run.width + run.start, vector), count)

    def _open_columns(self, k: FunctionBuilder, count: int) -> None:
        """The band where the width is known at run time only."""

        def tile(windows: Windows, ow: Value) -> None:
            inside = tuple(tuple(range(*window)) for window in windows)
            with self._places(k) as (oh, vector):
                self._tile(k, ColumnRun(0, 1, len(windows), inside), (oh, ow, vector), count)

        def alone(ow: Value) -> None:
            with self._places(k) as (oh, vector):
                self._pixel_alone(k, (oh, ow, vector), count)

        steps = [self.cols, *(step for step in NARROW_TILES if step < self.cols)]
        write_row(k, self.p, steps, tile, alone)

    def _tile(
        self, k: FunctionBuilder, run: ColumnRun, place: tuple[Value, Value, Value], count: int
    ) -> None:
        """`run.width` output pixels from place on, which is (row, column, vector)."""
        p = self.p
        oh, ow, vector = place
        acc = [self._first_sum(k, vector) for _ in range(run.width)]
        low, high = (0, p.r) if p.zero_point else clamped_rows(k, p, oh)
        with k.loop(low, high, carry=acc) as r:
            pixel = self._pixel(k, oh, ow, r, vector)
            self._filter_row(k, run, pixel, self._weights_at(k, vector * p.r + r), acc, count)
        self._finish(k, (oh, ow, vector), acc, count)

    def _pixel_alone(
        self, k: FunctionBuilder, place: tuple[Value, Value, Value], count: int
    ) -> None:
        """One output pixel, whose window is known at run time only."""
        p = self.p
        oh, ow, vector = place
        acc = [self._first_sum(k, vector)]
        rows, columns = clamped_rows(k, p, oh), columns_inside(k, p, ow)
        with k.loop(*((0, p.r) if p.zero_point else rows), carry=acc) as r:
            w = self._weights_at(k, vector * p.r + r)
            with k.loop(*((0, p.s) if p.zero_point else columns), carry=acc) as s:
                pixel = self._pixel(k, oh, ow, r, vector).at(-p.pad[1] * p.x_strides[2])
                pixel = pixel.at(s * (p.dilation[1] * p.x_strides[2]))
                if p.zero_point:
                    inside = k.bit("and", s >= columns[0], s < columns[1])
                    blank = k.args["packed2"].at(vector * (self.shape.groups * p.c))
                    pixel = choose(k, inside, pixel, blank)
                for step in range(self.shape.steps):
                    x = self._spread(k, pixel, step, count)
                    acc[0] = self._add(k, x, self._weights(k, w, s + step * p.s), acc[0])
        self._finish(k, place, acc, count)

    def _finish(
        self,
        k: FunctionBuilder,
        place: tuple[Value, Value, Value],
        acc: list[Value],
        count: int,
    ) -> None:
        """The sums of a tile through the epilogue."""
        p, (oh, ow, vector) = self.p, place
        pointers = [
            operand_pointer(k, self.spec, n, self.packed) for n in range(2, len(self.spec.inputs))
        ]
        epilogue = Epilogue(k, p.epilogue, p.operands, pointers, p.output, k.args["out0"])
        epilogue = epilogue.at((k.scalars["image"], oh, ow, vector * self.lanes))
        epilogue.store_all([(total, (0, 0, i, 0), count) for i, total in enumerate(acc)])

    def _first_sum(self, k: FunctionBuilder, vector: Value) -> Value:
        if not self.p.zero_point:
            return k.const(0, self.p.x_dtype.accumulator, self.lanes)
        place = k.args["packed1"].at(vector * self.lanes)
        return k.load(place.aligned(4 * self.lanes), self.lanes)

    def _pixel(self, k: FunctionBuilder, oh: Value, ow: Value, r: Value, vector: Value) -> Pointer:
        """Filter row r of output pixel (oh, ow), first input channel of the vector, such that
        column c of the window lies c - pad pixels further on; zero points outside the image."""
        p = self.p
        sn, sy, pitch, _ = p.x_strides
        iy = r * p.dilation[0] + oh * p.stride[0] - p.pad[0]
        channel = vector * (self.shape.groups * p.c)
        row = k.args["in0"].at(k.scalars["image"] * sn + channel).at(iy * sy)
        if not (p.zero_point and p.clips_rows):
            return row.at(ow * (p.stride[1] * pitch))
        inside = k.bit("and", iy >= 0, iy < p.h)
        blank = k.args["packed2"].at(channel)
        if p.has_open_columns:
            row = row.at(ow * (p.stride[1] * pitch))
            return choose(k, inside, row, blank.at(p.pad[1] * pitch))
        return choose(k, inside, row, blank).at(ow * (p.stride[1] * pitch))

    def _weights_at(self, k: FunctionBuilder, number: Value) -> Pointer:
        """Packed weights of a filter row of a vector: number = vector * r + row."""
        vectors = self.shape.steps * self.p.s * (2 if self.halves else 1)
        kind = i32 if self.p.is_int8 else self.p.w_dtype
        w = k.args["packed0"].as_type(kind).at(number * (vectors * self.lanes))
        return w.aligned(kind.bytes * self.lanes)

    def _filter_row(
        self,
        k: FunctionBuilder,
        run: ColumnRun,
        row: Pointer,
        w: Pointer,
        acc: list[Value],
        count: int,
    ) -> None:
        """Add a row of input, weighted by the filter row at `w`, to all sums of the tile."""
        p, shape = self.p, self.shape
        for step in range(shape.steps):
            taps = [self._weights(k, w, step * p.s + s) for s in range(p.s)]
            for column, users in run.taps(p).items():
                offset = (column - p.pad[1]) * p.x_strides[2]
                x = self._spread(k, row.at(offset), step, count)
                for i, s in users:
                    acc[i] = self._add(k, x, taps[s], acc[i])
            if p.zero_point:
                self._add_outside(k, run, taps, acc)

    def _add_outside(
        self, k: FunctionBuilder, run: ColumnRun, taps: list[list[Value]], acc: list[Value]
    ) -> None:
        """Filter columns outside the image see zero points, which the first sums expect."""
        blank = k.const(self.p.zero_point * 0x01010101, i32, self.lanes)
        for i, inside in enumerate(run.inside):
            for s in set(range(self.p.s)) - set(inside):
                acc[i] = self._add(k, blank, taps[s], acc[i])

    def _weights(self, k: FunctionBuilder, w: Pointer, number: Index) -> list[Value]:
        """One vector of weights, or its two halves."""
        parts = 2 if self.halves else 1
        loaded = [
            k.load(w.at((number * parts + part) * self.lanes), self.lanes) for part in range(parts)
        ]
        return loaded if self.p.is_int8 else [k.cast(vector, f32) for vector in loaded]

    def _add(self, k: FunctionBuilder, x: Value, w: list[Value], acc: Value) -> Value:
        if self.halves:
            return k.dot4_halves(x, w[0], w[1], acc)
        return k.dot4(x, w[0], acc) if self.p.is_int8 else k.fma(x, w[0], acc)

    def _spread(self, k: FunctionBuilder, pixel: Pointer, step: int, count: int) -> Value:
        """Input element `step` of each group in the lanes of that group."""
        shape = self.shape
        pixel = pixel.as_type(shape.element)
        if self.p.is_int8:
            pixel = Pointer(k, pixel.address(), i32, 0, 1)  # pixels need not be aligned to fours
        have = count // self.p.k * shape.steps
        width = shape.groups * shape.steps
        lanes = min(self.lanes, width)
        parts = [
            k.load(pixel.at(start), lanes, have - start)
            if have > start
            else k.const(0, shape.element, lanes)
            for start in range(0, width, lanes)
        ]
        picks, x = shape.spread(step), parts[0]
        if len(parts) > 1 or picks != list(range(self.lanes)):
            x = k.shuffle(x, parts[1] if len(parts) > 1 else None, picks)
        return x if self.p.is_int8 else k.cast(x, f32)
