"""How attention is cut: blocks of queries, tiles of keys, register tiles; and scratch memory."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.base import Params
from camshaft.backends.cpu.attention.problem import AttentionProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.types import f32

_LINE = 16  # floats of a cache line
_FEW = 8
"""Rows up to which values are read where they lie."""


@dataclass(frozen=True)
class Cut:
    """rows: queries of a register tile.  cols: its vectors of keys; value_cols: of a value.

    tiles: register tiles of rows in a block.  keys: keys of a tile.  several: whether there may be more than
    one tile of keys.  in_place: whether values are read where they lie.
    """

    rows: int
    cols: int
    value_cols: int
    tiles: int
    keys: int
    several: bool
    in_place: bool
    lanes: int

    @staticmethod
    def of(p: AttentionProblem, params: Params, target: CpuTarget) -> Cut:
        """What the parameters `rows`, `cols`, `tiles` and `keys` mean for a problem."""
        lanes = target.lanes(f32)
        cols, keys = int(params["cols"]), int(params["keys"])
        vectors = ceil_div(p.width, lanes)
        assert isinstance(vectors, int)
        value_cols = -(-vectors // -(-vectors // cols))
        most = bounds(p.keys)[1]
        several = most > keys
        few = bounds(p.queries)[1] <= _FEW
        return Cut(
            int(params["rows"]), cols, value_cols, int(params["tiles"]), keys, several, few, lanes
        )  # fmt: skip

    @property
    def block(self) -> int:
        """Queries of a work item."""
        return self.rows * self.tiles

    @property
    def panel(self) -> int:
        """Keys of a panel."""
        return self.cols * self.lanes

    @property
    def value_panel(self) -> int:
        """Columns of a panel of values."""
        return self.value_cols * self.lanes

    @property
    def pitch(self) -> int:
        """Floats from one row of scores to the next: not a whole number of 4096 bytes."""
        pitch = -(-self.keys // self.panel) * self.panel
        return pitch + (_LINE if pitch % 512 == 0 else 0)

    def blocks(self, p: AttentionProblem) -> Extent:
        """Blocks of queries of a head."""
        return ceil_div(p.queries, self.block)


@dataclass(frozen=True)
class Scratch:
    """Floats of scratch memory that one worker uses, and where its parts begin."""

    scores: int
    state: int
    results: int
    keys: int
    values: int
    size: int

    @staticmethod
    def of(p: AttentionProblem, c: Cut) -> Scratch:
        """In whole cache lines."""
        columns = -(-p.width // c.value_panel) * c.value_panel
        sizes = (
            c.block * c.pitch,
            3 * c.block,
            c.block * columns if c.several else 0,
            p.size * c.panel,
            0 if c.in_place else c.keys * columns,
        )
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // _LINE) * _LINE)
        return Scratch(*starts)
