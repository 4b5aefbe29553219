"""The best scores, the best first, equal ones in the order of their places.

At most `most` of those that pass are looked for by a radix selection: histograms of the keys' upper, middle and lower bits say which key
is the last.  These are then sorted by key, from the lower bits to the upper.  Memory hangs on `most` alone.  Places have 32 bits, which is
16 GiB of scores.
"""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.cpu.lang import Carry, FunctionBuilder, Index, Pointer, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import i32, i64, u32, u64
from camshaft.tensorrt.plugins.native.kernels.scan import Scores, counted, score_of

_BINS = 2048
_DIGITS = ((21, 11), (10, 11), (0, 10))
"""Least bit and number of bits of a key's parts, the upper first."""
_LAST = 0xFFFFFFFF


def ranking_bytes(most: Extent) -> Extent:
    """Scratch memory of a ranking."""
    return 4 * _BINS + 2 * 8 * most


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best of some scores: `count` of them, the best first."""

    k: FunctionBuilder
    sorted: Pointer
    count: Value

    def place(self, rank: Value) -> Value:
        """Which score is the one of that rank, an i64."""
        k = self.k
        return k.cast(k.cast(k.load(self.sorted.at(rank)), u32), i64)


def ranked(scores: Scores, threshold: Value, most: Index, scratch: Pointer) -> Ranking:
    """The best scores that pass, at most `most`.  scratch: `ranking_bytes` of it, aligned."""
    k = scores.k
    bins = scratch.as_type(i32)
    found = scratch.at(4 * _BINS).as_type(u64)
    other = found.at(most)
    last = _last(scores, threshold, k.index(most), bins)
    count = _collected(scores, last, found)
    for source, target, digit in (
        (found, other, _DIGITS[2]),
        (other, found, _DIGITS[1]),
        (found, other, _DIGITS[0]),
    ):
        _sorted(k, source, target, count, digit, bins)
    return Ranking(k, other, count)


def _last(scores: Scores, threshold: Value, most: Value, bins: Pointer) -> Carry:
    """The threshold that leaves out no more than it may, the last key, and how many scores of that key are taken."""
    k = scores.k
    total = [counted(k)]
    _clear(k, bins)

    def count_upper(place: Value, key: Value) -> None:
        _raise(k, bins, _digit(k, key, _DIGITS[0]))
        total[0] = total[0] + 1

    scores.each(threshold, total, count_upper)
    state: Carry = [threshold, k.const(_LAST, u32), counted(k)]
    with k.if_(total[0] > most, state):
        upper, wanted = _bin_of(k, bins, most)
        edge = score_of(k, k.cast((upper << 21) + 0x1FFFFF, u32))
        limit = k.select(edge > threshold, edge, threshold)
        prefix = upper
        for digit in _DIGITS[1:]:
            _count_within(scores, limit, bins, prefix, digit)
            part, wanted = _bin_of(k, bins, wanted)
            prefix = (prefix << digit[1]) + part
        state[:] = [limit, k.cast(prefix, u32), wanted]
    return state


def _count_within(
    scores: Scores, threshold: Value, bins: Pointer, prefix: Value, digit: tuple[int, int]
) -> None:
    """Histogram of a part of those keys whose parts above it are `prefix`."""
    k = scores.k
    _clear(k, bins)

    def count(place: Value, key: Value) -> None:
        above = k.cast(k.shift("lshr", key, sum(digit)), i64)
        with k.if_(k.eq(above, prefix)):
            _raise(k, bins, _digit(k, key, digit))

    scores.each(threshold, [], count)


def _collected(scores: Scores, last: Carry, found: Pointer) -> Value:
    """Keys, and behind them places, of what is taken, in the order of places; how many they are."""
    k = scores.k
    threshold, last_key, equal = last
    carry: Carry = [counted(k), equal]

    def collect(place: Value, key: Value) -> None:
        ties = k.eq(key, last_key)
        with k.if_((key < last_key) | (ties & (carry[1] > 0)), carry):
            word = k.shift("shl", k.cast(key, u64), 32) | k.cast(place, u64)
            k.store(word, found.at(carry[0]))
            carry[0] = carry[0] + 1
            carry[1] = k.select(ties, carry[1] - 1, carry[1])

    scores.each(threshold, carry, collect)
    count: Value = carry[0]
    return count


def _sorted(
    k: FunctionBuilder,
    source: Pointer,
    target: Pointer,
    count: Value,
    digit: tuple[int, int],
    bins: Pointer,
) -> None:
    """Words put into the order of a part of their keys; equal ones keep theirs."""

    def part(word: Value) -> Value:
        return _digit(k, k.cast(k.shift("lshr", word, 32), u32), digit)

    _clear(k, bins)
    with k.loop(0, count) as i:
        _raise(k, bins, part(k.load(source.at(i))))
    before: Carry = [k.const(0, i32)]
    with k.loop(0, _BINS, carry=before) as b:
        here = k.load(bins.at(b))
        k.store(before[0], bins.at(b))
        before[0] = before[0] + here
    with k.loop(0, count) as i:
        word = k.load(source.at(i))
        bin = bins.at(part(word))
        place = k.load(bin)
        k.store(word, target.at(k.cast(place, i64)))
        k.store(place + 1, bin)


def _bin_of(k: FunctionBuilder, bins: Pointer, wanted: Value) -> tuple[Value, Value]:
    """The bin in which the `wanted`-th key is, and the how manieth it is there."""
    carry: Carry = [counted(k), counted(k), wanted]
    with k.loop(0, _BINS, carry=carry) as b:
        below, bin, left = carry
        after = below + k.cast(k.load(bins.at(b)), i64)
        here = (below < wanted) & (after >= wanted)
        carry[:] = [after, k.select(here, b, bin), k.select(here, wanted - below, left)]
    return carry[1], carry[2]


def _clear(k: FunctionBuilder, bins: Pointer) -> None:
    with k.loop(0, _BINS, 16) as b:
        k.store(k.const(0, i32, 16), bins.at(b))


def _raise(k: FunctionBuilder, bins: Pointer, number: Value) -> None:
    bin = bins.at(number)
    k.store(k.load(bin) + 1, bin)


def _digit(k: FunctionBuilder, key: Value, digit: tuple[int, int]) -> Value:
    low, bits = digit
    return k.cast(k.shift("lshr", key, low) & ((1 << bits) - 1), i64)
