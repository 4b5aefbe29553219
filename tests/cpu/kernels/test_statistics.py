"""Generated calibration statistics are what NumPy finds, to the last count, on every target."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from camshaft.backends.cpu.reduce import statistics
from camshaft.backends.cpu.reduce.statistics import Statistics
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import CalibrationError
from camshaft.quant.calibration.observers import BINS, LENGTH, ZERO, Observer, numpy_histogram
from targets import RUNNABLE, each_target, skip_unless_runnable


@cache
def compiled(target: CpuTarget) -> Statistics:
    return Statistics(target, LENGTH, ZERO)


def tally_for(target: CpuTarget) -> Statistics:
    """The target's histogram, compiled; the test ends here where the machine cannot run it."""
    histogram = compiled(target)
    skip_unless_runnable(target)
    return histogram


def data(shape: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * scale).astype(np.float32)
    x[rng.random(shape) < 0.4] = 0.0
    x[rng.random(shape) < 0.1] = -0.0
    return x


@each_target
def test_observers_filled_by_the_kernel_equal_those_filled_by_numpy(target: CpuTarget) -> None:
    histogram, by_kernel, by_numpy = tally_for(target), Observer("x"), Observer("x")
    for size, scale in ((1, 1.0), (7, 0.1), (16, 5.0), (1037, 80.0), (40_001, 3.0), (0, 1.0)):
        x = data((size,), scale)
        by_kernel.update(x.reshape(1, -1), histogram)
        by_numpy.update(x.reshape(1, -1))
        np.testing.assert_array_equal(by_kernel.counts, by_numpy.counts)
    for field in ("minimum", "maximum", "count", "width"):
        assert getattr(by_kernel, field) == getattr(by_numpy, field)


SHAPES = [(1, 1), (5, 3), (3001, 3), (77, 16), (13, 37), (2, 1023), (3, 1024), (2, 1500), (40, 96)]


@each_target
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_extremes_and_sums_in_one_pass_or_alone(
    target: CpuTarget, shape: tuple[int, int], guard: int = 8
) -> None:
    x, histogram = data(shape), tally_for(target)
    inverse = 256.0
    want_counts, want_sums = np.ones(LENGTH, np.int64), np.full(shape[1], 0.5)
    extremes = numpy_histogram(x, inverse, want_counts, want_sums)
    for together in (True, False):
        counts, sums = np.ones(LENGTH + guard, np.int64), np.full(shape[1] + guard, 0.5)
        parts = [(counts[:LENGTH], sums[: shape[1]])]
        if not together:
            parts = [(counts[:LENGTH], None), (None, sums[: shape[1]])]
        results = [histogram(x, inverse, *part) for part in parts]
        assert results[0] == extremes
        np.testing.assert_array_equal(counts[:LENGTH], want_counts)
        np.testing.assert_allclose(sums[: shape[1]], want_sums, rtol=1e-12, atol=1e-12)
        assert (counts[LENGTH:] == 1).all()
        assert (sums[shape[1] :] == 0.5).all()


@each_target
def test_nothing_is_counted_unless_everything_falls_into_a_bin(target: CpuTarget) -> None:
    histogram = tally_for(target)
    for odd in (float(BINS), -1e30, np.inf, -np.inf, np.nan):
        for place in (0, 5, 40, 1030, 1031):  # in whole vectors and in tails
            x = data((1032,))
            x[place] = odd
            counts = np.zeros(LENGTH, np.int64)
            low, high = histogram(x, 1.0, counts, None)
            assert not counts.any()
            if np.isnan(odd):
                assert math.isnan(low) and math.isnan(high)
            else:
                assert (low, high) == (x.min(), x.max())
    x = np.array([np.nextafter(np.float32(BINS), np.float32(0)), -0.5], np.float32)
    counts = np.zeros(LENGTH, np.int64)
    histogram(x, 1.0, counts, None)  # and nothing is left over from what did not fit
    assert (counts[ZERO], counts[-1], counts.sum()) == (1, 1, 2)


@pytest.mark.parametrize("values", [[3.0] * 99, [-1.0, 1.0] * 40, [1e-44, -1e-44, 0.0], [-7.5]])
def test_borders_of_bins(values: list[float]) -> None:
    for histogram in map(compiled, RUNNABLE):
        by_kernel, by_numpy = Observer("x"), Observer("x")
        by_kernel.update(np.array(values, np.float32), histogram)
        by_numpy.update(np.array(values, np.float32))
        np.testing.assert_array_equal(by_kernel.counts, by_numpy.counts)


def test_tensors_longer_than_a_call_may_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_MOST", 100)
    x, histogram = data((500, 7)), compiled(RUNNABLE[0])
    counts, sums = np.zeros(LENGTH, np.int64), np.zeros(7)
    want_counts, want_sums = np.zeros(LENGTH, np.int64), np.zeros(7)
    assert histogram(x, 256.0, counts, sums) == numpy_histogram(x, 256.0, want_counts, want_sums)
    np.testing.assert_array_equal(counts, want_counts)
    np.testing.assert_allclose(sums, want_sums, rtol=1e-12)
    for odd in (1e9, np.nan):  # the parts before it have been counted, and must not stay so
        x[450] = odd
        assert histogram(x, 256.0, counts, None)[1] != 0
        np.testing.assert_array_equal(counts, want_counts)


def test_threads_share_a_kernel() -> None:
    histogram = compiled(RUNNABLE[0])
    batches = [data((3000, 8), 1.0 + i, seed=i) for i in range(24)]

    def look(x: np.ndarray) -> tuple[bytes, bytes]:
        observer, sums = Observer("x"), np.zeros(8)
        observer.update(x, histogram, sums)
        return observer.counts.tobytes(), sums.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, batches)) == [look(x) for x in batches]


def test_bad_values_leave_the_observer_as_it_was() -> None:
    observer = Observer("x")
    for histogram in map(compiled, RUNNABLE):
        for bad in (np.nan, np.inf, -np.inf):
            with pytest.raises(CalibrationError, match="'x'"):
                observer.update(np.array([1.0, bad], np.float32), histogram)
        with pytest.raises(ValueError, match="contiguous float32"):
            histogram(np.zeros(4), 1.0, None, np.zeros(4))
    assert observer.count == 0
    assert not observer.counts.any()
