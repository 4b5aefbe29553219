"""Keys and values of one head brought into panels that the register tile reads.

Keys [T, H] become [H/g][panel][g] (transposed, a panel of keys at a time), values [T, G] become
[panel][T/g][columns of a panel][g], where a word of 32 bits holds g factors: one f32, or two bf16.  Factors that do
not exist are 0.  A work item packs what it reads, or a first phase packs all of it, which pays where many blocks of
queries read the same.  Operands of another type are converted on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.cpu.attention.plan import Cut, Shared
from camshaft.backends.cpu.attention.problem import AttentionProblem, Strided
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.pointwise.lanes import transposed
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.ir.extents.extent import Extent
from camshaft.ir.strides import Strides


def key_lines(
    k: FunctionBuilder, source: Pointer, lie: Strided, last: Value, first: int, lanes: int
) -> list[Pointer]:
    """`lanes` keys from number `first` behind `source` on; behind key number `last` that one again."""
    numbers = range(first, first + lanes)
    return [source.at(k.mul(k.min(last, n), lie.row) if n else 0) for n in numbers]


def pack_keys(
    k: FunctionBuilder,
    source: Pointer,
    lie: Strided,
    size: int,
    last: Value,
    target: Pointer,
    width: int,
    cut: Cut,
) -> None:
    """`width` keys from `source` on, transposed; behind key number `last` that one again.

    size: elements of a key.  target: words [size/g][width].
    """
    lanes = cut.lanes
    for group in range(0, width, lanes):
        lines = key_lines(k, source, lie, last, group, lanes)
        place = target.at(group)

        def some(
            at: Index, count: int, lines: list[Pointer] = lines, place: Pointer = place
        ) -> None:
            rows = [_words(k, line, lie.column, at, count, cut) for line in lines]
            for n, column in enumerate(transposed(k, rows)[: cut.words(count)]):
                k.store(column, place.at(k.mul(k.index(at), width // cut.group)).at(n * width))

        for tile in k.tiles(size, lanes * cut.group):
            assert isinstance(tile.count, int)
            some(tile.start, tile.count)


def _words(
    k: FunctionBuilder, line: Pointer, step: Extent, at: Index, count: int, cut: Cut
) -> Value:
    """The first `count` elements of a line from number `at` on as words; others are 0."""
    place = line.at(k.mul(k.index(at), step))
    factors = k.cast(k.load_strided(place, step, cut.lanes * cut.group, count), cut.factors)
    return factors if cut.group == 1 else k.bitcast(factors, cut.unit)


def pack_queries(
    k: FunctionBuilder, source: Pointer, p: AttentionProblem, rows: Value, target: Pointer, cut: Cut
) -> None:
    """The first `rows` queries from `source` on as words.  target: words [rows][pitch]."""
    lanes = cut.lanes
    with k.loop(0, rows) as row:
        line = source.at(k.mul(row, p.q.row))
        there = target.at(row * cut.query_pitch(p))
        for word in range(0, cut.words(p.size), lanes):
            at = word * cut.group
            count = min(lanes * cut.group, p.size - at)
            k.store(_words(k, line, p.q.column, at, count, cut), there.at(word))


def pack_values(
    k: FunctionBuilder,
    source: Pointer,
    lie: Strided,
    size: int,
    count: Index,
    target: Pointer,
    pitch: Extent,
    cut: Cut,
) -> None:
    """The first `count` values from `source` on, `size` elements each, in panels.

    target: words [panels][pitch][columns of a panel].
    """

    group = cut.value_group

    def some(word: Value, rows: int) -> None:
        """A word of each column, of which so many factors exist."""
        first = word if group == 1 else k.mul(word, group)
        lines = [source.at(k.mul(k.add(first, n) if n else first, lie.row)) for n in range(rows)]
        there = target.at(k.mul(word, cut.value_panel))
        for at in range(0, -(-size // cut.value_panel) * cut.value_panel, cut.lanes):
            panel, column = at // cut.value_panel, at % cut.value_panel
            parts = [_columns(k, line, lie.column, at, size, cut) for line in lines]
            value = _beside(k, parts, cut)
            k.store(value, there.at(panel * cut.value_panel * pitch).at(column))

    if group == 1:
        with k.loop(0, count) as word:
            some(word, 1)
        return
    whole = count // group
    with k.loop(0, whole) as word:
        some(word, group)
    left = count % group
    if isinstance(left, int):
        if left:
            some(k.index(whole), left)
    else:
        for rows in range(1, group):
            with k.if_(k.eq(left, rows)):
                some(k.index(whole), rows)


def _columns(
    k: FunctionBuilder, line: Pointer, step: Extent, at: int, size: int, cut: Cut
) -> Value:
    """Elements of a value from number `at` on; those that do not exist are 0."""
    if at >= size:
        return k.const(0.0, cut.factors, cut.lanes)
    place = line.at(k.mul(k.index(at), step))
    value = k.load_strided(place, step, cut.lanes, min(cut.lanes, size - at))
    return k.cast(value, cut.factors)


def _beside(k: FunctionBuilder, rows: list[Value], cut: Cut) -> Value:
    """Factors of neighbouring values in words, a word for each column."""
    if cut.group == 1:
        return rows[0]
    rows = rows + [k.const(0.0, cut.factors, cut.lanes)] * (cut.group - len(rows))
    a, b = rows
    turns = [n for lane in range(cut.lanes) for n in (lane, cut.lanes + lane)]
    return k.bitcast(k.shuffle(a, b, turns), cut.unit)


def pack_all(
    k: FunctionBuilder, p: AttentionProblem, cut: Cut, key: Pointer, value: Pointer
) -> None:
    """The first phase, where there is one: a work item packs a panel of keys and the values behind them."""
    shared, space = Shared.of(p, cut), k.args["workspace"].as_type(cut.unit)
    all_values = space.at(shared.heads * shared.keys)
    loops = [d if s != 0 else 1 for d, s in zip(p.lead, shared.lead, strict=True)]
    with row_loop(k, k.begin, k.end, (*loops, shared.pieces)) as position:
        head = head_number(k, shared, position[:-1])
        panel = k.index(position[-1])
        first = panel * cut.panel
        here = moved(k, key, p.k.lead, position[:-1]).at(k.mul(first, p.k.row))
        target = space.at(head * shared.keys).at(panel * (cut.words(p.size) * cut.panel))
        left = k.index(p.keys) - first
        width = 4 * cut.lanes
        pack_keys(k, here, p.k, p.size, left - 1, target.aligned(width), cut.panel, cut)
        rows = moved(k, value, p.v.lead, position[:-1]).at(k.mul(first, p.v.row))
        there = all_values.at(head * shared.values).at(first_word(first, cut))
        count = k.min(left, cut.panel)
        pack_values(k, rows, p.v, p.width, count, there.aligned(width), shared.rows, cut)


def first_word(first: Value, cut: Cut) -> Value:
    """Where the values from number `first` on, a whole number of words, begin in a panel."""
    return first * (cut.value_panel // cut.group)


def head_number(k: FunctionBuilder, shared: Shared, position: Sequence[Index]) -> Value:
    """The number of the packed keys and values at a position of the loops over heads."""
    head = k.index(0)
    for index, stride in zip(position, shared.lead, strict=True):
        head = head + k.mul(k.index(index), stride)
    return head


def moved(
    k: FunctionBuilder, pointer: Pointer, strides: Strides, position: Sequence[Index]
) -> Pointer:
    """A pointer to what belongs to a position of the loops over heads."""
    for index, stride in zip(position, strides, strict=True):
        if stride != 0 and not (isinstance(index, int) and index == 0):
            pointer = pointer.at(k.mul(k.index(index), stride))
    return pointer
