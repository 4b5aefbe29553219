"""Scores that pass a threshold, in order, and keys of 32 bits that put them into the order of ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camshaft.backends.cpu.lang import Carry, FunctionBuilder, Index, Pointer, Value
from camshaft.ir.types import f32, i32, i64, u8, u16, u32

_MAGNITUDE = 0x7FFFFFFF
_WIDE = 512


def lanes_of(k: FunctionBuilder) -> int:
    """Floats that are compared at once."""
    return 16 if k.target.vector_bits >= _WIDE else 8


def any_of(k: FunctionBuilder, mask: Value) -> Value:
    """Whether any of 8 or 16 bool lanes is true."""
    return k.ne(k.bitcast(mask, u16 if mask.lanes == 16 else u8, 1), 0)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores that stand one behind the other.

    first: of them.  count: how many.
    excludes: place -> whether a score does not pass whatever it is; None: none.
    """

    k: FunctionBuilder
    first: Pointer
    count: Index
    excludes: Callable[[Value], Value] | None = None

    def each(self, threshold: Value, carry: Carry, do: Callable[[Value, Value], None]) -> None:
        """Write do(place, key) for each score from the threshold on, in the order of places.  carry: what it changes."""
        k, lanes = self.k, lanes_of(self.k)
        whole = k.index(self.count) // lanes * lanes
        with k.loop(0, whole, lanes, carry) as block:
            some = any_of(k, k.load(self.first.at(block), lanes) >= threshold)
            with k.if_(some, carry), k.loop(0, lanes, carry=carry) as lane:
                self._one(block + lane, threshold, carry, do)
        with k.loop(whole, self.count, carry=carry) as place:
            self._one(place, threshold, carry, do)

    def _one(
        self, place: Value, threshold: Value, carry: Carry, do: Callable[[Value, Value], None]
    ) -> None:
        k = self.k
        score = k.load(self.first.at(place))
        passes = score >= threshold
        if self.excludes is not None:
            passes = passes & k.not_(self.excludes(place))
        with k.if_(passes, carry):
            do(place, key_of(k, score))


def just_above(threshold: float) -> float:
    """The least float32 above a threshold: those from it on are the ones that are above."""
    limit = np.float32(threshold)
    return float(np.nextafter(limit, np.float32(np.inf))) if limit < np.inf else np.nan


def key_of(k: FunctionBuilder, score: Value) -> Value:
    """A u32 that is the less the greater the score is; -0 is 0."""
    bits = k.bitcast(score + 0.0, i32)
    flipped = k.select(bits < 0, bits, bits ^ _MAGNITUDE)
    return k.bitcast(flipped, u32)


def score_of(k: FunctionBuilder, key: Value) -> Value:
    """Inverse of `key_of`."""
    bits = k.bitcast(key, i32)
    return k.bitcast(k.select(bits < 0, bits, bits ^ _MAGNITUDE), f32)


def counted(k: FunctionBuilder, number: int = 0) -> Value:
    """A counter's beginning."""
    return k.const(number, i64)
