"""A block of sums in AMX's tiles, as matrix products and convolutions compute it.

    C tiles [16 rows][16 columns] += A tile [16 rows][64 bytes of K] x B tile [16 groups of K][16 columns]

`rows` x `cols` tiles of sums, one tile of a for each row of them and one of b for each column, eight at most.
Panels of b are those of `matmul.layout` with vectors of 16 columns: [K/g][columns][g].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.lang.matrix_tiles import TILE_ROWS
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import bf16, i8, i32, u8

BLOCKS = ((2, 2), (1, 3), (1, 2), (1, 1))
"""Shapes worth timing: rows and columns of tiles."""


def blocks_for(rows: int, columns: int) -> Iterator[dict[str, int]]:
    """Parameters of the candidates for a product of so many rows and columns."""
    for tall, wide in BLOCKS:
        if (tall == 1 or rows > TILE_ROWS) and (wide == 1 or columns > TILE_ROWS):
            yield {"rows": tall, "cols": wide}


def scratch_bytes(rows: int, cols: int) -> int:
    """Bytes of one worker's sums on their way from the tiles to the epilogue."""
    return rows * cols * TILE_ROWS * TILE_ROWS * 4


@dataclass(frozen=True)
class TileSums:
    """rows, cols: tiles of sums.  scratch: 64-byte aligned memory of the worker, of the sums' type."""

    k: FunctionBuilder
    rows: int
    cols: int
    form: ProductForm
    scratch: Pointer

    @property
    def width(self) -> int:
        """Columns of the block, and of a panel."""
        return self.cols * TILE_ROWS

    def clear(self) -> None:
        """Begin with zeros."""
        for tile in range(self.rows * self.cols):
            self.k.tile_zero(tile)

    def add(self, a: Pointer, apart: Extent, stride: Index, b: Pointer) -> None:
        """Add one step of 64 bytes of K.  a: the first tile of a, the next is `apart` bytes further on, and the
        rows of each `stride` bytes apart.  b: the step's 16 groups in the panel."""
        k = self.k
        types = (u8, i8) if self.form.integer else (bf16, bf16)
        left = self.rows * self.cols
        right = left + self.rows
        for i in range(self.rows):
            k.tile_load(left + i, a.at(i * apart), stride)
        line = b.as_type(i32)
        for j in range(self.cols):
            k.tile_load(right + j, line.at(j * TILE_ROWS), 4 * self.width)
            for i in range(self.rows):
                k.tile_dot(i * self.cols + j, left + i, right + j, types)

    def store(self) -> None:
        """Bring the sums to scratch memory, [row][column] of the block."""
        for i in range(self.rows):
            for j in range(self.cols):
                place = self.scratch.at((i * self.width + j) * TILE_ROWS)
                self.k.tile_store(i * self.cols + j, place, 4 * self.width)

    def finish(
        self,
        place: Epilogue,
        axes: int,
        rows: Value,
        counts: Sequence[int | Value],
        constants: Pointer | None,
    ) -> None:
        """The sums of the rows that exist through the epilogue.

        place: the epilogue at row 0, column 0 of the block, the last two of its `axes` axes.  counts: columns
        that exist of each tile.  constants: i32 that are added, one for each column.
        """
        k = self.k
        with k.loop(0, rows) as i:
            row = self.scratch.at(i * self.width).aligned(64)
            here = place.at((*(0,) * (axes - 2), i, 0))
            for j, count in enumerate(counts):
                value = k.load(row.at(j * TILE_ROWS), TILE_ROWS)
                if constants is not None:
                    value = value + k.load(constants.at(j * TILE_ROWS), TILE_ROWS)
                here.store(value, (*(0,) * (axes - 1), j * TILE_ROWS), count)
