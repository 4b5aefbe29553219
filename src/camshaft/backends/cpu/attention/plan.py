"""How attention is cut: blocks of queries, tiles of keys, register tiles; and scratch memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeVar

from camshaft.backends.base import Params
from camshaft.backends.cpu.attention.problem import AttentionProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.strides import Strides
from camshaft.ir.types import DType, f32, i32, row_major_strides

D = TypeVar("D", int, Extent)

_LINE = 16  # floats of a cache line
_FEW = 8
"""Rows up to which values are read where they lie."""


@dataclass(frozen=True)
class Cut:
    """rows: queries of a register tile.  cols: its vectors of keys; value_cols: of a value.

    tiles: register tiles of rows in a block.  keys: keys of a tile.  several: whether there may be more than
    one tile of keys.  in_place: whether values are read where they lie.  packed: whether a first phase
    packs all keys and values.  packs_queries: whether queries are brought into the type of the products first.
    factors: in what the products take their factors, f32 or bf16.  Packed keys, packed values and powers lie in
    words of 32 bits, of which each holds a `group` of neighbours along the sum.
    """

    rows: int
    cols: int
    value_cols: int
    tiles: int
    keys: int
    several: bool
    in_place: bool
    packed: bool
    packs_queries: bool
    factors: DType
    lanes: int

    @staticmethod
    def of(p: AttentionProblem, query: DType, params: Params, target: CpuTarget) -> Cut:
        """What the parameters `rows`, `cols`, `tiles`, `keys` and `packed` mean for a problem.  query: type of the queries."""
        lanes = target.lanes(f32)
        cols, keys = int(params["cols"]), int(params["keys"])
        vectors = ceil_div(p.width, lanes)
        assert isinstance(vectors, int)
        value_cols = -(-vectors // -(-vectors // cols))
        group = 32 // p.factors.bits
        most = bounds(p.keys)[1]
        several = most > keys
        if several:
            keys = -(-keys // group) * group
        few = bounds(p.queries)[1] <= _FEW
        return Cut(
            rows=int(params["rows"]),
            cols=cols,
            value_cols=value_cols,
            tiles=int(params["tiles"]),
            keys=keys,
            several=several,
            in_place=few,
            packed=bool(params.get("packed", False)) and not few,
            packs_queries=group > 1 and query != p.factors,
            factors=p.factors,
            lanes=lanes,
        )

    @property
    def group(self) -> int:
        """Factors in a word."""
        return 32 // self.factors.bits

    def words(self, count: D) -> D:
        """Words that hold so many neighbours."""
        return count if self.group == 1 else -(-count // self.group)

    @property
    def powers(self) -> DType:
        """In what powers are stored: values that are read where they lie are widened, and so meet f32."""
        return f32 if self.in_place else self.factors

    @property
    def unit(self) -> DType:
        """As what a word is read."""
        return f32 if self.group == 1 else i32

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

    def query_pitch(self, p: AttentionProblem) -> int:
        """Words from one packed query to the next."""
        return -(-self.words(p.size) // self.lanes) * self.lanes

    def blocks(self, p: AttentionProblem) -> Extent:
        """Blocks of queries of a head."""
        return ceil_div(p.queries, self.block)


@dataclass(frozen=True)
class Scratch:
    """Words of scratch memory that one worker uses, and where its parts begin."""

    scores: int
    state: int
    results: int
    keys: int
    values: int
    queries: int
    size: int

    @staticmethod
    def of(p: AttentionProblem, c: Cut) -> Scratch:
        """In whole cache lines."""
        columns = -(-p.width // c.value_panel) * c.value_panel
        sizes = (
            c.block * c.pitch,
            3 * c.block,
            c.block * columns if c.several else 0,
            0 if c.packed else c.words(p.size) * c.panel,
            0 if c.in_place or c.packed else c.words(c.keys) * columns,
            c.block * c.query_pitch(p) if c.packs_queries else 0,
        )
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // _LINE) * _LINE)
        return Scratch(*starts)


@dataclass(frozen=True)
class Shared:
    """Packed keys and values of all heads, in words, before the workers' own scratch memory.

    lead: which head of keys belongs to a position in the loops over heads, as strides.  heads: how many there
    are.  key_panels: of a head.  keys, values: words of a head.  rows: of words in a panel of values.
    """

    lead: Strides
    heads: Extent
    key_panels: Extent
    keys: Extent
    values: Extent
    rows: Extent

    @staticmethod
    def of(p: AttentionProblem, c: Cut) -> Shared:
        """Heads that read the same keys and values share them."""
        own = [k != 0 or v != 0 for k, v in zip(p.k.lead, p.v.lead, strict=True)]
        extents = tuple(d if o else 1 for d, o in zip(p.lead, own, strict=True))
        strides = row_major_strides(extents)
        columns = -(-p.width // c.value_panel) * c.value_panel
        panels = ceil_div(p.keys, c.panel)
        lead = tuple(s if o else 0 for s, o in zip(strides, own, strict=True))
        rows, size = c.words(p.keys), c.words(p.size)
        keys = panels * size * c.panel
        return Shared(lead, prod(extents), panels, keys, rows * columns, rows)

    @property
    def size(self) -> Extent:
        """Of all heads, in whole cache lines."""
        return -(-self.heads * (self.keys + self.values) // _LINE) * _LINE
