"""Rearranging lanes across vectors: transposition and (de)interleaving in registers.

Used where operands of an elementwise kernel are contiguous along different axes.  All shuffles
have patterns that are one or two instructions on every target.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.lang.memory import Count

_BLOCK_BYTES = 16
"""x86 shuffles move elements cheaply inside 16-byte blocks, and whole blocks between them."""


def transposed(k: FunctionBuilder, rows: Sequence[Value]) -> list[Value]:
    """n vectors of n lanes, lanes and vectors exchanged; n is a power of two.

    First inside 16-byte blocks (rounds of perfect shuffles), then blocks as units (rounds that
    gather the even and the odd blocks).
    """
    lanes = len(rows)
    width = max(1, min(lanes, _BLOCK_BYTES // rows[0].dtype.bytes))
    groups = [
        _transposed_inside(k, list(rows[first : first + width]), width)
        for first in range(0, lanes, width)
    ]
    result: list[Value] = []
    columns = [_transposed_blocks(k, [g[c] for g in groups], width) for c in range(width)]
    for block in range(lanes // width):
        result += [column[block] for column in columns]
    return result


def _transposed_inside(k: FunctionBuilder, rows: list[Value], width: int) -> list[Value]:
    lanes = rows[0].lanes
    rounds = width.bit_length() - 1
    low = [
        block + half // 2 + (lanes if half % 2 else 0)
        for block in range(0, lanes, width)
        for half in range(width)
    ]
    high = [n + width // 2 for n in low]
    for _ in range(rounds):
        pairs = [(rows[i], rows[i + width // 2]) for i in range(width // 2)]
        rows = [k.shuffle(a, b, picks) for a, b in pairs for picks in (low, high)]
    return rows


def _transposed_blocks(k: FunctionBuilder, rows: list[Value], width: int) -> list[Value]:
    count = len(rows)
    lanes = rows[0].lanes
    blocks = [list(range(b * width, (b + 1) * width)) for b in range(2 * lanes // width)]
    even = [n for b in blocks[0::2] for n in b]
    odd = [n for b in blocks[1::2] for n in b]
    for _ in range(count.bit_length() - 1):
        pairs = [(rows[i], rows[i + 1]) for i in range(0, count, 2)]
        rows = [k.shuffle(a, b, picks) for picks in (even, odd) for a, b in pairs]
    return rows


def interleaved(k: FunctionBuilder, planes: Sequence[Value]) -> list[Value]:
    """As many vectors whose lanes, read in a row, cycle through the planes."""
    count, lanes = len(planes), planes[0].lanes
    return [
        _picked(k, planes, [(n % count, n // count) for n in range(j * lanes, (j + 1) * lanes)])
        for j in range(count)
    ]


def deinterleaved(k: FunctionBuilder, vectors: Sequence[Value]) -> list[Value]:
    """Inverse of `interleaved`."""
    count, lanes = len(vectors), vectors[0].lanes
    return [
        _picked(k, vectors, [divmod(n * count + plane, lanes) for n in range(lanes)])
        for plane in range(count)
    ]


def _picked(
    k: FunctionBuilder, vectors: Sequence[Value], places: Sequence[tuple[int, int]]
) -> Value:
    """One vector from lanes (vector number, lane) of several."""
    lanes = len(places)
    result = vectors[0]
    done = [lane if which == 0 else -1 for which, lane in places]
    for number in range(1, len(vectors)):
        picks = [
            lanes + lane if which == number else at
            for (which, lane), at in zip(places, done, strict=True)
        ]
        result = k.shuffle(result, vectors[number], picks)
        done = [n if pick >= 0 else -1 for n, pick in enumerate(picks)]
    return result if len(vectors) > 1 else vectors[0]


def existing(j: int, lanes: int, planes: int, count: Count) -> int | Value | None:
    """How many lanes exist of the j-th vector of `count` (None: `lanes`) interleaved groups of
    `planes` elements; None if none does."""
    if isinstance(count, Value):
        return count * planes - j * lanes
    left = lanes if count is None else count * planes - j * lanes
    return min(left, lanes) if left > 0 else None


def interleaved_run(
    k: FunctionBuilder, base: Pointer, planes: int, lanes: int, count: Count
) -> list[Value]:
    """The vectors that hold `count` interleaved groups of `planes` elements; 0 where none exists."""
    vectors = []
    for j in range(planes):
        left = existing(j, lanes, planes, count)
        if left is None:
            vectors.append(k.const(0, base.dtype, lanes))
        else:
            vectors.append(k.load(base.at(j * lanes), lanes, left))
    return vectors


def store_interleaved_run(
    k: FunctionBuilder, vectors: Sequence[Value], base: Pointer, count: Count
) -> None:
    """Inverse of `interleaved_run`."""
    lanes = vectors[0].lanes
    for j, value in enumerate(vectors):
        left = existing(j, lanes, len(vectors), count)
        if left is not None:
            k.store(value, base.at(j * lanes), left)


def rows_of(
    k: FunctionBuilder, base: Pointer, step: Index, first: int, width: int, lanes: int, count: Count
) -> list[Value]:
    """`lanes` rows, `step` apart, of `width` adjacent elements from number `first` on.

    Rows from number `count` on are 0 or, with a run-time count, the last row.
    """
    rows = []
    for t in range(lanes):
        if isinstance(count, Value):
            at = k.mul(k.min(count - 1, t), step) if t else 0
            rows.append(k.load(base.at(at).at(first), lanes, width))
        elif count is None or t < count:
            rows.append(k.load(base.at(step * t + first), lanes, width))
        else:
            rows.append(k.const(0, base.dtype, lanes))
    return rows


def store_rows(
    k: FunctionBuilder,
    rows: Sequence[Value],
    base: Pointer,
    step: Index,
    first: int,
    width: int,
    count: Count,
) -> None:
    """Inverse of `rows_of`; rows from number `count` on are not stored."""
    for t, row in enumerate(rows):
        if isinstance(count, Value):
            with k.if_(count > t):
                k.store(row, base.at(step * t + first), width)
        elif count is None or t < count:
            k.store(row, base.at(step * t + first), width)
