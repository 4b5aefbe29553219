"""Products with weights of few bits where activations become 8 bits too.

A first phase quantizes x, block by block, each by its own largest magnitude, into the workspace:
the bytes, the blocks' scales, and what zero points are multiplied by, the sum of a block's bytes.
The product then sums bytes in integers, exactly, and scales the sum of a block once.  With three bytes
an element (`quantize`) that is a product of floats.
Weights are the unsigned operand.  Of 4 bits, they are at most 15, so that eight sums of two products
of u8 x s8 fit 16 bits, and are added before they are widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.matmul_nbits.floats import PanelCandidate, packed_dtypes, register_tiles
from camshaft.backends.cpu.matmul_nbits.loops import (
    Block,
    PanelLoops,
    RowTile,
    add_scaled,
    each_block,
)
from camshaft.backends.cpu.matmul_nbits.problem import NbitsProblem, is_supported
from camshaft.backends.cpu.matmul_nbits.quantize import QuantizedRows, Quantizer
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import f32, i32

_SHORT_SUMS = 8  # sums of two products <= 15 * 127 that fit 16 bits
_UNROLLED = 4  # groups of a block that are written out
_ROWS = 8
_PLANES = 3
_MOST_FIXED_ROWS = 4


class MatmulNbitsBytes:
    """Activations quantized at run time, sums in integers."""

    name = "matmul_nbits_bytes"
    version = 3

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


class MatmulNbitsFixed:
    """Activations in fixed point of three bytes, sums in integers: as exact as floats, for few rows, where
    three products of bytes take less time than widening the weights."""

    name = "matmul_nbits_fixed"
    version = 2

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[ByteCandidate]:
        """Register tiles for few rows, where the target multiplies bytes fast."""
        if not is_supported(spec):
            return ()
        p = NbitsProblem.of(spec)
        fast = target.has_vnni or (p.bits == 4 and target.vector_bits == 256)
        if p.int8 or not fast or typical(p.product.m) > _MOST_FIXED_ROWS:
            return ()
        room = target.registers // 2 // _PLANES
        return [
            ByteCandidate(spec, target, p, {"rows": rows, "cols": cols, "planes": _PLANES})
            for rows, cols in register_tiles(p, target, room)
            if rows * cols <= room + 2
        ]


class ByteCandidate(PanelCandidate):
    """Parameters: rows, cols (register tile: rows of x times vectors of columns)."""

    signed = False

    @cached_property
    def quantized(self) -> QuantizedRows:
        """Where the first phase writes."""
        return QuantizedRows(self.problem, int(self.params.get("planes", 1)))

    def workspace(self, threads: int) -> Extent:
        """The quantized rows."""
        return self.quantized.nbytes

    def emit(self) -> Source:
        """A phase that quantizes x, and the product."""
        p, rows = self.problem, int(self.params["rows"])
        m, args = Module(self.target), phase_args(self.spec, packed_dtypes(self.spec))
        quantizer = Quantizer(p, self.quantized)
        with m.phase("quantize", quantizer.items, args) as k:
            quantizer.write(k, PanelLoops(k, self.spec, p, rows, self.width))
        with m.phase("product", PanelLoops.items(p, self.width), args) as k:
            loops = PanelLoops(k, self.spec, p, rows, self.width)
            loops.all_items(_ByteTile(k, p, loops, self.quantized).write)
        return m.source()


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
            start = x.at(k.index(number) * place.block_bytes)
            lines = [
                start.at(i * place.row_bytes + plane * place.plane_bytes)
                for i in range(rows)
                for plane in range(place.planes)
            ]
            whole = self._sums(b, lines, len(counts))
            first = k.add(table, number)
            sums = [
                [
                    self._scaled(b, [line[j] for line in planes], j, k.add(first, i * p.blocks))
                    for j in range(len(counts))
                ]
                for i in range(rows)
                for planes in [whole[i * place.planes : (i + 1) * place.planes]]
            ]
            add_scaled(k, total, sums, b)

        each_block(k, p, at.panel, self.loops.width, total, block)
        self.loops.store(total, at.place, counts)

    def _scaled(self, b: Block, planes: list[Value], column: int, at: Value) -> Value:
        """The sum of a block, from those of its planes, less what its zero point adds, times the scale
        of x."""
        k, lanes = self.k, self.lanes
        correction = k.splat(k.load(self.place.sums(k).at(at)), lanes)
        scale = k.splat(k.load(self.place.scales(k).at(at)), lanes)
        if self.place.whole_sums:
            return k.cast(planes[0] + correction, f32) * scale
        real = k.cast(planes[0], f32)
        for n, plane in enumerate(planes[1:], 1):
            real = k.fma(k.cast(plane, f32), float(1 << 8 * n), real)
        if self.p.zero:
            real = k.fma(b.zero(column), correction, real)
        else:
            real = real + correction
        return real * scale

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
