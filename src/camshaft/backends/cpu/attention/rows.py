"""Softmax of the scores of a block of queries, in scratch memory.

Scores become powers of e, relative to the largest score of the row; what the results have to be
multiplied by comes from their sum.  Where keys come in several tiles, maximum and sum so far are kept
and earlier results are rescaled (Milakov and Gimelshein 2018; Dao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.attention.plan import POWER_LEVELS, Cut
from camshaft.backends.cpu.expr import math
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Index, Module, Pointer, Scalar, Value
from camshaft.ir.types import DType, f32, i16, i32

LOWEST = -f32.largest
"""What a maximum starts from: subtracting it from minus infinity still gives minus infinity."""
_SIDE = 4
_MAGIC = 1.5 * 2**23


@dataclass(frozen=True)
class RowState:
    """Numbers of each row of a block: [3][block], its maximum, its sum, the factor of its results."""

    base: Pointer
    block: int

    def maximum(self, row: Index) -> Pointer:
        """The largest score so far."""
        return self.base.at(row)

    def total(self, row: Index) -> Pointer:
        """The sum of powers so far."""
        return self.base.at(self.block).at(row)

    def factor(self, row: Index) -> Pointer:
        """By what earlier results are multiplied; at the end 1 / sum."""
        return self.base.at(2 * self.block).at(row)


SYMBOL = "attention.rows"


def add_rows(m: Module, cut: Cut, known: int | None, *, zero_hidden: bool) -> None:
    """Add the function: (scores [block][pitch], state, number of keys, number of rows).

    known: the number of keys, where it is always the same.  Powers take the places of the scores, from the
    beginning of each row on, in the type that the product with the values takes; behind the last one are zeros
    up to the next whole vector of scores.
    """
    several, pitch = cut.several, cut.pitch
    params = [Arg("scores", f32, align=64), Arg("state", f32, align=64)]
    with m.function(SYMBOL, [*params, Scalar("keys"), Scalar("rows")]) as k:
        state = RowState(k.args["state"], cut.block)
        keys = k.scalars["keys"] if known is None else known
        rows, scores, lanes = k.scalars["rows"], k.args["scores"], k.target.lanes(f32)

        def line_of(row: Value) -> Pointer:
            return scores.at(row * pitch).aligned(32 if pitch % 8 == 0 else 4)

        # Rows one after another in two loops: a row's powers wait for its maximum, but not for the next one's.
        with k.loop(0, rows) as row:
            largest = _largest(k, line_of(row), keys)
            if several:
                before = k.load(state.maximum(row))
                largest = k.greater(largest, before)
                shift = k.splat(before - largest, lanes)
                k.store(k.extract(math.shares(k, [shift])[0], 0), state.factor(row))
            k.store(largest, state.maximum(row))
        with k.loop(0, rows) as row:
            total = _powers(k, line_of(row), keys, k.load(state.maximum(row)), cut.powers)
            if several:
                factor = k.load(state.factor(row))
                k.store(k.fma(k.load(state.total(row)), factor, total), state.total(row))
            else:
                k.store(share_of(k, total, zero_hidden), state.factor(row))


def share_of(k: FunctionBuilder, total: Value, zero_hidden: bool) -> Value:
    """1 / sum; of a row without scores infinity, by which 0 becomes NaN, or 0."""
    inverse = 1.0 / total
    return k.select(k.eq(total, 0.0), 0.0, inverse) if zero_hidden else inverse


def _largest(k: FunctionBuilder, line: Pointer, keys: Value | int) -> Value:
    lanes = k.target.lanes(f32)
    highs = [k.const(LOWEST, f32, lanes) for _ in range(_SIDE)]

    def visit(at: Index, values: Sequence[Value]) -> None:
        for n, value in enumerate(values):
            highs[n] = k.greater(value, highs[n])

    _visit(k, line, keys, visit, highs)
    return k.reduce(k.fold(highs, k.greater), k.greater)


def _powers(
    k: FunctionBuilder, line: Pointer, keys: Value | int, largest: Value, dtype: DType
) -> Value:
    """The sum of what scores become; lanes behind the last key become 0.

    Integers are 4095ths, of whose sum the factor of a row is made.  Powers that are rounded to `dtype` are summed as they are then, so that the weights of a row add up to 1.
    """
    lanes, stored = k.target.lanes(f32), line.as_type(dtype)
    sums = [k.const(0.0, f32, lanes) for _ in range(_SIDE)]

    def visit(at: Index, values: Sequence[Value]) -> None:
        powers = math.shares(k, [value - largest for value in values])
        for n, power in enumerate(powers):
            rounded = k.cast(power, dtype)
            sums[n] = sums[n] + k.cast(rounded, f32)
            k.store(rounded, stored.at(at).at(n * lanes))

    def visit_integers(at: Index, values: Sequence[Value]) -> None:
        """Powers times 4095, rounded half to even in the lowest bits of a float; NaN stays in the sum."""
        powers = math.shares(k, [value - largest for value in values])
        shifted = [
            k.fma(power, float(POWER_LEVELS), k.const(_MAGIC, f32, lanes)) for power in powers
        ]
        for n, value in enumerate(shifted):
            sums[n] = sums[n] + (value - _MAGIC)
        whole = [k.bitcast(value, i32) & 0xFFFF for value in shifted]
        if len(whole) == _SIDE:
            pairs = [k.concat(a, b) for a, b in zip(whole[::2], whole[1::2], strict=True)]
            whole = [k.concat(*pairs)]
        for n, value in enumerate(whole):
            k.store(k.cast(value, i16), stored.at(at).at(n * lanes))

    _visit(k, line, keys, visit_integers if dtype == i16 else visit, sums)
    return k.reduce(k.fold(sums, k.add), k.add)


def _visit(
    k: FunctionBuilder,
    line: Pointer,
    keys: Value | int,
    visit: Callable[[Index, Sequence[Value]], None],
    carry: list[Value],
) -> None:
    """Every vector of a row, four at a time as far as possible; lanes behind the last key are minus infinity."""
    lanes = k.target.lanes(f32)
    wide = keys // (_SIDE * lanes)
    with k.loop(0, wide, carry=carry) as step:
        at = step * (_SIDE * lanes)
        visit(at, [k.load(line.at(at).at(n * lanes), lanes) for n in range(_SIDE)])
    if isinstance(keys, int):
        start = keys // (_SIDE * lanes) * _SIDE * lanes
        rest = [k.load(line.at(at), lanes) for at in range(start, keys, lanes)]
        if keys % lanes:
            rest[-1] = k.select(k.lane_mask(keys % lanes, lanes), rest[-1], float("-inf"))
        if rest:
            visit(start, rest)
        return
    with k.loop(wide * _SIDE, keys // lanes, carry=carry) as step:
        at = step * lanes
        visit(at, [k.load(line.at(at), lanes)])
    left = keys % lanes
    with k.if_(left > 0, carry=carry):
        at = keys - left
        value = k.load(line.at(at), lanes)
        visit(at, [k.select(k.lane_mask(left, lanes), value, float("-inf"))])
