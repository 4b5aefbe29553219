"""AMX: two-dimensional registers, "tiles" of up to 16 rows of 64 bytes, and products of them.

The eight tiles are named by number and belong to the function, not to the language: nothing here keeps
track of what they hold.  A configuration (64 bytes in memory) says how many rows and bytes each has.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, chapter "Programming with Intel AMX".
"""

from __future__ import annotations

import numpy as np

from camshaft.backends.cpu.lang.shared import SharedWords
from camshaft.backends.cpu.lang.values import Index, Pointer
from camshaft.ir.types import DType, bf16, i8, u8

TILES = 8
TILE_ROWS = 16
TILE_BYTES = 64
"""Of one row."""

_DOT = {
    (bf16, bf16): "tdpbf16ps",
    (u8, i8): "tdpbusd",
    (i8, i8): "tdpbssd",
    (u8, u8): "tdpbuud",
    (i8, u8): "tdpbsud",
}


def whole_tiles() -> np.ndarray:
    """The configuration in which all eight tiles are as large as they get, u8 [64]: palette 1, at 16 the
    bytes of a row of each tile (u16), at 48 its rows."""
    config = np.zeros(64, np.uint8)
    config[0] = 1
    config[16 : 16 + 2 * TILES : 2] = TILE_BYTES
    config[48 : 48 + TILES] = TILE_ROWS
    return config


class MatrixTiles(SharedWords):
    """Adds tiles; for targets with `has_amx`."""

    def tile_configure(self, config: Pointer) -> None:
        """Load the configuration; all tiles become 0."""
        self._tiles("ldtilecfg", f"ptr {config.address()}")

    def tile_release(self) -> None:
        """End the use of tiles, which would make switching between threads slower."""
        self._tiles("tilerelease")

    def tile_zero(self, tile: int) -> None:
        """Fill a tile with zeros."""
        self._tiles("tilezero", f"i8 {tile}")

    def tile_load(self, tile: int, p: Pointer, stride: Index) -> None:
        """Load a tile from rows that begin `stride` bytes apart."""
        self._tiles("tileloadd64", f"i8 {tile}", f"ptr {p.address()}", self._stride(stride))

    def tile_store(self, tile: int, p: Pointer, stride: Index) -> None:
        """Store a tile to rows that begin `stride` bytes apart."""
        self._tiles("tilestored64", f"i8 {tile}", f"ptr {p.address()}", self._stride(stride))

    def tile_dot(self, acc: int, a: int, b: int, types: tuple[DType, DType]) -> None:
        """acc += a times b: acc[m][n], f32 or i32, plus the sum over k of the products of the groups
        a[m][k] and b[k][n], which are 32 bits of elements of `types` each."""
        self._tiles(_DOT[types], f"i8 {acc}", f"i8 {a}", f"i8 {b}")

    def _stride(self, stride: Index) -> str:
        return f"i64 {self.index(stride).ref}"

    def _tiles(self, name: str, *operands: str) -> None:
        kinds = [operand.split()[0] for operand in operands]
        callee = self.intrinsic(f"llvm.x86.{name}", "void", kinds)
        self.effect(f"call {callee}({', '.join(operands)})")
