"""Ranges from histograms: the calibrators MinMax, Entropy, Entropy2, Percentile and MSE.

The second stage of calibration: a solver turns what an `Observer` saw of a tensor into the range
that INT8 shall represent; `quant.scheme` turns the range into scale and zero point.  Every solver
answers two questions:

amax: the threshold T of symmetric quantization, |x| <= T represented with 127 levels each side.
affine: the interval [low, high], low <= 0 <= high, that all 256 levels of a u8 with a zero point
    shall cover.  After a ReLU that halves the step; after a swish (never under -0.28), or where
    the two tails differ, it wastes nothing on values that do not occur.

Ranges are exact float32 values and never reach beyond the extremes seen.  A tensor that was zero
throughout has range 0, from which `quant.scheme` makes scale 1.

Entropy and Entropy2 are the same mathematics.  TensorRT documents that they differ in what is
observed: Entropy2 the tensors before fusion, Entropy those after it, which is fewer.  Here they
agree: what gets a range is what a convolution, an average pool or an elementwise node between convolutions
reads, fusion swallows only what lies within a kernel, and a tensor that survives has the values it had before
(a test compares the ranges).

Which to choose: MinMax never clips, so one outlier coarsens everything.  Percentile clips a fixed
share.  MSE weighs clipping against rounding.  Entropy keeps the shape of the distribution and
clips long tails hard.  Measured as signal to noise of the logits, everything else as it is by
default: EfficientNet-lite0 MSE 25.0 dB, Percentile (99.999) 25.0, MinMax 24.4, Entropy2 15.4 (it clips
the late, sparse layers); SqueezeNet MSE 35.6, MinMax 34.5, Entropy2 34.4, Percentile 33.9.
docs/adr/0004-accuracy-of-int8.md has the whole table and what follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np

from camshaft.errors import CalibrationError
from camshaft.quant.calibration.observers import ZERO, Observer

LEVELS = 128  # of |x| in symmetric int8; an affine u8 has twice as many
_BLOCK = 256  # candidates evaluated at a time, so that temporaries stay in cache
# Divergences closer than this (nats) are equal: they are sums of thousands of rounded terms.
_EQUAL_DIVERGENCE = 1e-9


class Solver(Protocol):
    """Chooses ranges.  name: as in BuildConfig.calibrator."""

    @property
    def name(self) -> str: ...

    def amax(self, seen: Observer) -> float:
        """Threshold of symmetric quantization; CalibrationError if nothing was observed."""
        ...

    def affine(self, seen: Observer) -> tuple[float, float]:
        """Interval for quantization with a zero point; CalibrationError if nothing was observed."""
        ...


# --- measures over many candidate ranges at once ----------------------------------------------


def divergences(bins: np.ndarray, starts: np.ndarray, stops: np.ndarray, levels: int) -> np.ndarray:
    """KL(P || Q) in nats for each window bins[start:stop] of a histogram.

    P is the window with everything outside added to its end bins.  Q is the window without that,
    merged into `levels` levels (bin j belongs to level floor(j * levels / size)), each spread
    evenly over its bins that are not empty.  Both are normalised.  Infinite where values outside
    fall on an empty end bin.

    bins: counts [n].  starts, stops: int [m], at least two bins apart.  Returns float64 [m].
    Source: S. Migacz, 8-bit inference with TensorRT, GTC 2017.
    """
    sums = _Sums(_prefix(bins), _prefix(bins > 0), _prefix(_x_log_x(bins)))
    result = np.empty(len(starts))
    for i in range(0, len(starts), _BLOCK):
        block = slice(i, i + _BLOCK)
        result[block] = _divergence_block(bins, sums, starts[block], stops[block], levels)
    return result


class _Sums(NamedTuple):
    """Sums over the first 0 .. n bins: of counts c, of bins that are not empty, of c ln c."""

    mass: np.ndarray
    occupied: np.ndarray
    entropy: np.ndarray


def _divergence_block(
    bins: np.ndarray, sums: _Sums, starts: np.ndarray, stops: np.ndarray, levels: int
) -> np.ndarray:
    # KL = sum P/T ln(P/T) - sum P/T ln(Q/S).  Both sums come from prefix sums: P is `bins` but
    # for two bins, and Q is constant over the bins of one level that are not empty.
    mass, total = sums.mass, sums.mass[-1]
    first, last = bins[starts], bins[stops - 1]
    below, above = mass[starts], total - mass[stops]
    inside = mass[stops] - mass[starts]
    p_log_p = sums.entropy[stops] - sums.entropy[starts]
    p_log_p += _x_log_x(first + below) - _x_log_x(first) + _x_log_x(last + above) - _x_log_x(last)

    bounds = np.arange(levels + 1) * (stops - starts)[:, None]
    bounds = (bounds + (levels - 1)) // levels + starts[:, None]
    level_mass = np.diff(mass[bounds], axis=1)
    level_bins = np.diff(sums.occupied[bounds], axis=1)
    log_q = np.log(np.maximum(level_mass, 1) / np.maximum(level_bins, 1))
    p_log_q = np.einsum("ij,ij->i", level_mass, log_q)
    p_log_q += below * log_q[:, 0] + above * log_q[:, -1]

    result = (p_log_p - p_log_q) / total - np.log(total) + np.log(np.maximum(inside, 1))
    impossible = ((below > 0) & (first == 0)) | ((above > 0) & (last == 0)) | (inside == 0)
    return np.where(impossible, np.inf, result)


def squared_errors(
    bins: np.ndarray, origin: int, scales: np.ndarray, zeros: np.ndarray, top: int
) -> np.ndarray:
    """Sum over a histogram of (x - dequantize(quantize(x)))^2 for each scale and zero point.

    Bin t stands for its centre, t - origin + 1/2 bin widths; q = 0..top, x = (q - zero) * scale.

    bins: counts [n].  scales (in bin widths), zeros: [m].  Returns float64 [m], squared widths.
    """
    # With v_q the value of level q and b_q the first bin beyond the border between q and q+1,
    # error = sum x^2 - 2 sum_q v_q sum_q(x) + sum_q v_q^2 sum_q(1); summed by parts, so that only
    # the prefix sums at the borders are needed.
    centres2 = 2 * (np.arange(len(bins)) - origin) + 1  # twice the centres: integers, so exact
    ones = _prefix(bins)
    firsts = _prefix(bins * centres2) / 2
    second = float(bins @ (0.5 * centres2) ** 2)
    q = np.arange(top)
    result = np.empty(len(scales))
    for i in range(0, len(scales), _BLOCK):
        scale, zero = scales[i : i + _BLOCK, None], zeros[i : i + _BLOCK, None]
        borders = np.ceil((q - zero + 0.5) * scale + (origin - 0.5))
        index = np.clip(borders, 0, len(bins)).astype(np.intp)
        v_top, step = (top - zero[:, 0]) * scale[:, 0], scale[:, 0]
        vx = v_top * firsts[-1] - step * firsts[index].sum(axis=1)
        weights = 2 * (q - zero) + 1
        vv = v_top**2 * ones[-1] - step**2 * np.einsum("ij,ij->i", weights, ones[index])
        result[i : i + _BLOCK] = second - 2 * vx + vv
    return result


def _prefix(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, .., n values."""
    kind = np.float64 if values.dtype.kind == "f" else np.int64
    return np.concatenate([np.zeros(1, kind), np.cumsum(values, dtype=kind)])


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * np.log(np.maximum(x, 1)))


# --- the histogram as a line through zero -----------------------------------------------------


class _Line(NamedTuple):
    """Signed histogram with equal bins: bin t covers [t - origin, t - origin + 1) * width."""

    bins: np.ndarray
    origin: int

    @property
    def below(self) -> int:
        """Bins under zero."""
        return self.origin

    @property
    def above(self) -> int:
        """Bins over zero."""
        return len(self.bins) - self.origin


def _line(seen: Observer, zero_is_noise: bool) -> _Line:
    """The line of `seen`, without a side on which nothing lies.

    The bin around zero becomes a bin on each side.  With `zero_is_noise` they get the count of
    their neighbour, since the zeros a ReLU makes say nothing of the distribution; otherwise one of
    them gets all that was counted.
    """
    negative, positive = seen.sides()
    zeros = seen.counts[ZERO]
    left = negative[:1] if zero_is_noise else negative[:1] * 0
    right = positive[:1] if zero_is_noise else positive[:1] * 0
    if not zero_is_noise:
        (right if right.size else left)[:] = zeros
    return _Line(np.concatenate([negative[::-1], left, right, positive]), negative.size + left.size)


def _interval(seen: Observer, below: float, above: float) -> tuple[float, float]:
    """[-below, above] in bins, as numbers within the extremes seen."""
    low, high = _extremes(seen)
    return max(low, -below * seen.width), min(high, above * seen.width)


def _extremes(seen: Observer) -> tuple[float, float]:
    return min(seen.minimum, 0.0), max(seen.maximum, 0.0)


def _require_data(seen: Observer) -> None:
    if seen.count == 0:
        raise CalibrationError(
            f"tensor {seen.name!r}: calibration saw no value of it; give at least one batch, "
            "or set its dynamic range by hand"
        )


def _zoom(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray], line: _Line, smallest: int
) -> tuple[int, int]:
    """Bins (below, above) zero with the least score: a grid search that narrows around the best.

    At least `smallest` bins together and 1/32 of each side.  Of equal scores the widest wins.
    """
    spans = np.array([line.below, line.above])
    floor = -(-spans // 32)
    low, high = floor.astype(float), spans.astype(float)
    points = 17 if spans.all() else 65
    while True:
        sides = [np.unique(np.rint(np.linspace(low[s], high[s], points))) for s in (0, 1)]
        below, above = (grid.ravel().astype(np.intp) for grid in np.meshgrid(*sides))
        wide = below + above >= smallest
        below, above = below[wide], above[wide]
        scores = score(below, above)
        equal = np.flatnonzero(scores == scores.min())
        best = equal[np.argmax((below + above)[equal])]
        step = (high - low) / (points - 1)
        if step.max() <= 1:
            return int(below[best]), int(above[best])
        centre = np.array([below[best], above[best]])
        low, high = np.maximum(floor, centre - step), np.minimum(spans, centre + step)


# --- the solvers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class MinMax:
    """The largest value seen; nothing is clipped.  For transformers and text."""

    name: str = "minmax"

    def amax(self, seen: Observer) -> float:
        _require_data(seen)
        return seen.amax

    def affine(self, seen: Observer) -> tuple[float, float]:
        _require_data(seen)
        return _extremes(seen)


@dataclass(frozen=True)
class Percentile:
    """The narrowest range that clips at most the largest 100 - percentile % of |x|."""

    percentile: float = 99.999
    name: str = "percentile"

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise CalibrationError(f"percentile is {self.percentile}, must be in (0, 100]")

    def amax(self, seen: Observer) -> float:
        _require_data(seen)
        kept = math.ceil(Fraction(str(self.percentile)) * seen.count / 100)
        bins = int(np.searchsorted(np.cumsum(seen.magnitudes()), kept)) + 1
        return min(bins * seen.width, seen.amax)

    def affine(self, seen: Observer) -> tuple[float, float]:
        amax = self.amax(seen)
        low, high = _extremes(seen)
        return max(low, -amax), min(high, amax)


@dataclass(frozen=True)
class Entropy:
    """The range whose quantized distribution diverges least (KL) from the one observed.

    amax follows the published algorithm step by step: the histogram of |x|, with the count of bin
    0 replaced by that of bin 1; candidates are the first i bins, i = 128 .. n; of equal ones the
    largest wins.  affine does the same with 256 levels: literally for a tensor of one sign; for
    one of both signs it starts from amax and searches the upper, then the lower end.
    A candidate that would clip values onto an empty bin is never taken (its divergence is
    infinite), so values that lie far outside alone are not clipped; Percentile and MSE clip them.
    """

    name: str = "entropy"

    def amax(self, seen: Observer) -> float:
        _require_data(seen)
        return min(self._symmetric(seen) * seen.width, seen.amax)

    def affine(self, seen: Observer) -> tuple[float, float]:
        _require_data(seen)
        line = _line(seen, zero_is_noise=True)
        if line.bins.size <= 2 * LEVELS:
            return _extremes(seen)
        if not (line.below and line.above):
            bins = line.bins if line.above else line.bins[::-1]
            size = _last_end(bins, 0, 2 * LEVELS, 2 * LEVELS)
            return _interval(seen, size if line.below else 0, size if line.above else 0)
        size = self._symmetric(seen)
        below, above = min(size, line.below), min(size, line.above)
        # At least 1/32 of each side and as many bins as levels.
        least = max(line.above // 32 + 1, 2 * LEVELS - below)
        above = _last_end(line.bins, line.origin - below, line.origin + least, 2 * LEVELS)
        above -= line.origin
        least = max(line.below // 32 + 1, 2 * LEVELS - above)
        below = _last_end(line.bins[::-1], line.above - above, line.above + least, 2 * LEVELS)
        return _interval(seen, below - line.above, above)

    @staticmethod
    def _symmetric(seen: Observer) -> int:
        bins = seen.magnitudes()
        if bins.size <= LEVELS:
            return bins.size
        bins[0] = bins[1]
        return _last_end(bins, 0, LEVELS, LEVELS)


def _last_end(bins: np.ndarray, start: int, least: int, levels: int) -> int:
    """The stop, least .. n, whose window bins[start:stop] diverges least; the last of equals."""
    stops = np.arange(min(least, bins.size), bins.size + 1)
    stops = stops[bins[stops - 1] > 0]  # others diverge infinitely; the last bin is never empty
    values = divergences(bins, np.full_like(stops, start), stops, levels)
    return int(stops[np.flatnonzero(values <= values.min() + _EQUAL_DIVERGENCE)[-1]])


@dataclass(frozen=True)
class Entropy2(Entropy):
    """`Entropy` by the name of TensorRT's default; see above why the two agree."""

    name: str = "entropy2"


@dataclass(frozen=True)
class MSE:
    """The range with the least squared error of dequantize(quantize(x)), over the same grid."""

    name: str = "mse"

    def amax(self, seen: Observer) -> float:
        _require_data(seen)
        bins = seen.magnitudes()
        if bins.size <= LEVELS:
            return seen.amax
        stops = np.minimum(np.arange(LEVELS, bins.size + 1), seen.amax / seen.width)
        errors = squared_errors(bins, 0, stops / (LEVELS - 1), np.zeros_like(stops), LEVELS - 1)
        best = np.flatnonzero(errors == errors.min())[-1]
        return float(stops[best] * seen.width)

    def affine(self, seen: Observer) -> tuple[float, float]:
        _require_data(seen)
        line = _line(seen, zero_is_noise=False)
        if line.bins.size <= 2 * LEVELS:
            return _extremes(seen)
        low, high = (abs(x) / seen.width for x in _extremes(seen))
        top = 2 * LEVELS - 1

        def score(below: np.ndarray, above: np.ndarray) -> np.ndarray:
            below, above = np.minimum(below, low), np.minimum(above, high)
            scales = (below + above) / top
            return squared_errors(line.bins, line.origin, scales, np.rint(below / scales), top)

        return _interval(seen, *_zoom(score, line, 2 * LEVELS))


def solvers_named(name: str, percentile: float = 99.999) -> tuple[Solver, Solver]:
    """The solvers of a calibrator, one for images and one for rows that products multiply.

    "auto" clips no row: few values of a token are large, and they matter.  Others treat both alike.
    """
    if name == "auto":
        return Percentile(percentile), MinMax()
    solver = solver_named(name, percentile)
    return solver, solver


def solver_named(name: str, percentile: float = 99.999) -> Solver:
    """The solver of that name, as in BuildConfig.calibrator; CalibrationError if there is none."""
    solvers: tuple[Solver, ...] = (Entropy2(), Entropy(), MinMax(), Percentile(percentile), MSE())
    for solver in solvers:
        if solver.name == name:
            return solver
    known = ", ".join(["auto", *(s.name for s in solvers)])
    raise CalibrationError(f"calibrator {name!r} is unknown; there is {known}")
