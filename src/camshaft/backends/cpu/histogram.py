"""Histograms of calibration data in generated code (design decision 14).

Beside the pipeline's kernels: no step of an engine, but what calibration runs over every activation
it watches.  The layout of the bins is the caller's (`quant.observers`); here it is two numbers.

Values of one bin come in runs (the zeros of a ReLU), and an increment that follows one of the same
counter must wait for it.  So neighbouring lanes count in different tables, which are summed at the end.
"""

from __future__ import annotations

import numpy as np

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, Module
from camshaft.backends.cpu.lang.module import Kernel
from camshaft.backends.cpu.lang.values import Value
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32, i32, i64

_TABLES = 2  # measured with 1, 2, 4 and 8: more cost cache than they gain
_MOST = 1 << 30  # values counted before the 32-bit tables are emptied


class Histogram:
    """Counts values into bins of equal width around zero.

    Value x is counted at index zero + trunc(x * inverse_width).
    length: number of bins.  zero: index of the bin around zero.
    """

    def __init__(self, target: CpuTarget, length: int, zero: int) -> None:
        self.length = length
        code = CpuCompiler(target).compile(_module(target, length, zero).source()).code
        self._library = link(code, ["histogram"])

    def __call__(self, values: np.ndarray, inverse_width: float) -> np.ndarray:
        """The counts, int64 [length].

        values: float32 [n], contiguous, finite, and such that every index lies within the
        bins: the kernel does not look.
        """
        if values.dtype != np.float32 or values.ndim != 1 or not values.flags.c_contiguous:
            raise ValueError(f"values are {values.dtype}, must be a contiguous float32 vector")
        total = np.zeros(self.length, np.int64)
        factor = np.array([inverse_width], np.float32)
        for start in range(0, values.size, _MOST):
            part = values[start : start + _MOST]
            tables = np.zeros((_TABLES, self.length), np.int32)
            pointers = [part.ctypes.data, factor.ctypes.data, tables.ctypes.data]
            call(self._library["histogram"], pointer_table(pointers), 0, part.size)
            total += tables.sum(axis=0, dtype=np.int64)
        return total


def _module(target: CpuTarget, length: int, zero: int) -> Module:
    """One phase whose work items are values; args: values, inverse width, tables."""
    lanes = target.lanes(f32)
    module = Module(target)
    args = [
        Arg("values", f32, readonly=True, noalias=True),
        Arg("factor", f32, readonly=True, noalias=True),
        Arg("tables", i32, noalias=True),
    ]
    with module.phase("histogram", 1, args) as k:
        whole = k.begin + (k.end - k.begin) // lanes * lanes
        for low, high, width in ((k.begin, whole, lanes), (whole, k.end, 1)):
            factor = k.broadcast(k.args["factor"], width)
            with k.loop(low, high, width) as i:
                index = _bins(k, k.load(k.args["values"].at(i), width) * factor, zero)
                for lane in range(width):
                    bin_ = k.extract(index, lane) if width > 1 else index
                    table = k.args["tables"].at(lane % _TABLES * length)
                    place = table.at(k.cast(bin_, i64))
                    k.store(k.load(place) + 1, place)
    return module


def _bins(k: Kernel, scaled: Value, zero: int) -> Value:
    """zero + trunc(scaled), i32 lanes."""
    truncated = k.copysign(k.floor(k.abs(scaled)), scaled)
    return k.round_to_i32(truncated) + zero
