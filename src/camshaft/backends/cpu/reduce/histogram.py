"""Histograms of calibration data in generated code.

Beside the pipeline's kernels: no step of an engine, but what calibration runs over the values that tallies have
sampled.  The layout of the bins is the caller's (`quant.calibration.observers`); here it is two numbers.

A chunk of some thousand values, which stays in L1, is first turned into bin numbers by vectors, then counted by scalars.
What falls into the bin around zero (half of all values behind a ReLU) is not counted: its number is what the others leave.
Values of one bin come in runs, and an increment that follows one of the same counter must wait for it, so
neighbours count in different tables, summed at the end, and the values around zero in spare counters, one for each lane.
"""

from __future__ import annotations

import threading

import numpy as np

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Value
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32, i32, i64

_TABLES = 2
_CHUNK = 1024  # values
_MOST = 1 << 30  # values counted before the 32-bit tables are emptied
_UNROLL = 8
_SLACK = 64  # bin numbers that may be written beyond those of a chunk
_SPARE = 16  # counters of a table that nobody reads


class Histogram:
    """Counts values into bins of equal width around zero (`quant.calibration.observers.HistogramKernel`).

    Value x is counted at index zero + trunc(x * inverse_width); length = 2 * zero + 1.
    May be used from several threads at once.
    """

    def __init__(self, target: CpuTarget, length: int, zero: int) -> None:
        if length != 2 * zero + 1:
            raise ValueError(f"{length} bins around bin {zero} are not as many on either side")
        self._length, self._zero = length, zero
        code = CpuCompiler(target).compile(_module(target, length, zero).source()).code
        self._library = link(code, ["histogram"])
        self._local = threading.local()

    def __call__(
        self, values: np.ndarray, inverse_width: float, counts: np.ndarray, low: float, high: float
    ) -> None:
        """Add `values` to `counts`.

        values: float32, contiguous.  counts: int64 [length].  low, high: numbers in bins, with all values between them.
        """
        if values.dtype != np.float32 or not values.flags.c_contiguous:
            raise ValueError(f"values are {values.dtype}, must be a contiguous float32 array")
        first, last = (int(x * inverse_width) for x in (min(low, 0.0), max(high, 0.0)))
        if first < -self._zero or last > self._zero:
            raise ValueError(f"{low} to {high} is more than bins of width 1/{inverse_width} hold")
        scratch = self._room()
        scratch.factor[0] = inverse_width
        scratch.used[:] = self._zero + first, self._zero + last + 1
        flat = values.reshape(-1)
        for start in range(0, flat.size, _MOST):
            part = flat[start : start + _MOST]
            scratch.table[0], scratch.table[-1] = _address(part), _address(counts)
            call(self._library["histogram"], scratch.table, 0, part.size)

    def _room(self) -> _Scratch:
        """This thread's scratch memory."""
        scratch: _Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = _Scratch(self._length)
        return scratch


class _Scratch:
    """What a thread keeps between calls.

    used: the bins that values may fall into, from .. to.  factor: the inverse width.
    tables: all zero between calls, but for the spare counters.  places: bin numbers of one chunk.
    table: of pointers, the first and the last of which are those of a call.
    """

    def __init__(self, length: int) -> None:
        self.used = np.zeros(2, np.int64)
        self.factor = np.zeros(1, np.float32)
        self.tables = np.zeros((_TABLES, length + _SPARE), np.int32)
        self.places = np.empty(_CHUNK + _SLACK, np.int32)
        arrays: tuple[np.ndarray, ...] = (self.used, self.factor, self.tables, self.places)
        self.table = pointer_table([0, *(_address(a) for a in arrays), 0])


def _address(array: np.ndarray) -> int:
    """Where an array lies; quicker than `array.ctypes.data`."""
    address: int = array.__array_interface__["data"][0]
    return address


def _module(target: CpuTarget, length: int, zero: int) -> Module:
    """One phase whose work items are values, all of which one call must take."""
    module = Module(target)
    args = [
        Arg("values", f32, readonly=True, noalias=True),
        Arg("used", i64, readonly=True, noalias=True),
        Arg("factor", f32, readonly=True, noalias=True),
        Arg("tables", i32, noalias=True),
        Arg("places", i32, noalias=True),
        Arg("counts", i64, noalias=True),
    ]
    with module.phase("histogram", 1, args) as k:
        counting = _Counting(k, length, zero)
        with k.loop(0, (k.end + (_CHUNK - 1)) // _CHUNK) as n:
            start = n * _CHUNK
            counting.count(start, k.min(start + _CHUNK, k.end))
        counting.finish()
    return module


class _Counting:
    """Bin numbers, and their counts."""

    def __init__(self, k: FunctionBuilder, length: int, zero: int) -> None:
        self.k, self.length, self.zero = k, length, zero
        self.lanes = k.target.lanes(f32)
        self.packs = k.target.vector_bits == 512
        self.factor = k.load(k.args["factor"])
        self.spare = k.const_vector([length + n % _SPARE for n in range(self.lanes)], i32)

    def count(self, start: Value, stop: Value) -> None:
        """Take in values start .. stop - 1."""
        k, lanes = self.k, self.lanes
        values, places = k.args["values"], k.args["places"]
        whole = start + (stop - start) // lanes * lanes
        filled = [k.index(0)]
        with k.loop(start, whole, lanes, carry=filled) as i:
            filled[0] = self._placed(k.load(values.at(i), lanes), filled[0])
        with k.if_(whole < stop, carry=filled):
            x = k.load(values.at(whole), lanes, stop - whole)
            filled[0] = self._placed(x, filled[0])
        spare = k.const_vector([self.length + n for n in range(_UNROLL)], i32)
        k.store(spare, places.at(filled[0]))
        with k.loop(0, filled[0], _UNROLL) as j:
            for n in range(_UNROLL):
                bin_ = k.cast(k.load(places.at(j + n)), i64)
                table = k.args["tables"].at(n % _TABLES * (self.length + _SPARE))
                counter = table.at(bin_)
                k.store(k.load(counter) + 1, counter)

    def _placed(self, x: Value, filled: Value) -> Value:
        """Write bin numbers of `x`; how many there are so far.  Lanes of 0 stand for no value, too."""
        k, at = self.k, self.k.args["places"].at(filled)
        limit = float(self.zero)
        offset = k.truncate_to_i32(k.lesser(k.greater(x * self.factor, -limit), limit))
        off_zero = k.ne(offset, 0)
        if self.packs:
            return filled + k.store_packed(offset + self.zero, off_zero, at)
        k.store(k.select(off_zero, offset + self.zero, self.spare), at)
        return filled + x.lanes

    def finish(self) -> None:
        """Empty the tables into the counters, of the bins that are used."""
        k, lanes = self.k, self.k.target.lanes(i64)
        first, last = (k.load(k.args["used"].at(n)) for n in range(2))
        whole = first + (last - first) // lanes * lanes
        counted = [k.const(0, i64, lanes)]
        with k.loop(first, whole, lanes, carry=counted) as i:
            counted[0] = counted[0] + self._emptied(i, lanes)
        total = [k.reduce(counted[0], k.add)]
        with k.loop(whole, last, carry=total) as i:
            total[0] = total[0] + self._emptied(i, 1)
        around_zero = k.args["counts"].at(self.zero)
        k.store(k.load(around_zero) + (k.end - total[0]), around_zero)

    def _emptied(self, i: Value, lanes: int) -> Value:
        k, counts = self.k, self.k.args["counts"].at(i)
        total = k.const(0, i64, lanes)
        for n in range(_TABLES):
            table = k.args["tables"].at(n * (self.length + _SPARE)).at(i)
            total = total + k.cast(k.load(table, lanes), i64)
            k.store(k.const(0, i32, lanes), table)
        k.store(k.load(counts, lanes) + total, counts)
        return total
