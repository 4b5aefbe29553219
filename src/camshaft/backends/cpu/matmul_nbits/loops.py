"""What the kernels of matmul_nbits share: work items, row tiles, and how a block is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Tile, Value
from camshaft.backends.cpu.matmul_nbits.problem import ANCHORS, NbitsProblem
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import DType, f32, i32, u8

_LINE = 64
_AHEAD = 2048
"""Bytes from what is read to what is fetched: hardware stops at the end of each page.  On a Zen 3 a product of
one row reaches 96 % of the memory's bandwidth with it, 72 % without."""

WriteTile = Callable[["RowTile", int, Sequence["int | Value"]], None]
"""Writes one register tile: (where, rows, lanes that exist of each vector of columns)."""


class RowTile:
    """Where a register tile lies.

    x: its first row.  row: that row's number among all rows.  panel: the first byte of the columns'
    weights.  place: the epilogue at the tile's first element.
    """

    def __init__(self, x: Pointer, row: Value, panel: Pointer, place: Epilogue) -> None:
        self.x, self.row, self.panel, self.place = x, row, panel, place


class PanelLoops:
    """Work items are panels of columns (for each matrix of rows); an item goes over all rows.

    rows, width: the register tile, `width` columns in vectors of f32.
    """

    def __init__(
        self, k: FunctionBuilder, spec: KernelSpec, p: NbitsProblem, rows: int, width: int
    ) -> None:
        self.k, self.p, self.rows, self.width = k, p, rows, width
        self.lanes = k.target.lanes(f32)
        others = [n for n in constant_numbers(spec) if n >= ANCHORS]
        packed = {n: 1 + place for place, n in enumerate(others)}
        self.x = operand_pointer(k, spec, 0, packed)
        pointers = [operand_pointer(k, spec, n, packed) for n in range(ANCHORS, len(spec.inputs))]
        product = p.product
        self.epilogue = Epilogue(
            k, product.epilogue, product.operands, pointers, product.output, k.args["out0"]
        )

    @staticmethod
    def items(p: NbitsProblem, width: int) -> Extent:
        """How many work items there are."""
        return p.product.batches * p.panels(width)

    def all_items(
        self, write: WriteTile, prepare: Callable[[Pointer], None] = lambda panel: None
    ) -> None:
        """Every work item of this call.  prepare: writes what is done once an item."""
        k, p = self.k, self.p
        panels = p.panels(self.width)
        with k.loop(k.begin, k.end) as item:
            panel, batch = item % panels, item // panels
            position: list[Value] = []
            rest = batch
            for extent in reversed(p.product.rows[:-1]):
                position.insert(0, rest % extent)
                rest = rest // extent
            weights = k.args["packed0"].at(panel * p.panel_bytes(self.width))
            prepare(weights)
            is_full = partial(self._is_full, panel, panels)
            for tile in k.tile_at(p.n, self.width, 0, is_full=is_full):
                self._rows(position, batch, panel, weights, tile, write)

    @staticmethod
    def _is_full(panel: Value, panels: int) -> Value:
        return panel < panels - 1

    def _rows(
        self,
        position: list[Value],
        batch: Value,
        panel: Value,
        weights: Pointer,
        columns: Tile,
        write: WriteTile,
    ) -> None:
        """All rows times the columns of a panel that exist."""
        k, product = self.k, self.p.product
        counts = columns.counts(self.lanes)
        x = self.x
        for axis, index in enumerate(position):
            x = x.at(index * product.a_steps[axis])
        place = self.epilogue.at((*position, 0, panel * self.width))
        for tile in k.tiles(product.m, self.rows, halves=True):
            first = k.index(tile.start)
            here = RowTile(
                x.at(first * product.a_steps[-2]),
                k.add(batch * product.m, first),
                weights,
                place.at((*(0,) * len(position), first, 0)),
            )
            write(here, tile.size, counts)

    def store(
        self, total: list[list[Value]], place: Epilogue, counts: Sequence[int | Value]
    ) -> None:
        """The epilogue on a tile of sums."""
        axes = len(self.p.product.rows) - 1
        place.store_all(
            (row[j], (*(0,) * axes, i, j * self.lanes), count)
            for j, count in enumerate(counts)
            for i, row in enumerate(total)
        )


class Block:
    """A block of a panel's weights: `length` of them a column, from byte `base` on."""

    def __init__(
        self, k: FunctionBuilder, p: NbitsProblem, base: Pointer, length: int, width: int
    ) -> None:
        self.k, self.p, self.base, self.length, self.width = k, p, base, length, width
        self.lanes = k.target.lanes(f32)
        self.groups = -(-length // p.per_lane)

    def words(self, group: Index, column: int) -> Value:
        """Lanes of packed weights, i32: group `group` of vector `column`."""
        start = 4 * column * self.lanes
        at = self.base.at(self.k.index(group) * (4 * self.width)).at(start)
        if self.p.streamed and start % _LINE == 0:
            self.k.prefetch(at.at(_AHEAD), locality=2)
        return self.k.load(at.as_type(i32), self.lanes)

    def scale(self, column: int) -> Value:
        """The columns' scales, f32."""
        return self._table(0, self.p.scale, column)

    def zero(self, column: int) -> Value:
        """The columns' zero points, f32."""
        assert self.p.zero is not None
        return self._table(self.width * self.p.scale.bytes, self.p.zero, column)

    def _table(self, offset: int, dtype: DType, column: int) -> Value:
        k = self.k
        start = 4 * self.groups * self.width + offset + dtype.bytes * column * self.lanes
        return k.cast(k.load(self.base.at(start).as_type(dtype), self.lanes), f32)


def each_block(
    k: FunctionBuilder,
    p: NbitsProblem,
    panel: Pointer,
    width: int,
    carry: list[list[Value]],
    write: Callable[[Block, Index], None],
) -> None:
    """All blocks of a panel, in a loop, and the short one behind it.  write: (block, its number)."""
    size = p.block_bytes(p.block, width)
    assert panel.dtype == u8
    if p.whole == 1:
        write(Block(k, p, panel, p.block, width), 0)
    elif p.whole:
        with k.loop(0, p.whole, carry=carry) as number:
            write(Block(k, p, panel.at(number * size), p.block, width), number)
    short = p.k - p.whole * p.block
    if short:
        write(Block(k, p, panel.at(p.whole * size), short, width), p.whole)


def add_scaled(
    k: FunctionBuilder, total: list[list[Value]], sums: list[list[Value]], block: Block
) -> None:
    """total += the sums of a block times its scales."""
    for j in range(len(total[0])):
        scale = block.scale(j)
        for i, row in enumerate(total):
            row[j] = k.fma(sums[i][j], scale, row[j])
