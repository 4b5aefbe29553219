"""Products with weights of few bits where activations become 8 bits too.

A first phase quantizes x, block by block, each by its own largest magnitude, into the workspace:
the bytes, the blocks' scales, and what zero points are multiplied by, the sum of a block's bytes.
The product then sums bytes in integers, exactly, and scales the sum of a block once.
Weights are the unsigned operand.  Of 4 bits, they are at most 15, so that eight sums of two products
of u8 x s8 fit 16 bits, and are added before they are widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.matmul_nbits.floats import packed_dtypes, prepacked, register_tiles
from camshaft.backends.cpu.matmul_nbits.loops import (
    Block,
    PanelLoops,
    RowTile,
    add_scaled,
    each_block,
)
from camshaft.backends.cpu.matmul_nbits.problem import NbitsProblem, is_supported
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.few_bits import LEAST_MAGNITUDE
from camshaft.ir.types import f32, i8, i32

_ALIGN = 64
_PADDED = 16  # bytes that blocks of x are a multiple of: a vector of any target
_ITEM = 2048  # elements that an item quantizes
_SHORT_SUMS = 8  # sums of two products <= 15 * 127 that fit 16 bits
_UNROLLED = 4  # groups of a block that are written out
_ROWS = 8


class MatmulNbitsBytes:
    """Activations quantized at run time, sums in integers."""

    name = "matmul_nbits_bytes"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[ByteCandidate]:
        """Register tiles; none where activations must stay floats."""
        if not is_supported(spec):
            return ()
        p = NbitsProblem.of(spec)
        if not p.int8:
            return ()
        tiles = register_tiles(p, target, _ROWS if target.registers < 32 else 2 * _ROWS)
        return [
            ByteCandidate(spec, target, p, {"rows": rows, "cols": cols}) for rows, cols in tiles
        ]


@dataclass(frozen=True)
class QuantizedRows:
    """Where the quantized rows lie in the workspace: bytes, scales, sums, one row after the other."""

    p: NbitsProblem

    @property
    def padded(self) -> int:
        """Bytes of a block."""
        return -(-self.p.block // _PADDED) * _PADDED

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.p.blocks * self.padded

    @property
    def rows(self) -> Extent:
        """All rows of x."""
        return self.p.product.batches * self.p.product.m

    @property
    def scales_at(self) -> Extent:
        """Where the scales begin; the sums lie behind them."""
        return -(-self.rows * self.row_bytes // _ALIGN) * _ALIGN

    @property
    def nbytes(self) -> Extent:
        """Bytes of all."""
        return self.scales_at + 8 * self.rows * self.p.blocks

    def bytes(self, k: FunctionBuilder) -> Pointer:
        """i8."""
        return k.args["workspace"].as_type(i8)

    def scales(self, k: FunctionBuilder) -> Pointer:
        """f32 [rows, blocks]."""
        return k.args["workspace"].at(self.scales_at).as_type(f32)

    def sums(self, k: FunctionBuilder) -> Pointer:
        """Minus the sums of the bytes, [rows, blocks]: f32, or i32 and times the one zero point."""
        kind = f32 if self.p.zero else i32
        return self.scales(k).at(self.rows * self.p.blocks).as_type(kind)


class ByteCandidate(CpuCandidate[NbitsProblem]):
    """Parameters: rows, cols (register tile: rows of x times vectors of columns)."""

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return int(self.params["cols"]) * self.target.lanes(f32)

    @cached_property
    def quantized(self) -> QuantizedRows:
        """Where the first phase writes."""
        return QuantizedRows(self.problem)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The panels, then the epilogue's constants as they are."""
        return prepacked(self.spec, self.problem, constants, self.width, signed=False)

    def workspace(self, threads: int) -> Extent:
        """The quantized rows."""
        return self.quantized.nbytes

    def emit(self) -> Source:
        """A phase that quantizes x, and the product."""
        p, rows = self.problem, int(self.params["rows"])
        m, args = Module(self.target), phase_args(self.spec, packed_dtypes(self.spec))
        quantizer = _Quantizer(p, self.quantized)
        with m.phase("quantize", quantizer.items, args) as k:
            quantizer.write(k, PanelLoops(k, self.spec, p, rows, self.width))
        with m.phase("product", PanelLoops.items(p, self.width), args) as k:
            loops = PanelLoops(k, self.spec, p, rows, self.width)
            loops.all_items(_ByteTile(k, p, loops, self.quantized).write)
        return m.source()


class _Quantizer:
    """Writes the phase that quantizes x.  Work items are runs of blocks of a row."""

    def __init__(self, p: NbitsProblem, place: QuantizedRows) -> None:
        self.p, self.place = p, place
        self.run = max(1, _ITEM // p.block)
        self.runs = -(-p.blocks // self.run)
        self.items = place.rows * self.runs

    def write(self, k: FunctionBuilder, loops: PanelLoops) -> None:
        """All items of this call."""
        p = self.p
        with k.loop(k.begin, k.end) as item:
            row, first = item // self.runs, item % self.runs * self.run
            x, rest = loops.x, row
            for extent, step in zip(
                reversed(p.product.rows), reversed(p.product.a_steps[:-1]), strict=True
            ):
                x = x.at((rest % extent) * step)
                rest = rest // extent
            if p.whole:
                with k.loop(first, k.min(first + self.run, p.whole)) as block:
                    self._block(k, x.at(block * p.block), row, block, p.block)
            short = p.k - p.whole * p.block
            if short:
                with k.if_(k.eq(first, (self.runs - 1) * self.run)):
                    self._block(k, x.at(p.whole * p.block), row, k.index(p.whole), short)

    def _block(
        self, k: FunctionBuilder, x: Pointer, row: Value, number: Value, length: int
    ) -> None:
        lanes, place = k.target.lanes(f32), self.place
        most = [k.const(0.0, f32, lanes)]
        for tile in k.tiles(length, lanes, carry=most, fewest=9):
            for j, count in enumerate(tile.counts(lanes)):
                most[0] = k.max(
                    most[0], k.abs(k.load(x.at(tile.start).at(j * lanes), lanes, count))
                )
        largest = k.reduce(most[0], k.max)
        normal = largest > LEAST_MAGNITUDE
        inverse = k.splat(k.select(normal, k.div(127.0, largest), 0.0), lanes)
        out = place.bytes(k).at(row * place.row_bytes).at(number * place.padded)
        total = [k.const(0, i32, lanes)]
        for tile in k.tiles(length, lanes, carry=total, fewest=9):
            for j, count in enumerate(tile.counts(lanes)):
                value = k.load(x.at(tile.start).at(j * lanes), lanes, count)
                whole = k.round_to_i32(value * inverse)
                byte = k.cast(whole, i8)
                total[0] = total[0] + k.cast(byte, i32)
                k.store(byte, out.at(tile.start).at(j * lanes))
        at = row * self.p.blocks + number
        k.store(largest * (1 / 127), place.scales(k).at(at))
        whole_sum = k.reduce(total[0], lambda a, b: a + b)
        if self.p.zero:
            k.store(-k.cast(whole_sum, f32), place.sums(k).at(at))
        else:
            k.store(whole_sum * -self.p.middle, place.sums(k).at(at))


class _ByteTile:
    """Writes register tiles."""

    def __init__(
        self, k: FunctionBuilder, p: NbitsProblem, loops: PanelLoops, place: QuantizedRows
    ) -> None:
        self.k, self.p, self.loops, self.place = k, p, loops, place
        self.lanes = loops.lanes
        self.short_sums = p.bits == 4 and not k.target.has_vnni and self.lanes == 8

    def write(self, at: RowTile, rows: int, counts: Sequence[int | Value]) -> None:
        """One tile."""
        k, p, place = self.k, self.p, self.place
        total = k.zeros(rows, len(counts), f32, self.lanes)
        x = place.bytes(k).at(at.row * place.row_bytes)
        table = at.row * p.blocks

        def block(b: Block, number: Index) -> None:
            start = x.at(k.index(number) * place.padded)
            whole = self._sums(b, [start.at(i * place.row_bytes) for i in range(rows)], len(counts))
            places = [k.add(table, number) for _ in range(rows)]
            sums = [
                [
                    self._scaled(b, whole[i][j], j, k.add(places[i], i * p.blocks))
                    for j in range(len(counts))
                ]
                for i in range(rows)
            ]
            add_scaled(k, total, sums, b)

        each_block(k, p, at.panel, self.loops.width, total, block)
        self.loops.store(total, at.place, counts)

    def _scaled(self, b: Block, whole: Value, column: int, at: Value) -> Value:
        """The sum of a block less what its zero point adds, times the scale of x."""
        k, lanes = self.k, self.lanes
        correction = k.splat(k.load(self.place.sums(k).at(at)), lanes)
        if self.p.zero:
            real = k.fma(b.zero(column), correction, k.cast(whole, f32))
        else:
            real = k.cast(whole + correction, f32)
        return real * k.splat(k.load(self.place.scales(k).at(at)), lanes)

    def _sums(self, b: Block, lines: list[Pointer], columns: int) -> list[list[Value]]:
        """Sums of products of bytes, i32."""
        k, per = self.k, self.p.per_lane
        sums = k.zeros(len(lines), columns, i32, self.lanes)
        looped = b.groups // _UNROLLED * _UNROLLED if b.groups > 2 * _UNROLLED else 0
        if looped:
            with k.loop(0, looped, _UNROLLED, carry=sums) as group:
                here = Block(k, self.p, b.base.at(group * (4 * b.width)), per * _UNROLLED, b.width)
                self._groups(here, [x.at(group * per) for x in lines], 0, _UNROLLED, sums)
        for first in range(looped, b.groups, _UNROLLED):
            self._groups(b, lines, first, min(_UNROLLED, b.groups - first), sums)
        return sums

    def _groups(
        self, b: Block, lines: list[Pointer], first: int, count: int, sums: list[list[Value]]
    ) -> None:
        """Adds the products of `count` groups."""
        k, p = self.k, self.p
        assert not self.short_sums or count * p.per_lane <= 4 * _SHORT_SUMS
        short: list[list[Value | None]] = [[None] * len(row) for row in sums]
        for g in range(first, first + count):
            words = [self._operands(b.words(g, j)) for j in range(len(sums[0]))]
            for at in range(p.per_lane // 4):
                for i, line in enumerate(lines):
                    four = line.at(g * p.per_lane + 4 * at).as_type(i32)
                    x = k.splat(k.load(four), self.lanes)
                    for j, operands in enumerate(words):
                        if not self.short_sums:
                            sums[i][j] = k.dot4(operands[at], x, sums[i][j])
                            continue
                        pairs, before = k.pairs(operands[at], x), short[i][j]
                        short[i][j] = pairs if before is None else before + pairs
        for row, shorts in zip(sums, short, strict=True):
            for j, total in enumerate(shorts):
                if total is not None:
                    row[j] = row[j] + k.pair_sums(total)

    def _operands(self, words: Value) -> list[Value]:
        """Lanes of four unsigned bytes each, in the order of K."""
        if self.p.bits == 8:
            return [words]
        low = 0x0F0F0F0F
        return [words & low, (words >> 4) & low]
