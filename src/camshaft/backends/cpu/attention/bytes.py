"""Queries and keys of one head as bytes, values in 16 bits, quantized while they are packed.

A query and a key have a scale each, their largest magnitude / 127 (per token and head, as SageAttention, Zhang et
al. 2024, has it for INT8).  Powers are 4095ths, and values have 1023 levels up to the largest magnitude of their channel in
a tile of keys, whose sums are added up in f32 anyway: bytes lose what keys of small weight add up to, which is why
SageAttention keeps this product in FP16.  The layout of panels is that of `pack`, with two values in a word, and four
elements of a key where the target multiplies bytes; elsewhere these are held in 16 bits too, which changes no sum.  As bytes, queries become unsigned, q + 128, as the products of four bytes want it: 128 times the sum of each key is subtracted
from its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.attention.pack import head_number, key_lines, moved
from camshaft.backends.cpu.attention.plan import VALUE_LEVELS, Cut, Shared
from camshaft.backends.cpu.attention.problem import AttentionProblem, Strided
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.pointwise.lanes import transposed
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import f32, i8, i32

SMALLEST = 1e-30
"""The least magnitude that a scale is made of; its reciprocal is finite."""
_ONES_128 = -0x7F7F7F80  # four bytes of 128
_SIDE = 4


@dataclass(frozen=True)
class TileScales:
    """Of one tile of keys.  keys: scales, f32, and sums: -128 times the sum, i32, of each key.  values: scales of
    the channels."""

    keys: Pointer
    sums: Pointer | None
    values: Pointer

    def of_panel(self, at: Value) -> tuple[Pointer, Pointer | None]:
        """Those of the keys from number `at` of the tile on."""
        return self.keys.at(at), None if self.sums is None else self.sums.at(at)


def _magnitudes(k: FunctionBuilder, x: Value, so_far: Value) -> Value:
    """The larger magnitudes of f32 lanes and of `so_far`, as bits, whose order is the same; NaN is the largest."""
    return k.max(k.bitcast(k.abs(x), i32), so_far)


def _scale(k: FunctionBuilder, magnitudes: Value, levels: int = 127) -> tuple[Value, Value]:
    """The scale of lanes with these largest magnitudes (bits), and its reciprocal; NaN stays NaN."""
    least = k.bitcast(k.const(SMALLEST, f32, magnitudes.lanes), i32)
    scale = k.bitcast(k.max(magnitudes, least), f32) * (1 / levels)
    return scale, 1.0 / scale


def _levels(k: FunctionBuilder, x: Value, inverse: Value) -> Value:
    """round(x / scale) as i32 lanes."""
    return k.round_to_i32(x * inverse)


def _load(
    k: FunctionBuilder, line: Pointer, step: Extent, at: Index, lanes: int, count: int
) -> Value:
    """`lanes` elements of a line from number `at` on, of which `count` exist, as f32; others are 0."""
    value = k.load_strided(line.at(k.mul(k.index(at), step)), step, lanes, count)
    return k.cast(value, f32)


def _largest(k: FunctionBuilder, line: Pointer, step: Extent, size: int, lanes: int) -> Value:
    """Lanes whose maximum is that of the magnitudes of `size` elements, as bits."""
    most = [k.const(0, i32, lanes)]
    for tile in k.tiles(size, lanes, carry=most):
        assert isinstance(tile.count, int)
        most[0] = _magnitudes(k, _load(k, line, step, tile.start, lanes, tile.count), most[0])
    return most[0]


def quantize_queries(
    k: FunctionBuilder,
    source: Pointer,
    p: AttentionProblem,
    rows: Value,
    target: Pointer,
    scales: Pointer,
    cut: Cut,
) -> None:
    """The first `rows` queries from `source` on.  target: words [rows][pitch].  scales: f32 [rows]."""
    lanes, width, zero = cut.lanes, cut.group * cut.lanes, 128 if cut.factors == i8 else 0
    with k.loop(0, rows) as row:
        line, there = source.at(k.mul(row, p.q.row)), target.at(row * cut.query_pitch(p))
        most = k.reduce(_largest(k, line, p.q.column, p.size, lanes), k.max)
        scale, inverse = _scale(k, most)
        k.store(scale, scales.at(row))
        spread = k.splat(inverse, width)
        for word in range(0, cut.words(p.size), lanes):
            at = cut.group * word
            x = _load(k, line, p.q.column, at, width, min(width, p.size - at))
            levels = _levels(k, x, spread)
            whole = k.cast(levels + zero if zero else levels, cut.query_factors)
            k.store(k.bitcast(whole, i32), there.at(word))


def quantize_keys(
    k: FunctionBuilder,
    source: Pointer,
    lie: Strided,
    size: int,
    last: Value,
    target: Pointer,
    width: int,
    scales: tuple[Pointer, Pointer | None],
    cut: Cut,
) -> None:
    """`width` keys from `source` on, transposed; behind key number `last` that one again.

    size: elements of a key.  target: words [size/g][width].  scales: of the keys, and -128 times their sums where
    queries are unsigned.
    """
    lanes, wide = cut.lanes, cut.group * cut.lanes
    for group in range(0, width, lanes):
        lines = key_lines(k, source, lie, last, group, lanes)
        largest = [_largest(k, line, lie.column, size, lanes) for line in lines]
        scale, inverse = _scale(k, k.fold(transposed(k, largest), k.max))
        k.store(scale, scales[0].at(group))
        spread = [k.splat(k.extract(inverse, n), wide) for n in range(lanes)]
        sums = [k.const(0, i32, lanes)]
        for tile in k.tiles(size, wide, carry=sums):
            assert isinstance(tile.count, int)
            words = []
            for line, by in zip(lines, spread, strict=True):
                x = _load(k, line, lie.column, tile.start, wide, tile.count)
                words.append(k.bitcast(k.cast(_levels(k, x, by), cut.factors), i32))
            place = target.at(group).at(k.mul(k.index(tile.start), width // cut.group))
            for n, column in enumerate(transposed(k, words)[: cut.words(tile.count)]):
                k.store(column, place.at(n * width))
                if scales[1] is not None:
                    sums[0] = k.dot4(k.const(_ONES_128, i32, lanes), column, sums[0])
        if scales[1] is not None:
            k.store(-sums[0], scales[1].at(group))


def quantize_values(
    k: FunctionBuilder,
    source: Pointer,
    lie: Strided,
    size: int,
    count: Index,
    target: Pointer,
    scales: Pointer,
    cut: Cut,
) -> None:
    """The first `count` values from `source` on, `size` elements each.

    target: words [panels][words of a tile][columns of a panel].  scales: f32 [columns of all panels].
    """
    lanes, panel = cut.lanes, cut.value_panel
    columns = -(-size // panel) * panel
    count = k.index(count)
    for low in range(0, columns, _SIDE * lanes):
        places = range(low, min(low + _SIDE * lanes, columns), lanes)
        most = [k.const(0, i32, lanes) for _ in places]
        with k.loop(0, count, carry=most) as row:
            line = source.at(k.mul(row, lie.row))
            for n, at in enumerate(places):
                if at < size:
                    x = _load(k, line, lie.column, at, lanes, min(lanes, size - at))
                    most[n] = _magnitudes(k, x, most[n])
        inverses = []
        for at, largest in zip(places, most, strict=True):
            scale, inverse = _scale(k, largest, VALUE_LEVELS)
            k.store(scale, scales.at(at))
            inverses.append(inverse)

        def some(
            word: Value, rows: int, places: Sequence[int] = places, by: list[Value] = inverses
        ) -> None:
            """A word of each column, of which so many factors exist."""
            first = k.mul(word, 2)
            lines = [source.at(k.mul(first + n, lie.row)) for n in range(rows)]
            for at, inverse in zip(places, by, strict=True):
                value = k.const(0, i32, lanes)
                for n, line in enumerate(lines):
                    if at < size:
                        x = _load(k, line, lie.column, at, lanes, min(lanes, size - at))
                        value = value | ((_levels(k, x, inverse) & 0xFFFF) << (16 * n))
                place = target.at(k.mul(word, panel)).at(
                    at // panel * panel * cut.value_words(cut.keys)
                )
                k.store(value, place.at(at % panel))

        with k.loop(0, count // 2) as word:
            some(word, 2)
        with k.if_(k.ne(count % 2, 0)):
            some(count // 2, 1)


def quantize_all(
    k: FunctionBuilder, p: AttentionProblem, cut: Cut, key: Pointer, value: Pointer
) -> None:
    """The first phase, where there is one: a work item quantizes a tile of keys and the values behind them."""
    shared, space = Shared.of(p, cut), k.args["workspace"].as_type(i32)
    loops = [d if s != 0 else 1 for d, s in zip(p.lead, shared.lead, strict=True)]
    with row_loop(k, k.begin, k.end, (*loops, shared.pieces)) as position:
        head, tile = head_number(k, shared, position[:-1]), k.index(position[-1])
        first = tile * cut.keys
        count = k.min(k.index(p.keys) - first, cut.keys)
        keys = moved(k, key, p.k.lead, position[:-1]).at(k.mul(first, p.k.row))
        values = moved(k, value, p.v.lead, position[:-1]).at(k.mul(first, p.v.row))
        scales = shared_scales(k, space, shared, p, cut, head, first)
        mine = space.at(head * shared.keys)
        with k.loop(0, (count + (cut.panel - 1)) // cut.panel) as panel:
            at = panel * cut.panel
            words = mine.at((first // cut.panel + panel) * (cut.words(p.size) * cut.panel))
            here, pair = keys.at(k.mul(at, p.k.row)), scales.of_panel(at)
            quantize_keys(k, here, p.k, p.size, count - 1 - at, words, cut.panel, pair, cut)
        target = value_tile(k, space, shared, p, cut, head, first)
        quantize_values(k, values, p.v, p.width, count, target, scales.values, cut)


def value_tile(
    k: FunctionBuilder,
    space: Pointer,
    shared: Shared,
    p: AttentionProblem,
    cut: Cut,
    head: Value,
    first: Value,
) -> Pointer:
    """Where the packed values from number `first` on, a whole number of tiles, begin."""
    tile = (cut.value_words(cut.keys) + 1) * cut.columns(p)
    base = space.at(shared.heads * shared.keys).at(head * shared.values)
    return base.at(first // cut.keys * tile)


def shared_scales(
    k: FunctionBuilder,
    space: Pointer,
    shared: Shared,
    p: AttentionProblem,
    cut: Cut,
    head: Value,
    first: Value,
) -> TileScales:
    """Scales of the tile that begins at key number `first` of a head."""
    keys = space.at(head * shared.keys).at(shared.key_panels * (cut.words(p.size) * cut.panel))
    sums = keys.at(shared.key_panels * cut.panel).at(first) if cut.factors == i8 else None
    values = value_tile(k, space, shared, p, cut, head, first)
    behind = values.at(cut.value_words(cut.keys) * cut.columns(p))
    return TileScales(keys.at(first).as_type(f32), sums, behind.as_type(f32))
