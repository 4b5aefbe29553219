"""Which channels of a product's rows are carried apart: the fewest that make its results much more exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from camshaft.quant.apart.sample import RowSample
from camshaft.quant.one_sided import MIDDLE
from camshaft.quant.scheme import dequantize, params_from_range, quantize, weight_params

FEWEST = 4
"""Channels that are carried apart at least; more are multiples of it by powers of two."""
SHARE = 16
"""At most one channel of so many is carried apart."""
SMALL = 0.01
"""An error of the results that INT8 has without any such channels, and that is left alone."""
GAIN = 1.5
"""How many times smaller the error of the results must be than with all channels in INT8."""
MORE = 1.25
"""How many times smaller it must be again each time that there are twice as many channels."""
OUTPUTS = 256
"""Outputs that errors are measured on."""
Quantizer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(rows [R, K], kept bool [K]) -> what INT8 makes of the rows, with zeros where a channel is not kept."""


@dataclass(frozen=True, eq=False)
class Apart:
    """A decision on one tensor of rows.

    channels: int64 [A], ascending.  kept: float32 [K], 0 for these channels, else 1.
    low, high: the range of the other channels.
    before, after: error of the results relative to their deviation, with all channels in INT8 and so.
    """

    channels: np.ndarray
    kept: np.ndarray
    low: float
    high: float
    before: float
    after: float

    @property
    def words(self) -> str:
        """The decision as part of a layer's reason."""
        n, k = len(self.channels), len(self.kept)
        return f"{n} of {k} input channels apart in fp32 (error {self.before:.2%} without, {self.after:.2%} so)"


def with_fixed_range(sample: RowSample, interval: tuple[float, float]) -> Quantizer:
    """u8 with one range, that of the kept channels within `interval`."""

    def quantized(rows: np.ndarray, kept: np.ndarray) -> np.ndarray:
        params = params_from_range(*_range(sample, kept, interval))
        return np.where(kept, dequantize(quantize(rows, params), params), 0)

    return quantized


def with_ranges_of_rows(zero: int = MIDDLE) -> Quantizer:
    """u8 around `zero` with a scale for each row, with which nothing is clipped: what `quant.dynamic` does."""

    def quantized(rows: np.ndarray, kept: np.ndarray) -> np.ndarray:
        rest = rows * kept
        over, under = (127, 127) if zero == MIDDLE else (255 - zero, max(zero, 1))
        above, below = (rest * s for s in (1 / over, -1 / under))
        scale = np.maximum(np.maximum(above, below).max(axis=1, keepdims=True), 1e-30)
        return np.asarray(np.rint(rest / scale) * scale)

    return quantized


def choose(
    sample: RowSample,
    weights: Sequence[np.ndarray],
    quantized: Quantizer,
    interval: tuple[float, float] = (-np.inf, np.inf),
) -> Apart | None:
    """What to carry apart of rows that are multiplied by each of `weights`, float32 [N, K]; None: nothing.

    interval: limits the range of the other channels.
    """
    least, most = sample.extremes
    assert sample.rows is not None
    magnitude = np.maximum(-least, most)
    order = np.argsort(-magnitude, kind="stable")
    measure = _Errors(sample.rows, np.concatenate(weights), quantized)
    before = measure(np.ones(len(order), bool))
    counts = _counts(len(order)) if before > SMALL else []
    if not counts or measure(_without(order, counts[-1])) > before / GAIN:
        return None  # where the most channels do not help, fewer do not
    chosen, after, needed = 0, before, before / GAIN
    for count in counts:
        error = measure(_without(order, count))
        if error <= needed:
            chosen, after, needed = count, error, error / MORE
    kept = _without(order, chosen)
    low, high = _range(sample, kept, interval)
    channels = np.sort(order[:chosen]).astype(np.int64)
    return Apart(channels, kept.astype(np.float32), low, high, before, after)


def _counts(channels: int) -> list[int]:
    """How many channels may be carried apart."""
    counts = []
    count = FEWEST
    while count <= channels // SHARE:
        counts.append(count)
        count *= 2
    return counts


class _Errors:
    """Errors of the results for different kept channels, on some of the outputs.

    Weights are rounded once: their scales hardly change with what is carried apart.
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray, quantized: Quantizer) -> None:
        weights = weights[:: -(-len(weights) // OUTPUTS)]
        params = weight_params(weights, 0)
        self.rows, self.quantized = rows, quantized
        self.weights, self.rounded = weights, dequantize(quantize(weights, params), params)
        exact = rows @ weights.T
        self.deviation = float(np.mean((exact - exact.mean(axis=0)) ** 2))

    def __call__(self, kept: np.ndarray) -> float:
        """Root mean square error relative to the results' deviation; what is constant, a bias takes off."""
        made = self.quantized(self.rows, kept).astype(np.float32)
        off = made @ self.rounded.T - (self.rows * kept) @ self.weights.T
        off -= off.mean(axis=0)
        return sqrt(float(np.mean(off**2)) / self.deviation) if self.deviation else 0.0


def _without(order: np.ndarray, count: int) -> np.ndarray:
    kept = np.ones(len(order), bool)
    kept[order[:count]] = False
    return kept


def _range(
    sample: RowSample, kept: np.ndarray, interval: tuple[float, float]
) -> tuple[float, float]:
    """Extremes of the kept channels within an interval."""
    least, most = sample.extremes
    low, high = float(least[kept].min()), float(most[kept].max())
    return max(min(low, 0.0), interval[0]), min(max(high, 0.0), interval[1])
