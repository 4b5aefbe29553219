"""Generated histograms are what NumPy finds, to the last count, on every target."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from camshaft.backends.cpu.reduce import histogram as histogram_module
from camshaft.backends.cpu.reduce.histogram import Histogram
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import CalibrationError
from camshaft.quant.calibration.observers import BINS, LENGTH, ZERO, Observer, numpy_histogram
from targets import RUNNABLE, each_target, skip_unless_runnable


@cache
def compiled(target: CpuTarget) -> Histogram:
    return Histogram(target, LENGTH, ZERO)


def histogram_for(target: CpuTarget) -> Histogram:
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
    histogram, by_kernel, by_numpy = histogram_for(target), Observer("x"), Observer("x")
    for size, scale in ((1, 1.0), (7, 0.1), (16, 5.0), (1037, 80.0), (40_001, 3.0), (0, 1.0)):
        x = data((size,), scale)
        by_kernel.update(x.reshape(1, -1), histogram)
        by_numpy.update(x.reshape(1, -1))
        np.testing.assert_array_equal(by_kernel.counts, by_numpy.counts)
    for field in ("minimum", "maximum", "count", "width"):
        assert getattr(by_kernel, field) == getattr(by_numpy, field)


@each_target
@pytest.mark.parametrize("size", [0, 1, 3, 16, 17, 1023, 1024, 1025, 3500])
def test_counts_of_any_number_of_values(target: CpuTarget, size: int, guard: int = 8) -> None:
    x, histogram = data((size,)), histogram_for(target)
    want, counts = np.ones(LENGTH, np.int64), np.ones(LENGTH + guard, np.int64)
    numpy_histogram(x, 256.0, want, -8.0, 8.0)
    histogram(x, 256.0, counts[:LENGTH], -8.0, 8.0)
    np.testing.assert_array_equal(counts[:LENGTH], want)
    assert (counts[LENGTH:] == 1).all()


@each_target
def test_extremes_say_which_bins_are_used(target: CpuTarget) -> None:
    histogram = histogram_for(target)
    for low, high in ((0.0, 6.0), (-6.0, 0.0), (0.5, 0.75), (-1e-3, 1e-3), (-6.0, 6.0)):
        x = np.clip(data((999,)), low, high)
        want, counts = np.zeros(LENGTH, np.int64), np.zeros(LENGTH, np.int64)
        numpy_histogram(x, 512.0, want, low, high)
        histogram(x, 512.0, counts, low, high)
        np.testing.assert_array_equal(counts, want)


@pytest.mark.parametrize("values", [[3.0] * 99, [-1.0, 1.0] * 40, [1e-44, -1e-44, 0.0], [-7.5]])
def test_borders_of_bins(values: list[float]) -> None:
    for histogram in map(compiled, RUNNABLE):
        by_kernel, by_numpy = Observer("x"), Observer("x")
        by_kernel.update(np.array(values, np.float32), histogram)
        by_numpy.update(np.array(values, np.float32))
        np.testing.assert_array_equal(by_kernel.counts, by_numpy.counts)


def test_tensors_longer_than_a_call_may_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histogram_module, "_MOST", 100)
    x, histogram = data((3507,)), compiled(RUNNABLE[0])
    counts, want = np.zeros(LENGTH, np.int64), np.zeros(LENGTH, np.int64)
    numpy_histogram(x, 256.0, want, -8.0, 8.0)
    histogram(x, 256.0, counts, -8.0, 8.0)
    np.testing.assert_array_equal(counts, want)


def test_threads_share_a_kernel() -> None:
    histogram = compiled(RUNNABLE[0])
    batches = [data((3000, 8), 1.0 + i, seed=i) for i in range(24)]

    def look(x: np.ndarray) -> bytes:
        observer = Observer("x")
        observer.update(x, histogram)
        return observer.counts.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, batches)) == [look(x) for x in batches]


def test_bad_values_leave_the_observer_as_it_was() -> None:
    observer = Observer("x")
    for histogram in map(compiled, RUNNABLE):
        for bad in (np.nan, np.inf, -np.inf):
            with pytest.raises(CalibrationError, match="'x'"):
                observer.update(np.array([1.0, bad], np.float32), histogram)
        with pytest.raises(ValueError, match="contiguous float32"):
            histogram(np.zeros(4), 1.0, np.zeros(LENGTH, np.int64), 0.0, 0.0)
        for low, high in ((0.0, float(BINS)), (-float(BINS), 0.0)):
            with pytest.raises(ValueError, match="more than bins"):
                histogram(np.zeros(4, np.float32), 1.0, np.zeros(LENGTH, np.int64), low, high)
    assert observer.count == 0
    assert not observer.counts.any()
