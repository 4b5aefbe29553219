"""Packing the right-hand operand of a matrix product that is computed at run time.

A phase writes b into panels in the workspace, in the layout that `problem` describes, followed for
integers by the constant of every column.  Halves are widened, or put together in pairs.  One work item
packs one panel of one matrix.  Or workers pack the panel that they are about to multiply by.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Pointer, Tile, Value
from camshaft.backends.cpu.matmul.layout import ALIGN, Layout
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.types import f32, i8, i32, u16

_ONES = 0x01010101
_SIGNS = -0x7F7F7F80
"""The highest bit of each byte of a word."""


def pack_phase(m: Module, p: MatmulProblem, layout: Layout, args: Sequence[Arg]) -> None:
    """Add the phase to the module."""
    width = layout.width
    panels = p.panels(width)
    with m.phase("pack", p.matrices * panels, args) as k, k.loop(k.begin, k.end) as item:
        matrix, panel = item // panels, item % panels
        b = k.args["in1"].at(panel * (width * p.b_strides[-1]))
        rest = matrix
        for extent, stride in zip(p.b_shape[-3::-1], p.b_strides[-3::-1], strict=True):
            b = b.at((rest % extent) * stride)
            rest = rest // extent
        space, kind = k.args["workspace"], i8 if p.integer else layout.form.w
        target = space.as_type(kind).at(item * layout.panel_elements(p)).aligned(ALIGN)
        constants = space.at(layout.panel_bytes(p)).as_type(i32).at(item * width)
        packer = PanelPacker(k, p, layout, b, target, constants)
        for tile in k.tile_at(p.n, width, 0, is_full=lambda: panel < panels - 1):
            packer.panel(tile)


class PanelPacker:
    """Writes the packing of one panel."""

    def __init__(
        self,
        k: FunctionBuilder,
        p: MatmulProblem,
        layout: Layout,
        b: Pointer,
        target: Pointer,
        constants: Pointer | None = None,
    ) -> None:
        """b: the panel's first column.  target: where the panel goes.  constants: where its columns' go, of integers."""
        self.k, self.p, self.form, self.width, self.b = k, p, layout.form, layout.width, b
        self.lanes, self.panel_at, self.constants = layout.lanes, target, constants

    def panel(self, columns: Tile) -> None:
        """Pack the panel's columns that exist; the contents of the others are undefined."""
        counts = columns.counts(self.lanes)
        if self.p.integer:
            self._bytes(counts)
        elif self.form.group > 1:
            self._pairs(counts)
        else:
            self._floats(counts)

    def _floats(self, counts: Sequence[int | Value]) -> None:
        k, p, lanes = self.k, self.p, self.lanes
        with k.loop(0, p.k) as row:
            source, target = self.b.at(row * p.b_strides[-2]), self.panel_at.at(row * self.width)
            for j, count in enumerate(counts):
                place = source.at(j * lanes * p.b_strides[-1])
                value = k.load_strided(place, p.b_strides[-1], lanes, count)
                k.store(k.cast(value, f32), target.at(j * lanes))

    def _pairs(self, counts: Sequence[int | Value]) -> None:
        k, p = self.k, self.p
        whole = fixed_extent(p.k // 2, "K of a product of pairs")
        with k.loop(0, whole) as group:
            self._pair(group, 2, counts)
        if p.k % 2:
            self._pair(k.index(whole), 1, counts)

    def _pair(self, group: Value, rows: int, counts: Sequence[int | Value]) -> None:
        """Two rows of b (of which `rows` exist), interleaved."""
        k, lanes = self.k, self.lanes
        row, column = self.p.b_strides[-2:]
        source = self.b.at(group * (2 * row))
        target = self.panel_at.as_type(u16).at(group * (2 * self.width))
        picks = [n % 2 * lanes + n // 2 for n in range(2 * lanes)]
        for j, count in enumerate(counts):
            places = [source.at(r * row + j * lanes * column) for r in range(rows)]
            halves = [
                k.bitcast(k.load_strided(place, column, lanes, count), u16) for place in places
            ]
            odd = halves[1] if rows == 2 else k.const(0, u16, lanes)
            k.store(k.shuffle(halves[0], odd, picks), target.at(2 * j * lanes))

    def _bytes(self, counts: Sequence[int | Value]) -> None:
        k, p = self.k, self.p
        sums = [k.const(0, i32, self.lanes) for _ in counts]
        with k.loop(0, p.k // 4, carry=sums) as group:
            self._group(group, 4, counts, sums)
        left = p.k % 4
        if not isinstance(left, int):
            with k.if_(k.index(left) > 0, carry=sums):
                self._group(k.index(p.k // 4), k.index(left), counts, sums)
        elif left:
            self._group(k.index(p.k // 4), left, counts, sums)
        a_zero, b_zero = p.zeros
        assert self.constants is not None
        base: Extent | Value = p.k * a_zero * b_zero
        if not isinstance(base, int):
            base = k.cast(k.index(base), i32)
        for j, total in enumerate(sums):
            k.store(base - total * a_zero, self.constants.at(j * self.lanes))

    def _group(
        self, group: Value, rows: int | Value, counts: Sequence[int | Value], sums: list[Value]
    ) -> None:
        """Four rows of b (of which `rows` exist), interleaved."""
        k, p, lanes = self.k, self.p, self.lanes
        row, column = p.b_strides[-2:]
        source = self.b.at(group * (4 * row))
        target = self.panel_at.at(group * (4 * self.width))
        picks = [n % 4 * lanes + n // 4 for n in range(4 * lanes)]
        for j, count in enumerate(counts):
            if isinstance(rows, int) and rows == 4 and self._rows_are_adjacent:
                four = self._column(source.at(j * lanes * column), count)
            else:
                planes = [
                    self._row_if_it_exists(source.at(r * row + j * lanes * column), r, rows, count)
                    for r in range(4)
                ]
                halves = k.concat(planes[0], planes[1]), k.concat(planes[2], planes[3])
                four = k.shuffle(*halves, picks)
            k.store(four, target.at(4 * j * lanes))
            ones = k.const(_ONES, i32, lanes)
            sums[j] = k.dot4(ones, k.bitcast(four, i32), sums[j])

    @property
    def _rows_are_adjacent(self) -> bool:
        """Whether four bytes of a column of b, a transposed matrix, are one word of memory."""
        row, column = self.p.b_strides[-2:]
        return row == 1 and isinstance(column, int) and column % 4 == 0

    def _column(self, place: Pointer, count: int | Value) -> Value:
        """Four rows of a vector of columns, each column's read at once."""
        k, stride = self.k, self.p.b_strides[-1] // 4
        words = k.load_strided(place.as_type(i32), stride, self.lanes, count)
        if self.p.shifts[1]:
            words = words ^ _SIGNS
        return k.bitcast(words, i8)

    def _row_if_it_exists(
        self, place: Pointer, number: int, rows: int | Value, count: int | Value
    ) -> Value:
        """Row `number` of a group of which `rows` exist; else 0."""
        k = self.k
        if isinstance(rows, int):
            return self._row(place, count) if number < rows else k.const(0, i8, self.lanes)
        result = [k.const(0, i8, self.lanes)]
        with k.if_(rows > number, carry=result):
            result[0] = k.bitcast(self._row(place, count), i8)
        return result[0]

    def _row(self, place: Pointer, count: int | Value) -> Value:
        k = self.k
        value = k.load_strided(place, self.p.b_strides[-1], self.lanes, count)
        if self.p.shifts[1]:
            value = value ^ 0x80
        return k.bitcast(value, i8)
