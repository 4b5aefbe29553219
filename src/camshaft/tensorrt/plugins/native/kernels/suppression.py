"""Boxes that are kept, and whether one of them suppresses another: as `native.boxes` has it, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.lang import Carry, FunctionBuilder, Index, Pointer, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import f32, i32, u8
from camshaft.tensorrt.plugins.native.kernels.scan import any_of, lanes_of

_ROWS = 6
_PADDING = 16


def kept_bytes(most: int) -> Extent:
    """Scratch memory of so many boxes."""
    return 4 * _ROWS * _padded(most)


def _padded(most: int) -> int:
    return -(-most // _PADDING) * _PADDING


@dataclass(frozen=True, eq=False)
class Box:
    """Corners x0, y0, x1, y1, of one box or in lanes.  more: added to widths and heights."""

    k: FunctionBuilder
    corners: Sequence[Value]
    more: float

    @property
    def area(self) -> Value:
        """Width times height, 0 where one is negative."""
        x0, y0, x1, y1 = self.corners
        return self._extent(x0, x1) * self._extent(y0, y1)

    def common(self, other: Box) -> Value:
        """The area of what lies in both."""
        k = self.k
        x0, y0 = (k.max(a, b) for a, b in zip(self.corners[:2], other.corners[:2], strict=True))
        x1, y1 = (k.min(a, b) for a, b in zip(self.corners[2:], other.corners[2:], strict=True))
        return self._extent(x0, x1) * self._extent(y0, y1)

    def _extent(self, low: Value, high: Value) -> Value:
        size = high - low
        return self.k.max(size + self.more if self.more else size, 0.0)


@dataclass(frozen=True, eq=False)
class Suppression:
    """Boxes that are kept, at most `most`, in scratch memory.

    overlap: intersection over union from which on, or above which, a box suppresses another.  above: which of both.
    more: added to widths and heights.  scratch: `kept_bytes` of it.
    """

    k: FunctionBuilder
    most: int
    overlap: float
    above: bool
    scratch: Pointer
    more: float = 0.0

    def box(self, corners: Sequence[Value]) -> Box:
        """A box."""
        return Box(self.k, corners, self.more)

    def keep(self, number: Value, box: Box, kind: Value | None) -> None:
        """Keep a box as that number; the kind, an i64, is that of its class."""
        k = self.k
        for row, value in enumerate((*box.corners, box.area)):
            k.store(value, self._row(row).at(number))
        if kind is not None:
            k.store(k.cast(kind, i32), self._row(5).as_type(i32).at(number))

    def suppressed(self, count: Index, box: Box, kind: Value | None) -> Value:
        """Whether one of the `count` kept boxes suppresses it; kind: only those of this class do."""
        k, lanes = self.k, lanes_of(self.k)
        found: Carry = [k.const(0, u8)]
        wide = self.box([k.splat(c, lanes) for c in box.corners])
        area = k.splat(box.area, lanes)
        with k.loop(0, count, lanes, found) as block:
            others = self.box([k.load(self._row(row).at(block), lanes) for row in range(4)])
            common = wide.common(others)
            union = k.load(self._row(4).at(block), lanes) + area - common
            share = k.select(union > 0.0, common / union, 0.0)
            over = k.compare("gt" if self.above else "ge", share, k.const(self.overlap, f32))
            over = over & k.lane_mask(k.index(count) - block, lanes)
            if kind is not None:
                kinds = k.load(self._row(5).as_type(i32).at(block), lanes)
                over = over & k.eq(kinds, k.splat(k.cast(kind, i32), lanes))
            found[0] = found[0] | k.cast(any_of(k, over), u8)
        return k.ne(found[0], 0)

    def _row(self, number: int) -> Pointer:
        return self.scratch.as_type(f32).at(number * _padded(self.most))


def ordered(k: FunctionBuilder, corners: Sequence[Value]) -> list[Value]:
    """Corners with the lesser one first."""
    first, second = corners[:2], corners[2:]
    lesser = [k.min(a, b) for a, b in zip(first, second, strict=True)]
    return lesser + [k.max(a, b) for a, b in zip(first, second, strict=True)]


def corners_of(k: FunctionBuilder, box: Sequence[Value]) -> list[Value]:
    """Center and sizes as corners."""
    halves = [size * 0.5 for size in box[2:]]
    low = [center - half for center, half in zip(box[:2], halves, strict=True)]
    return low + [center + half for center, half in zip(box[:2], halves, strict=True)]


def loaded(k: FunctionBuilder, at: Pointer) -> list[Value]:
    """The four numbers of a box."""
    return [k.load(at.at(i)) for i in range(4)]
