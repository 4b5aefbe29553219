"""What calibration remembers of a tensor: its extremes and a histogram that merges exactly.

The first stage of calibration: the calibrate driver feeds every tensor that needs a range to one
`Observer`; afterwards a solver (`quant.calibration.solvers`) reads the range off it.  Other calibrators let the
first batch fix the bin width, so their ranges depend on batch size and order.  Here a bin's width
is always a power of two, the smallest with which the largest |x| seen so far fits; when a larger
value comes, bins are merged in pairs, which is what binning with the wider bins would have
counted.  An observer's state is therefore a function of the multiset of values alone: batches may
be split, reordered, and observed in several processes and merged, and every bit stays the same.
Where a sample is counted, extremes are still those of all values, and in a merge each counts for as many as it stands for.

Layout of the counts (a generated kernel fills the same, see `HistogramKernel`): LENGTH = 8191
signed 64-bit counters; x is counted at index

    ZERO + trunc(x * inverse_width)          ZERO = 4095, trunc rounds toward zero

so bin ZERO + k holds [k*width, (k+1)*width) for k > 0, bin ZERO - k the mirror image, and bin ZERO
everything in (-width, width).  Multiplying a float32 by a power of two is exact, hence so is the
binning.  64 KiB a tensor, however much data passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from camshaft.errors import CalibrationError

BINS = 4096  # bins on each side of zero; more than half of them are in use on the longer side
ZERO = BINS - 1  # index of the bin around zero
LENGTH = 2 * BINS - 1


class HistogramKernel(Protocol):
    """Counts values: NumPy (`numpy_histogram`), or generated code, with the same results."""

    def __call__(
        self, values: np.ndarray, inverse_width: float, counts: np.ndarray, low: float, high: float
    ) -> None:
        """Count every value at ZERO + trunc(x * inverse_width).

        values: float32, C-contiguous.  counts: int64 [LENGTH], added to.
        low, high: numbers in bins, with all values between them; ValueError if they are in none.
        """
        ...


_LOG2_BINS = 12
# Narrower bins would need an inverse width that float32 cannot hold.  Tensors whose largest value
# is under 2^-114 get coarser bins than the rest.
_SMALLEST_EXPONENT = -126
_CHUNK = 1 << 16


def numpy_histogram(
    values: np.ndarray, inverse_width: float, counts: np.ndarray, low: float, high: float
) -> None:
    """`HistogramKernel` in NumPy: what generated code is tested against."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        index = (flat[start : start + _CHUNK] * np.float32(inverse_width)).astype(np.intp)
        index += ZERO
        counts += np.bincount(index, minlength=LENGTH)


def _exponent_for(amax: float) -> int:
    """Exponent e of the narrowest width 2^e with amax < BINS * 2^e."""
    return max(_SMALLEST_EXPONENT, math.frexp(amax)[1] - _LOG2_BINS) if amax else _SMALLEST_EXPONENT


def _coarsened(counts: np.ndarray, doublings: int) -> np.ndarray:
    """`counts` as if binned with bins 2^doublings times as wide; exact."""
    group = 1 << min(doublings, _LOG2_BINS)
    positive = counts[ZERO:].reshape(-1, group).sum(axis=1)
    negative = counts[ZERO::-1].copy()
    negative[0] = 0  # the bin around zero is already in `positive`
    negative = negative.reshape(-1, group).sum(axis=1)
    result = np.zeros(LENGTH, np.int64)
    result[ZERO : ZERO + positive.size] = positive
    result[ZERO - negative.size + 1 : ZERO + 1] += negative[::-1]
    return result


def _with_end(counts: np.ndarray) -> np.ndarray:
    """The counts, with one at least in the last bin: that of an extreme, which was seen if not counted."""
    counts[-1:] = np.maximum(counts[-1:], 1)
    return counts


class Observer:
    """Extremes, number of values and histogram of one tensor over all calibration data.

    name: the tensor's name, for error messages.
    count: values counted.  weight: how many of the tensor each of them stands for, where a sample was counted.
    minimum, maximum: the extremes of all, exact float32 values as Python floats (+inf and -inf while nothing has been seen).
    """

    __slots__ = ("_counts", "_exponent", "count", "maximum", "minimum", "name", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.weight = 1
        self.count = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self._exponent = _SMALLEST_EXPONENT
        self._counts = np.zeros(LENGTH, np.int64)

    def __repr__(self) -> str:
        return f"Observer({self.name!r}, {self.count} values in [{self.minimum}, {self.maximum}])"

    @property
    def amax(self) -> float:
        """Largest |x| seen; 0 while nothing has been seen."""
        return max(0.0, -self.minimum, self.maximum)

    @property
    def width(self) -> float:
        """Width of a bin, a power of two."""
        return math.ldexp(1.0, self._exponent)

    @property
    def counts(self) -> np.ndarray:
        """The histogram, int64 [LENGTH], laid out as the module says; read-only."""
        view = self._counts.view()
        view.flags.writeable = False
        return view

    # --- filling ----------------------------------------------------------------------------

    def update(self, values: np.ndarray, histogram: HistogramKernel = numpy_histogram) -> None:
        """Count every element of `values` (any shape; real numbers, taken as float32).

        CalibrationError if a value is not finite or the array does not hold numbers; the observer is
        then left as it was.
        """
        values = self._as_float32(values)
        if values.size:
            self.take(float(values.min()), float(values.max()), values, histogram)

    def take(
        self,
        minimum: float,
        maximum: float,
        sample: np.ndarray,
        histogram: HistogramKernel = numpy_histogram,
    ) -> None:
        """Count a sample of values with these extremes; all its elements, float32, contiguous, lie between them.

        CalibrationError if an extreme is not finite; the observer is then left as it was.
        """
        self._extend(minimum, maximum, sample.size)
        histogram(sample, math.ldexp(1.0, -self._exponent), self._counts, minimum, maximum)

    def merge(self, other: Observer) -> None:
        """Take in everything `other` has seen, as often as it stands for; `other` is left as it was."""
        if other.count == 0:
            return
        self._extend(other.minimum, other.maximum, other.count * other.weight)
        self._counts += other.weight * _coarsened(other._counts, self._exponent - other._exponent)

    @staticmethod
    def merged(name: str, parts: Iterable[Observer]) -> Observer:
        """One observer that has seen what all `parts` have."""
        result = Observer(name)
        for part in parts:
            result.merge(part)
        return result

    def _as_float32(self, values: np.ndarray) -> np.ndarray:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise CalibrationError(
                f"tensor {self.name!r}: cannot calibrate on {array.dtype} values, give numbers"
            )
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, reported below
            return np.ascontiguousarray(array, np.float32)

    def _check_finite(self, minimum: float, maximum: float) -> None:
        if not (math.isfinite(minimum) and math.isfinite(maximum)):
            raise CalibrationError(
                f"tensor {self.name!r}: a value is NaN, infinite or beyond float32, or a channel's values add up to more than that "
                f"(extremes {minimum}, {maximum}); remove the calibration input that causes it, "
                "or keep the layers around this tensor out of int8"
            )

    def _extend(self, minimum: float, maximum: float, count: int) -> None:
        """Make room for `count` values with these extremes, and note them."""
        self._check_finite(minimum, maximum)
        self.minimum = min(self.minimum, minimum + 0.0)  # + 0.0 turns -0.0 into 0.0
        self.maximum = max(self.maximum, maximum + 0.0)
        self.count += count
        exponent = _exponent_for(self.amax)
        if exponent > self._exponent:
            self._counts = _coarsened(self._counts, exponent - self._exponent)
            self._exponent = exponent

    # --- reading ----------------------------------------------------------------------------

    def magnitudes(self) -> np.ndarray:
        """Histogram of |x|, int64 [n], bin k counting [k*width, (k+1)*width).

        It ends with the bin that holds the largest value, so 2048 < n <= 4096 (less only for
        tensors that are zero or under 2^-114), and that bin is not empty, also where a sample lacked it.
        """
        counts = self._counts[ZERO:].copy()
        counts[1:] += self._counts[:ZERO][::-1]
        counts = counts[: int(self.amax / self.width) + 1]
        return _with_end(counts) if self.count else counts

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Histograms of the magnitudes of (x < 0, x > 0), int64, each ending with its extreme, which counts once if a sample lacked it.

        Without the bin around zero, which says nothing of a range: entry k counts magnitudes in
        [(k+1)*width, (k+2)*width).
        """
        low, high = (int(max(0.0, m) / self.width) for m in (-self.minimum, self.maximum))
        below = self._counts[ZERO - low : ZERO][::-1].copy()
        return _with_end(below), _with_end(self._counts[ZERO + 1 :][:high].copy())

    def coarse(self, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """A histogram for people: int64 [bins] and edges float64 [bins + 1] over [minimum, maximum].  Values of one fine bin
        count at its middle."""
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        places = np.flatnonzero(self._counts)
        middles = np.clip((places - ZERO) * self.width, low, high)
        counts, edges = np.histogram(
            middles, bins, (low, high or low + 1.0), weights=self._counts[places]
        )
        return counts.astype(np.int64), edges
