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
from camshaft.ir.types import DType, f32, i8, i16, i32, row_major_strides, u8

D = TypeVar("D", int, Extent)

_LINE = 16  # floats of a cache line
MOST_KEYS = 512
"""Keys of a tile, at most."""
POWER_LEVELS, VALUE_LEVELS = 4095, 1023
"""What 1, and the largest magnitude of values, become in 16 bits: sums over a tile fit in an i32."""
_FEW = 8
"""Rows up to which values are read where they lie."""


@dataclass(frozen=True)
class Cut:
    """rows: queries of a register tile.  cols: its vectors of keys; value_cols: of a value.

    tiles: register tiles of rows in a block.  keys: keys of a tile.  several: whether there may be more than
    one tile of keys.  in_place: whether values are read where they lie.  packed: whether a first phase
    packs all keys and values.  packs_queries: whether queries are brought into the type of the products first.
    factors: in what keys are packed, and with exceptions (see the properties) what they meet: f32, bf16, i8, or, of
    targets that cannot multiply bytes but in more bits, i16.
    Packed queries, keys, powers and values lie in words of 32 bits, each of which holds a group of neighbours along
    the sum.
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
        factors = i16 if p.factors == i8 and not target.has_vnni else p.factors
        group = 32 // factors.bits
        most = bounds(p.keys)[1]
        several = most > keys
        if several:
            keys = -(-keys // group) * group
        few = bounds(p.queries)[1] <= _FEW and p.factors != i8
        return Cut(
            rows=int(params["rows"]),
            cols=cols,
            value_cols=value_cols,
            tiles=int(params["tiles"]),
            keys=keys,
            several=several,
            in_place=few,
            packed=bool(params.get("packed", False)) and not few,
            packs_queries=group > 1 and query != factors,
            factors=factors,
            lanes=lanes,
        )

    @property
    def group(self) -> int:
        """Elements of a query or a key in a word."""
        return 32 // self.factors.bits

    def words(self, count: D) -> D:
        """Words that hold so many elements of a query or a key."""
        return count if self.group == 1 else -(-count // self.group)

    @property
    def value_factors(self) -> DType:
        """In what values are packed: of bytes in 16 bits, as the powers that they meet are."""
        return i16 if self.quantized else self.factors

    @property
    def value_group(self) -> int:
        """Neighbouring values in a word."""
        return 32 // self.value_factors.bits

    def value_words(self, count: D) -> D:
        """Words that hold so many neighbouring values."""
        return count if self.value_group == 1 else -(-count // self.value_group)

    @property
    def powers(self) -> DType:
        """In what powers are stored: values that are read where they lie are widened, and so meet f32."""
        return f32 if self.in_place else self.value_factors

    @property
    def query_factors(self) -> DType:
        """In what queries are multiplied."""
        return u8 if self.factors == i8 else self.factors

    @property
    def quantized(self) -> bool:
        """Whether factors are integers, which have scales."""
        return self.factors.is_int

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

    def columns(self, p: AttentionProblem) -> int:
        """Columns of all panels of values."""
        return -(-p.width // self.value_panel) * self.value_panel

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
    query_scales: int
    key_scales: int
    size: int

    @staticmethod
    def of(p: AttentionProblem, c: Cut) -> Scratch:
        """In whole cache lines."""
        columns, apart = c.columns(p), not c.packed
        sizes = (
            c.block * c.pitch,
            3 * c.block,
            c.block * columns if c.several else 0,
            c.words(p.size) * c.panel if apart else 0,
            (c.value_words(c.keys) + c.quantized) * columns if apart and not c.in_place else 0,
            c.block * c.query_pitch(p) if c.packs_queries else 0,
            c.block if c.quantized else 0,
            2 * c.pitch if apart and c.quantized else 0,
        )
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // _LINE) * _LINE)
        return Scratch(*starts)


@dataclass(frozen=True)
class Shared:
    """Packed keys and values of all heads, in words, before the workers' own scratch memory.

    lead: which head of keys belongs to a position in the loops over heads, as strides.  heads: how many there
    are.  pieces: of a head that are packed apart: its panels of keys, or its tiles.  key_panels: of a head.  keys,
    values: words of a head, scales included.  rows: of words in a panel of values.
    """

    lead: Strides
    heads: Extent
    pieces: Extent
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
        panels = ceil_div(p.keys, c.panel)
        lead = tuple(s if o else 0 for s, o in zip(strides, own, strict=True))
        heads, columns = prod(extents), c.columns(p)
        rows, keys = c.value_words(p.keys), panels * c.words(p.size) * c.panel
        if not c.quantized:
            return Shared(lead, heads, panels, panels, keys, rows * columns, rows)
        tiles = ceil_div(p.keys, c.keys)
        rows = c.value_words(c.keys)
        scales = 2 * panels * c.panel
        return Shared(lead, heads, tiles, panels, keys + scales, tiles * (rows + 1) * columns, rows)

    @property
    def size(self) -> Extent:
        """Of all heads, in whole cache lines."""
        return -(-self.heads * (self.keys + self.values) // _LINE) * _LINE
