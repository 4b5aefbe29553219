"""A work item of attention: one block of queries of one head, over all keys that it sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from camshaft.backends.base import Operand
from camshaft.backends.cpu.attention.bytes import (
    TileScales,
    quantize_keys,
    quantize_queries,
    quantize_values,
    shared_scales,
    value_tile,
)
from camshaft.backends.cpu.attention.hiding import Hider, Hiding
from camshaft.backends.cpu.attention.pack import (
    first_word,
    head_number,
    moved,
    pack_keys,
    pack_queries,
    pack_values,
)
from camshaft.backends.cpu.attention.plan import Cut, Scratch, Shared
from camshaft.backends.cpu.attention.problem import AttentionProblem, Strided
from camshaft.backends.cpu.attention.rows import LOWEST, SYMBOL, RowState, share_of
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.backends.cpu.matmul.tile import MatmulTile, PanelVectors
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import DType, f32, i8, i32

_ALIGN = 64


def product(depth: Extent, a: tuple[Extent, Extent], left: DType, right: DType) -> MatmulProblem:
    """A product that is tiled by hand.  a: strides of its rows and columns.  left, right: types of its factors."""
    one = Operand.dense(f32, (1, 1))
    return MatmulProblem(
        left, right, (1,), depth, 1, a, (0,), (0,), (depth, 1), (1, 1), False, 0, 0, E.inp(0), (), one
    )  # fmt: skip


class BlockWriter:
    """Writes work items of a phase."""

    def __init__(
        self,
        k: FunctionBuilder,
        p: AttentionProblem,
        cut: Cut,
        pointers: Sequence[Pointer],
        dtypes: Sequence[DType],
    ) -> None:
        """pointers, dtypes: of all operands in order, the output last."""
        self.k, self.p, self.cut = k, p, cut
        self.pointers, self.dtypes = pointers, dtypes
        room = Scratch.of(p, cut)
        space = k.args["workspace"].as_type(f32)
        self.shared = Shared.of(p, cut) if cut.packed else None
        self.all_keys = self.all_values = space.as_type(cut.unit)
        if self.shared is not None:
            self.all_values = self.all_keys.at(self.shared.heads * self.shared.keys)
            space = space.at(self.shared.size)
        mine = space.at(k.worker * room.size).aligned(_ALIGN)
        self.scores, self.results = mine.at(room.scores), mine.at(room.results)
        self.packed_keys = mine.at(room.keys).as_type(cut.unit)
        self.packed_values = mine.at(room.values).as_type(cut.unit)
        self.queries = mine.at(room.queries).as_type(cut.unit)
        self.query_scales = mine.at(room.query_scales)
        self.key_scales = mine.at(room.key_scales)
        self.state = RowState(mine.at(room.state), cut.block)

    def item(self, position: Sequence[Index], block: Value, first: Value | None = None) -> None:
        """The block of queries number `block` of the head at a position of the loops over heads.

        first: the row at which its segment begins, of ragged attention.
        """
        k, p, cut = self.k, self.p, self.cut
        lies = [p.q, p.k, p.v, *p.score_operands, *p.operands, p.out]
        here = [
            moved(k, pointer, lie.lead, position)
            for pointer, lie in zip(self.pointers, lies, strict=True)
        ]
        if first is not None:
            here = [x.at(k.mul(first, n)) for x, n in zip(here, p.row_steps, strict=True)]
        head = k.index(0) if self.shared is None else head_number(k, self.shared, position)
        start = block * cut.block
        rows = k.min(cut.block, k.index(p.queries) - start)
        work = _Block(self, here, start, rows, block, head)
        if cut.packs_queries:
            query = here[0].at(k.mul(start, p.q.row))
            if cut.quantized:
                quantize_queries(k, query, p, rows, self.queries, self.query_scales, cut)
            else:
                pack_queries(k, query, p, rows, self.queries, cut)
        if not cut.several:
            work.keys(k.index(0), p.keys if isinstance(p.keys, int) else k.index(p.keys))
            return
        work.begin()
        low, high = work.visible()
        whole, left = p.keys // cut.keys, p.keys % cut.keys
        if isinstance(whole, int) and isinstance(left, int):
            tiles = k.min(ceil_div_value(high, cut.keys), whole) if left else ceil_div_value(high, cut.keys)  # fmt: skip
            with k.loop(low // cut.keys, tiles) as tile:
                work.keys(tile * cut.keys, cut.keys)
            if left:
                with k.if_(high > whole * cut.keys):
                    work.keys(k.index(whole * cut.keys), left)
        else:
            with k.loop(low // cut.keys, ceil_div_value(high, cut.keys)) as tile:
                first = tile * cut.keys
                work.keys(first, k.min(cut.keys, k.index(p.keys) - first))
        work.finish()


def ceil_div_value(x: Value, by: int) -> Value:
    """x / by, rounded up."""
    return (x + (by - 1)) // by


class _Block:
    """One work item: `rows` queries from `start` on.  here: all operands at this head.  head: the number of its
    packed keys and values."""

    def __init__(
        self,
        w: BlockWriter,
        here: Sequence[Pointer],
        start: Value,
        rows: Value,
        block: Value,
        head: Value,
    ) -> None:
        self.head = head
        self.w, self.k, self.p, self.cut = w, w.k, w.p, w.cut
        self.start, self.rows, self.block = start, rows, block
        self.q, self.key, self.value = here[:3]
        count = 3 + len(w.p.score_operands)
        self.score_pointers, self.result_pointers = here[3:count], here[count:-1]
        self.score_dtypes, self.result_dtypes = w.dtypes[3:count], w.dtypes[count:-1]
        self.out = here[-1]

    # -- what a block begins and ends with where keys come in several tiles --------------------

    def begin(self) -> None:
        """No score and no result so far."""
        k, lanes = self.k, self.cut.lanes
        with k.loop(0, self.rows) as row:
            k.store(k.const(LOWEST, f32), self.w.state.maximum(row))
            k.store(k.const(0.0, f32), self.w.state.total(row))
            line = self.w.results.at(row * self._columns)
            for at in range(0, self._columns, lanes):
                k.store(k.const(0.0, f32, lanes), line.at(at))

    def visible(self) -> tuple[Value, Value]:
        """The first key, and the one behind the last, that any query of the block sees; equal where none sees any."""
        k, p = self.k, self.p
        if not p.causal:
            return k.index(0), k.index(p.keys)
        place = k.index(p.first) + (self.start if p.place_step else 0)
        last = place + (self.cut.block if p.place_step else 1)
        high = k.max(k.min(last, k.index(p.keys)), 0)
        low = k.index(0)
        if p.window:
            low = k.min(k.max(place - (p.window - 1), 0), high)
        return low, high

    def finish(self) -> None:
        """Results divided by the sum of their row's powers, through the epilogue."""
        k, p, lanes = self.k, self.p, self.cut.lanes
        with k.loop(0, self.rows) as row:
            total = k.load(self.w.state.total(row))
            k.store(share_of(k, total, p.zero_hidden), self.w.state.factor(row))
        place = self._final()
        with k.loop(0, self.rows) as row:
            line = self.w.results.at(row * self._columns)
            for at in range(0, p.width, lanes):
                value = k.load(line.at(at), lanes)
                place.at((row, at)).store(value, (0, 0), min(lanes, p.width - at))

    @property
    def _columns(self) -> int:
        return self.cut.columns(self.p)

    # -- one tile of keys ----------------------------------------------------------------------

    def keys(self, first: Value, count: int | Value) -> None:
        """The keys first .. first + count - 1."""
        k, p, cut = self.k, self.p, self.cut
        key = self.key.at(k.mul(first, p.k.row))
        value = self.value.at(k.mul(first, p.v.row))
        self.scales = self._scales_at(first) if cut.quantized else None
        if not cut.in_place and not cut.packed:
            target, pitch = self.w.packed_values, cut.value_words(cut.keys)
            if self.scales is not None:
                scales = self.scales.values
                quantize_values(k, value, p.v, p.width, count, target, scales, cut)
            else:
                pack_values(k, value, p.v, p.width, count, target, pitch, cut)
        self._scores(first, key, count)
        k.call(SYMBOL, self.w.scores, self.w.state.base, count, self.rows)
        self._values(first, value, count)

    def _scores(self, first: Value, key: Pointer, count: int | Value) -> None:
        k, p, cut = self.k, self.p, self.cut
        tile = self._score_tile()
        place = self._score_place(first)
        number = k.index(count)
        plain = [cut.lanes] * cut.cols
        # Keys behind the last one cost work, of which a known number needs least; their scores are never read.
        apart = isinstance(count, int) or any(o.column != 0 for o in p.score_operands)
        left = count % cut.panel if apart else 0
        whole = number // cut.panel if apart else ceil_div_value(number, cut.panel)

        def panel(at: Value, counts: Sequence[int | Value]) -> None:
            vectors = self._key_panel(first, key, at, number, len(counts))
            sums = None if self.scales is None else self.scales.of_panel(at)[1]
            for line, rows in self._row_tiles():
                tile.write(self._query(line), vectors, sums, place.at((line, at)), rows, counts)

        with k.loop(0, whole) as n:
            panel(n * cut.panel, plain)
        if isinstance(left, int) and left:
            counts: list[int | Value] = [
                min(cut.lanes, left - n) for n in range(0, left, cut.lanes)
            ]
            panel(k.index(whole) * cut.panel, counts)
        elif not isinstance(left, int):
            with k.if_(left > 0):
                panel(whole * cut.panel, [left - n * cut.lanes for n in range(cut.cols)])

    def _key_panel(
        self, first: Value, key: Pointer, at: Value, number: Value, vectors: int
    ) -> PanelVectors:
        """The panel of keys that begins `at` behind the first one of the tile, of which `number` exist."""
        k, p, cut, shared = self.k, self.p, self.cut, self.w.shared
        if shared is None:
            source, width = key.at(k.mul(at, p.k.row)), vectors * cut.lanes
            target, last = self.w.packed_keys, number - 1 - at
            if self.scales is None:
                pack_keys(k, source, p.k, p.size, last, target, width, cut)
            else:
                pair = self.scales.of_panel(at)
                quantize_keys(k, source, p.k, p.size, last, target, width, pair, cut)
            return self._packed(self.w.packed_keys, width)
        panel = (first + at) // cut.panel
        base = self.w.all_keys.at(self.head * shared.keys).at(
            panel * (cut.words(p.size) * cut.panel)
        )
        return self._packed(base, cut.panel)

    def _score_tile(self) -> MatmulTile:
        """Register tiles of queries times packed keys."""
        p, cut = self.p, self.cut
        size, steps = p.size, (p.q.row, p.q.column)
        if cut.packs_queries:
            size, steps = cut.group * cut.words(p.size), (cut.group * cut.query_pitch(p), 1)
        form, queries = ProductForm.widening(self.w.dtypes[0]), cut.query_factors
        if cut.group > 1:
            form = ProductForm.packed(queries, cut.factors, adjacent=steps[-1] == 1)
        return MatmulTile(self.k, product(size, steps, queries, cut.factors), cut.lanes, form)

    def _query(self, line: Value) -> Pointer:
        """The query in line number `line` of the block."""
        if self.cut.packs_queries:
            packed = self.w.queries.at(line * self.cut.query_pitch(self.p))
            return packed.as_type(self.cut.query_factors)
        return self.q.at(self.k.mul(self.start + line, self.p.q.row))

    def _values(self, first: Value, value: Pointer, count: int | Value) -> None:
        k, p, cut, shared = self.k, self.p, self.cut, self.w.shared
        powers = self.w.scores.as_type(cut.powers)
        group = 32 // cut.powers.bits
        depth: Extent = count if isinstance(count, int) else p.keys
        run_time = None if isinstance(count, int) else count
        if group > 1:  # behind the last power there are zeros
            depth = -(-count // group) * group if isinstance(count, int) else group
            run_time = None if isinstance(count, int) else ceil_div_value(count, group)
        factors = (cut.powers, f32 if cut.in_place else cut.value_factors)
        tile = MatmulTile(k, product(depth, (group * cut.pitch, 1), *factors), cut.lanes)
        place = self._rescaled() if cut.several else self._final()

        def panel(column: Index, vectors: PanelVectors, columns: int) -> None:
            counts = [min(cut.lanes, columns - n) for n in range(0, columns, cut.lanes)]
            for line, rows in self._row_tiles():
                a = powers.at(line * (group * cut.pitch))
                tile.write(a, vectors, None, place.at((line, column)), rows, counts, run_time)

        for part in k.tiles(p.width, cut.value_panel):
            assert isinstance(part.count, int)
            at = k.index(part.start)
            if cut.in_place:
                source = value.at(k.mul(at, p.v.column))
                vectors = PanelVectors(source, p.v.row, self._in_place)
            elif shared is not None and cut.quantized:
                base = value_tile(k, self.w.all_keys, shared, p, cut, self.head, first)
                vectors = self._packed(base.at(at * shared.rows), cut.value_panel)
            elif shared is not None:
                base = self.w.all_values.at(self.head * shared.values).at(k.mul(at, shared.rows))
                vectors = self._packed(base.at(first_word(first, cut)), cut.value_panel)
            else:
                base = self.w.packed_values.at(at * cut.value_words(cut.keys))
                vectors = self._packed(base, cut.value_panel)
            panel(at, vectors, part.count)

    def _packed(self, base: Pointer, width: int) -> PanelVectors:
        lanes = self.cut.lanes
        return PanelVectors.of_floats(self.k, base.aligned(4 * lanes), width, lanes)

    def _in_place(self, line: Pointer, j: int, count: int | Value) -> Value:
        lanes, step = self.cut.lanes, self.p.v.column
        at = j * lanes * step
        value = self.k.load_strided(line.at(at), step, lanes, count)
        return self.k.cast(self.k.cast(value, self.cut.factors), f32)

    def _row_tiles(self) -> Iterable[tuple[Value, int]]:
        """Register tiles of the block: their first row within it, and how many rows they have."""
        k, p, cut = self.k, self.p, self.cut
        whole, step = p.queries // cut.rows, cut.rows
        low = self.block * cut.tiles
        if whole != 0:
            with k.loop(0, k.min(cut.tiles, k.index(whole) - low)) as number:
                yield number * step, step
        blocks = cut.blocks(p)

        def is_last() -> Value:
            return k.eq(self.block, blocks - 1)

        for tile in k.rest(p.queries, whole * step, step, is_last=is_last, halves=True):
            yield k.index(tile.start) - self.start, tile.size

    # -- where results go ----------------------------------------------------------------------

    def _scales_at(self, first: Value) -> TileScales:
        """Of bytes: the scales of the tile of keys that begins at `first`."""
        k, p, cut, w = self.k, self.p, self.cut, self.w
        if w.shared is not None:
            return shared_scales(k, w.all_keys, w.shared, p, cut, self.head, first)
        values = w.packed_values.at(cut.value_words(cut.keys) * self._columns).as_type(f32)
        sums = w.key_scales.at(cut.pitch).as_type(i32) if cut.factors == i8 else None
        return TileScales(w.key_scales, sums, values)

    def _score_place(self, first: Value) -> Epilogue:
        """Scores of the tile of keys that begins at `first`, as [rows][pitch]."""
        k, p, cut = self.k, self.p, self.cut
        pointers = [
            pointer.at(k.mul(self.start, o.row)).at(k.mul(first, o.column))
            for pointer, o in zip(self.score_pointers, p.score_operands, strict=True)
        ]
        operands, score = _operands(p.score_operands, self.score_dtypes), p.score
        out = Operand(f32, (2, 2), (cut.pitch, 1))
        if self.scales is not None:
            score = _with_scales(score, len(operands))
            operands = [*operands, Operand(f32, (2, 2), (1, 0)), _BY_COLUMN]
            pointers = [*pointers, self.w.query_scales, self.scales.keys]
        if not p.causal:
            return Epilogue(k, score, operands, pointers, out, self.w.scores)
        hider = Hider(self.k, p, self.start, first)
        return Hiding(k, score, operands, pointers, out, self.w.scores, hider)

    def _rescaled(self) -> Epilogue:
        """Results so far, times the factor of their row, plus the new ones."""
        out = Operand(f32, (2, 2), (self._columns, 1))
        factor = Operand(f32, (2, 2), (1, 0))
        operands, pointers = [out, factor], [self.w.results, self.w.state.factor(0)]
        new = E.inp(0)
        if self.scales is not None:
            operands, pointers = [*operands, _BY_COLUMN], [*pointers, self.scales.values]
            new = E.mul(E.cast(E.inp(0), f32), E.inp(3))
        expr = E.add(E.mul(E.inp(1), E.inp(2)), new)
        return Epilogue(self.k, expr, operands, pointers, out, self.w.results)

    def _final(self) -> Epilogue:
        """The output: results times the factor of their row, through the epilogue."""
        k, p = self.k, self.p
        count = len(p.operands)
        inputs = [E.mul(E.inp(0), E.inp(1)), *(E.inp(2 + n) for n in range(count))]
        factor = Operand(f32, (2, 2), (1, 0))
        pointers = [
            pointer.at(k.mul(self.start, o.row))
            for pointer, o in zip(self.result_pointers, p.operands, strict=True)
        ]
        operands = _operands(p.operands, self.result_dtypes)
        if self.scales is not None and not self.cut.several:
            inputs[0] = E.mul(E.mul(E.cast(E.inp(0), f32), E.inp(2 + count)), E.inp(1))
            operands, pointers = [*operands, _BY_COLUMN], [*pointers, self.scales.values]
        expr = E.substitute(p.epilogue, inputs)
        out = Operand(self.w.dtypes[-1], (2, 2), (p.out.row, p.out.column))
        target = self.out.at(k.mul(self.start, p.out.row))
        return Epilogue(
            k, expr, [factor, *operands], [self.w.state.factor(0), *pointers], out, target
        )


_BY_COLUMN = Operand(f32, (2, 2), (0, 1))
"""Scales of columns."""


def _with_scales(score: E.Expr, operands: int) -> E.Expr:
    """The score of a sum of integers, with the scales of query and key behind its other operands."""
    query, key = E.inp(1 + operands), E.inp(2 + operands)
    product = E.mul(E.mul(E.cast(E.inp(0), f32), query), key)
    return E.substitute(score, [product, *(E.inp(1 + n) for n in range(operands))])


def _operands(lies: Sequence[Strided], dtypes: Sequence[DType]) -> list[Operand]:
    """Matrices that begin at a block, as an epilogue takes them."""
    return [
        Operand(dtype, (2, 2), (o.row, o.column)) for o, dtype in zip(lies, dtypes, strict=True)
    ]
