"""Products of floats with weights that are widened in registers, for few rows.

A lane holds the neighbouring weights of a column as two's complement; shifted up and down again, one
of them is left, which becomes a float.  It is multiplied by an element of each row of the tile, so
that the weights are read and widened once for all of them.  Sums of a block are scaled once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.matmul_nbits.loops import (
    Block,
    PanelLoops,
    RowTile,
    add_scaled,
    each_block,
)
from camshaft.backends.cpu.matmul_nbits.problem import (
    ANCHORS,
    NbitsProblem,
    is_supported,
    packed_panels,
)
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import DType, f32, i32, u8

_UNROLLED = 4  # groups of a block that are written out
_ROWS = 8


def register_tiles(p: NbitsProblem, target: CpuTarget, most: int) -> list[tuple[int, int]]:
    """(rows, vectors of columns) worth timing, of at most `most` accumulators."""
    m, vectors = typical(p.product.m), -(-p.n // target.lanes(f32))
    found: dict[tuple[int, int], None] = {}
    for cols in (4, 2, 8, 1) if m == 1 else (2, 1, 4):
        cols = min(cols, vectors)
        rows = max(1, min(m, most // cols))
        found[(-(-m // -(-m // rows)), cols)] = None
    return list(found)


class MatmulNbits:
    """Weights widened in registers."""

    name = "matmul_nbits"
    version = 2

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[FloatCandidate]:
        """Register tiles for few rows; none where activations are quantized."""
        if not is_supported(spec):
            return ()
        p = NbitsProblem.of(spec)
        if p.int8:
            return ()
        tiles = register_tiles(p, target, _ROWS if target.registers < 32 else 2 * _ROWS)
        return [
            FloatCandidate(spec, target, p, {"rows": rows, "cols": cols}) for rows, cols in tiles
        ]


class PanelCandidate(CpuCandidate[NbitsProblem]):
    """Reads weights in panels.  Parameters: cols (vectors of columns in a panel), and others.

    signed: whether weights are packed as two's complement.
    """

    signed: ClassVar[bool] = True

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return int(self.params["cols"]) * self.target.lanes(f32)

    @property
    def packing(self) -> Packing:
        """In panels, signed or not."""
        return ("nbits", self.width, self.signed)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The panels, then the epilogue's constants as they are."""
        numbers = constant_numbers(self.spec)
        weights = [constants[numbers[n]] for n in range(1, ANCHORS)]
        others = [np.ascontiguousarray(constants[at]) for n, at in numbers.items() if n >= ANCHORS]
        panels = packed_panels(self.problem, weights, self.width, signed=self.signed)
        return [panels, *others]


class FloatCandidate(PanelCandidate):
    """Parameters: rows, cols (register tile: rows of x times vectors of columns)."""

    def workspace(self, threads: int) -> Extent:
        """Sums of the blocks of x, which zero points are multiplied by."""
        p = self.problem
        return 4 * p.product.batches * p.product.m * p.blocks if p.zero else 0

    def emit(self) -> Source:
        """A phase that sums blocks of x, where there are zero points, and the product."""
        p, rows = self.problem, int(self.params["rows"])
        m, args = Module(self.target), phase_args(self.spec, packed_dtypes(self.spec))
        if p.zero:
            with m.phase("sums", p.product.batches * p.product.m, args) as k:
                _write_sums(k, PanelLoops(k, self.spec, p, rows, self.width))
        with m.phase("product", PanelLoops.items(p, self.width), args) as k:
            loops = PanelLoops(k, self.spec, p, rows, self.width)
            loops.all_items(_FloatTile(k, p, loops).write)
        return m.source()


def packed_dtypes(spec: KernelSpec) -> list[DType]:
    """Element types of what `PanelCandidate.prepack` gives."""
    return [u8, *(spec.inputs[n].dtype for n in constant_numbers(spec, ANCHORS))]


def _write_sums(k: FunctionBuilder, loops: PanelLoops) -> None:
    """For every row of x, minus the sum of each block."""
    p, lanes = loops.p, loops.lanes
    with k.loop(k.begin, k.end) as row:
        x, rest = loops.x, row
        for extent, step in zip(
            reversed(p.product.rows), reversed(p.product.a_steps[:-1]), strict=True
        ):
            x = x.at((rest % extent) * step)
            rest = rest // extent
        out = k.args["workspace"].as_type(f32).at(row * p.blocks)

        def sum_of(start: Pointer, length: int) -> Value:
            total = [k.const(0.0, f32, lanes)]
            for tile in k.tiles(length, lanes, carry=total):
                (count,) = tile.counts(lanes)
                total[0] = total[0] + k.load(start.at(tile.start), lanes, count)
            return -k.reduce(total[0], lambda a, b: a + b)

        if p.whole:
            with k.loop(0, p.whole) as block:
                k.store(sum_of(x.at(block * p.block), p.block), out.at(block))
        short = p.k - p.whole * p.block
        if short:
            k.store(sum_of(x.at(p.whole * p.block), short), out.at(p.whole))


class _FloatTile:
    """Writes register tiles."""

    def __init__(self, k: FunctionBuilder, p: NbitsProblem, loops: PanelLoops) -> None:
        self.k, self.p, self.loops = k, p, loops

    def write(self, at: RowTile, rows: int, counts: Sequence[int | Value]) -> None:
        """One tile."""
        k, p, lanes = self.k, self.p, self.loops.lanes
        total = k.zeros(rows, len(counts), f32, lanes)
        step = p.product.a_steps[-2]
        lines = [at.x.at(i * step) for i in range(rows)]

        def block(b: Block, number: Index) -> None:
            sums = k.zeros(rows, len(counts), f32, lanes)
            first = k.index(number) * p.block
            self._sum(b, [line.at(first) for line in lines], sums)
            if p.zero:
                self._subtract_zeros(b, number, at, sums)
            add_scaled(k, total, sums, b)

        each_block(k, p, at.panel, self.loops.width, total, block)
        self.loops.store(total, at.place, counts)

    def _sum(self, b: Block, lines: list[Pointer], sums: list[list[Value]]) -> None:
        """Sums of the products of a block."""
        k, per = self.k, self.p.per_lane
        looped = b.length // (per * _UNROLLED) * _UNROLLED if b.groups > 2 * _UNROLLED else 0
        if looped:
            with k.loop(0, looped, _UNROLLED, carry=sums) as group:
                base = b.base.at(group * (4 * b.width))
                here = Block(k, self.p, base, per * _UNROLLED, b.width)
                starts = [line.at(group * per) for line in lines]
                for g in range(_UNROLLED):
                    self._group(here, g, starts, per, sums)
        for g in range(looped, b.groups):
            self._group(b, g, [x.at(looped * per) for x in lines], b.length - g * per, sums, looped)

    def _group(
        self,
        b: Block,
        group: int,
        lines: list[Pointer],
        left: int,
        sums: list[list[Value]],
        first: int = 0,
    ) -> None:
        """A lane's weights of every column, of which `left` exist; `first`: the group at `lines`."""
        k, p = self.k, self.p
        words = [b.words(group, j) for j in range(len(sums[0]))]
        for n in range(min(left, p.per_lane)):
            at = (group - first) * p.per_lane + n
            x = [k.splat(k.load(line.at(at)), self.loops.lanes) for line in lines]
            for j, word in enumerate(words):
                w = k.cast(field_of(word, n, p.bits), f32)
                for i, row in enumerate(sums):
                    row[j] = k.fma(x[i], w, row[j])

    def _subtract_zeros(
        self, b: Block, number: Index, at: RowTile, sums: list[list[Value]]
    ) -> None:
        """Sums less the zero points times what the block of x sums up to."""
        k, p = self.k, self.p
        table = k.args["workspace"].as_type(f32).at(at.row * p.blocks).at(number)
        negative = [
            k.splat(k.load(table.at(i * p.blocks)), self.loops.lanes) for i in range(len(sums))
        ]
        for j in range(len(sums[0])):
            zero = b.zero(j) - float(p.middle)
            for i, row in enumerate(sums):
                row[j] = k.fma(zero, negative[i], row[j])


def field_of(word: Value, number: int, bits: int) -> Value:
    """Weight `number` of the i32 lanes of a panel, with its sign."""
    assert word.dtype == i32
    place = number if bits == 8 else number % 4 * 2 + number // 4
    up = 32 - bits * (place + 1)
    return ((word << up) if up else word) >> (32 - bits)
