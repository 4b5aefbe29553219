"""Histograms, extremes and channel sums of calibration data in generated code.

Beside the pipeline's kernels: no step of an engine, but what calibration runs over every activation
it watches.  The layout of the bins is the caller's (`quant.calibration.observers`); here it is two numbers.

One pass over memory does everything.  A chunk of some thousand values, which stays in L1, is first
turned into bin numbers by vectors, then counted by scalars, then its rows are added to the channel sums.
What falls into the bin around zero (half of all values behind a ReLU) is never counted: its number is
what the others leave.  Values of one bin come in runs, and an increment that follows one of
the same counter must wait for it, so neighbours count in different tables, summed at the end.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32, f64, i32, i64

_TABLES = 2
_CHUNK = 1024  # values, or one row if that is longer
_MOST = 1 << 30  # values counted before the 32-bit tables are emptied
_UNROLL = 8
_SLACK = 64  # bin numbers that may be written beyond those of a chunk
_COLUMNS = 4  # vectors of channels summed side by side


class Statistics:
    """Counts values into bins of equal width around zero, and sums channels (`quant.calibration.observers.HistogramKernel`).

    Value x is counted at index zero + trunc(x * inverse_width); length = 2 * zero + 1.
    May be used from several threads at once.
    """

    def __init__(self, target: CpuTarget, length: int, zero: int) -> None:
        if length != 2 * zero + 1:
            raise ValueError(f"{length} bins around bin {zero} are not as many on either side")
        self._length = length
        code = CpuCompiler(target).compile(_module(target, length, zero).source()).code
        self._library = link(code, ["histogram", "sums", "both"])
        self._local = threading.local()

    def __call__(
        self,
        values: np.ndarray,
        inverse_width: float,
        counts: np.ndarray | None,
        sums: np.ndarray | None,
    ) -> tuple[float, float]:
        """Extremes of `values` (NaN if one is NaN); (inf, -inf) where counts is None.

        values: float32, contiguous, [..., channels] where sums is given.
        counts: int64 [length], or None.  Left as it is unless all values lie within the bins.
        sums: float64 [channels], or None.
        """
        if values.dtype != np.float32 or not values.flags.c_contiguous:
            raise ValueError(f"values are {values.dtype}, must be a contiguous float32 array")
        symbol = "both" if counts is not None and sums is not None else "histogram"
        symbol = "sums" if counts is None else symbol
        flat, channels = values.reshape(-1), 1 if sums is None else sums.size
        step = max(1, _MOST // channels) * channels
        if flat.size <= step:
            return self._part(symbol, flat, inverse_width, (counts, sums), channels)
        low, high = math.inf, -math.inf
        fresh = None if counts is None else np.zeros_like(counts)  # a later part may not fit
        for start in range(0, flat.size, step):
            part = flat[start : start + step]
            least, most = self._part(symbol, part, inverse_width, (fresh, sums), channels)
            if math.isnan(least):
                return least, most
            low, high = min(low, least), max(high, most)
        if counts is not None and max(-low, high) * inverse_width < self._length // 2 + 1:
            counts += fresh
        return low, high

    def _part(
        self,
        symbol: str,
        part: np.ndarray,
        inverse_width: float,
        into: tuple[np.ndarray | None, np.ndarray | None],
        channels: int,
    ) -> tuple[float, float]:
        chunk = max(1, _CHUNK // channels) * channels
        scratch = self._room(chunk)
        scratch.numbers[:] = chunk, channels
        scratch.result[:] = inverse_width, math.inf, -math.inf, 0.0
        table = pointer_table(
            [part.ctypes.data, *scratch.addresses]
            + [0 if array is None else array.ctypes.data for array in into]
        )
        call(self._library[symbol], table, 0, part.size)
        _, low, high, largest = scratch.result.tolist()
        return (math.nan, math.nan) if math.isnan(largest) else (low, high)

    def _room(self, chunk: int) -> _Scratch:
        """This thread's scratch memory, with room for `chunk` bin numbers."""
        scratch: _Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None or scratch.places.size < chunk + _SLACK:
            scratch = self._local.scratch = _Scratch(self._length, chunk + _SLACK)
        return scratch


class _Scratch:
    """What a thread keeps between calls.

    numbers: values in a chunk, channels.  result: in the inverse width, out the extremes.
    tables: all zero between calls.  places: bin numbers of one chunk.
    """

    def __init__(self, length: int, places: int) -> None:
        self.numbers = np.zeros(2, np.int64)
        self.result = np.zeros(4, np.float32)
        self.tables = np.zeros((_TABLES, length), np.int32)
        self.places = np.empty(places, np.int32)
        arrays = (self.numbers, self.result, self.tables, self.places)
        self.addresses = [a.ctypes.data for a in arrays]


def _module(target: CpuTarget, length: int, zero: int) -> Module:
    """Three phases whose work items are values, all of which one call must take."""
    module = Module(target)
    args = [
        Arg("values", f32, readonly=True, noalias=True),
        Arg("numbers", i64, readonly=True, noalias=True),  # values in a chunk, channels
        Arg("result", f32, noalias=True),  # in: inverse width; out: min, max, largest |x|
        Arg("tables", i32, noalias=True),
        Arg("places", i32, noalias=True),
        Arg("counts", i64, noalias=True),
        Arg("sums", f64, noalias=True),
    ]
    for symbol in ("histogram", "sums", "both"):
        with module.phase(symbol, 1, args) as k:
            counting = _Counting(k, length, zero) if symbol != "sums" else None
            carry = counting.extremes if counting else []
            chunk, channels = k.load(k.args["numbers"]), k.load(k.args["numbers"].at(1))
            with k.loop(0, (k.end + chunk - 1) // chunk, carry=carry) as n:
                start = n * chunk
                stop = k.min(start + chunk, k.end)
                if counting:
                    counting.count(start, stop)
                if symbol != "histogram":
                    _add_rows(k, k.args["values"].at(start), (stop - start) // channels, channels)
            if counting:
                counting.finish()
    return module


class _Counting:
    """Extremes and histogram.

    extremes: vectors of the least and the largest value, and of the bits of the largest |value|, which
    compare like integers with infinity and NaN above all numbers.
    """

    def __init__(self, k: FunctionBuilder, length: int, zero: int) -> None:
        self.k, self.length, self.zero = k, length, zero
        self.lanes = k.target.lanes(f32)
        self.packs = k.target.vector_bits == 512
        self.factor = k.load(k.args["result"])
        self.extremes = [
            k.const(float("inf"), f32, self.lanes),
            k.const(float("-inf"), f32, self.lanes),
            k.const(0, i32, self.lanes),
        ]

    def count(self, start: Value, stop: Value) -> None:
        """Take in values start .. stop - 1."""
        k, lanes = self.k, self.lanes
        values, places = k.args["values"], k.args["places"]
        whole = start + (stop - start) // lanes * lanes
        state = [*self.extremes, k.index(0)]
        with k.loop(start, whole, lanes, carry=state) as i:
            x = k.load(values.at(i), lanes)
            state[:] = self._placed(x, state)
        with k.if_(whole < stop, carry=state):
            real = k.lane_mask(stop - whole, lanes)
            x = k.load(values.at(whole), lanes, real)
            x = k.select(real, x, k.broadcast(values.at(whole), lanes))
            state[:] = self._placed(x, state, real)
        self.extremes[:] = state[:3]
        filled = state[3]
        for n in range(0, _UNROLL, min(lanes, _UNROLL)):
            k.store(k.const(self.zero, i32, min(lanes, _UNROLL)), places.at(filled + n))
        with k.loop(0, filled, _UNROLL) as j:
            for n in range(_UNROLL):
                bin_ = k.cast(k.load(places.at(j + n)), i64)
                counter = k.args["tables"].at(n % _TABLES * self.length).at(bin_)
                k.store(k.load(counter) + 1, counter)

    def _placed(self, x: Value, state: list[Value], real: Value | None = None) -> list[Value]:
        """Extremes with `x`, and the number of bin numbers written so far with those of `x`."""
        k, (low, high, largest, filled) = self.k, state
        bits = k.bitcast(k.abs(x), i32)
        limit = float(self.zero)
        scaled = k.lesser(k.greater(x * self.factor, -limit), limit)
        offset = k.truncate_to_i32(scaled)
        if real is not None:
            offset = k.select(real, offset, 0)
        at = k.args["places"].at(filled)
        if self.packs:
            filled = filled + k.store_packed(offset + self.zero, k.ne(offset, 0), at)
        else:
            k.store(offset + self.zero, at)
            filled = filled + x.lanes
        return [k.lesser(x, low), k.greater(x, high), k.max(bits, largest), filled]

    def finish(self) -> None:
        """Write the extremes; empty the tables, into the counters if everything fell into a bin."""
        k = self.k
        low, high, largest = self.extremes
        amax = k.bitcast(k.reduce(largest, k.max), f32)
        for n, value in enumerate((k.reduce(low, k.lesser), k.reduce(high, k.greater), amax), 1):
            k.store(value, k.args["result"].at(n))
        for n in range(_TABLES):
            k.store(k.const(0, i32), k.args["tables"].at(n * self.length + self.zero))
        fits = amax * self.factor < float(self.zero + 1)
        with k.if_else(fits) as branch:
            with branch.then():
                self._empty_tables(k.args["counts"])
            with branch.otherwise():
                self._empty_tables(None)

    def _empty_tables(self, counts: Pointer | None) -> None:
        k, lanes = self.k, self.k.target.lanes(i64)
        whole = self.length // lanes * lanes
        counted = [k.const(0, i64, lanes)]
        with k.loop(0, whole, lanes, carry=counted) as i:
            counted[0] = counted[0] + self._emptied(counts, i, lanes)
        total = k.reduce(counted[0], k.add)
        for left in range(whole, self.length):
            total = total + self._emptied(counts, k.index(left), 1)
        if counts is not None:
            around_zero = counts.at(self.zero)
            k.store(k.load(around_zero) + (k.end - total), around_zero)

    def _emptied(self, counts: Pointer | None, i: Value, lanes: int) -> Value:
        k = self.k
        total = k.const(0, i64, lanes)
        for n in range(_TABLES):
            table = k.args["tables"].at(n * self.length).at(i)
            total = total + k.cast(k.load(table, lanes), i64)
            k.store(k.const(0, i32, lanes), table)
        if counts is not None:
            k.store(k.load(counts.at(i), lanes) + total, counts.at(i))
        return total


def _add_rows(k: FunctionBuilder, x: Pointer, rows: Value, channels: Value) -> None:
    """sums[c] += x[0, c] + x[1, c] + ..., each sum in the order of the rows."""
    lanes = k.target.lanes(f64)

    def columns(first: Index, width: int, count: int) -> None:
        places = [k.args["sums"].at(first + n * width) for n in range(count)]
        totals = [k.load(p, width) for p in places]
        with k.loop(0, rows, carry=totals) as r:
            row = x.at(r * channels + first)
            for n in range(count):
                totals[n] = totals[n] + k.cast(k.load(row.at(n * width), width), f64)
        for p, total in zip(places, totals, strict=True):
            k.store(total, p)

    done = k.index(0)
    for width, count in ((lanes, _COLUMNS), (lanes, 1), (1, 1)):
        step = width * count
        whole = (channels - done) // step * step
        with k.loop(done, done + whole, step) as first:
            columns(first, width, count)
        done = done + whole
