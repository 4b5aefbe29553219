"""The first phase of products of bytes: rows of x become integers, block by block.

A block's largest magnitude becomes the largest integer.  With one byte an element that is 127.  With three
it is 127 * 2**16: an integer is the sum of three signed bytes times 1, 256 and 65536, which lie in
planes of their own, and its rounding error is that of a float of the block's largest magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.matmul_nbits.loops import PanelLoops
from camshaft.backends.cpu.matmul_nbits.problem import NbitsProblem
from camshaft.ir.extents.extent import Extent
from camshaft.ir.few_bits import LEAST_MAGNITUDE
from camshaft.ir.types import f32, i8, i32

_ALIGN = 64
_PADDED = 16  # bytes that a plane is a multiple of: a vector of any target
_ITEM = 2048  # elements that an item quantizes


@dataclass(frozen=True)
class QuantizedRows:
    """Where the quantized rows lie in the workspace: bytes, scales, sums, one row after the other.

    planes: bytes of an element.
    """

    p: NbitsProblem
    planes: int

    @property
    def plane_bytes(self) -> int:
        """Bytes of a plane of a block."""
        return -(-self.p.block // _PADDED) * _PADDED

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return self.planes * self.plane_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.p.blocks * self.block_bytes

    @property
    def unit(self) -> int:
        """What the highest plane is multiplied by."""
        return 1 << 8 * (self.planes - 1)

    @property
    def whole_sums(self) -> bool:
        """Whether sums of blocks are i32 (else f32)."""
        return self.planes == 1 and self.p.zero is None

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
        """Minus the sums of the integers, [rows, blocks], times the one zero point where there is one."""
        kind = i32 if self.whole_sums else f32
        return self.scales(k).at(self.rows * self.p.blocks).as_type(kind)


class Quantizer:
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
        inverse = k.splat(k.select(normal, k.div(127.0 * place.unit, largest), 0.0), lanes)
        out = place.bytes(k).at(row * place.row_bytes).at(number * place.block_bytes)
        total = [k.const(0, i32, lanes)]
        for tile in k.tiles(length, lanes, carry=total, fewest=9):
            for j, count in enumerate(tile.counts(lanes)):
                value = k.load(x.at(tile.start).at(j * lanes), lanes, count)
                whole = k.round_to_i32(value * inverse)
                total[0] = total[0] + self._store(k, whole, out.at(tile.start).at(j * lanes))
        at = row * self.p.blocks + number
        k.store(largest * (1 / (127 * place.unit)), place.scales(k).at(at))
        whole_sum = k.reduce(total[0], lambda a, b: a + b)
        if place.whole_sums:
            k.store(whole_sum * -self.p.middle, place.sums(k).at(at))
        else:
            factor = -1.0 if self.p.zero else -float(self.p.middle)
            k.store(k.cast(whole_sum, f32) * factor, place.sums(k).at(at))

    def _store(self, k: FunctionBuilder, whole: Value, out: Pointer) -> Value:
        """Store the bytes of i32 lanes; returns what they stand for."""
        total = None
        for plane in range(self.place.planes):
            byte = k.cast(whole, i8)
            k.store(byte, out.at(plane * self.place.plane_bytes))
            digit = k.cast(byte, i32)
            whole = (whole - digit) >> 8
            part = digit << 8 * plane if plane else digit
            total = part if total is None else total + part
        assert total is not None
        return total
