"""Generated histograms count what NumPy counts, to the last value, on every target."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.cpu.histogram import Histogram
from camshaft.backends.cpu.target import TARGETS, CpuTarget, missing_features
from camshaft.errors import CalibrationError
from camshaft.quant.observers import LENGTH, ZERO, Observer

RUNNABLE = [t for t in TARGETS if not missing_features(t)]


@pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.name)
def test_observers_filled_by_the_kernel_equal_those_filled_by_numpy(target: CpuTarget) -> None:
    fill = Histogram(target, LENGTH, ZERO)
    rng = np.random.default_rng(0)
    by_kernel, by_numpy = Observer("x"), Observer("x")
    for size, scale in ((1, 1.0), (7, 0.1), (16, 5.0), (1037, 80.0), (40_001, 3.0), (0, 1.0)):
        x = (rng.standard_normal(size) * scale).astype(np.float32)
        x[rng.random(size) < 0.4] = 0.0
        x[rng.random(size) < 0.1] = -0.0
        by_kernel.update(x.reshape(1, -1), fill)
        by_numpy.update(x.reshape(1, -1))
        np.testing.assert_array_equal(by_kernel.counts, by_numpy.counts)
    for name in ("minimum", "maximum", "count", "width"):
        assert getattr(by_kernel, name) == getattr(by_numpy, name)


@pytest.mark.parametrize("values", [[3.0] * 99, [-1.0, 1.0] * 40, [1e-44, -1e-44, 0.0], [-7.5]])
def test_borders_of_bins(values: list[float]) -> None:
    fill = Histogram(RUNNABLE[0], LENGTH, ZERO)
    by_kernel, by_numpy = Observer("x"), Observer("x")
    by_kernel.update(np.array(values, np.float32), fill)
    by_numpy.update(np.array(values, np.float32))
    np.testing.assert_array_equal(by_kernel.counts, by_numpy.counts)


def test_bad_values_never_reach_the_kernel() -> None:
    fill = Histogram(RUNNABLE[0], LENGTH, ZERO)
    observer = Observer("x")
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(CalibrationError, match="'x'"):
            observer.update(np.array([1.0, bad], np.float32), fill)
    assert observer.count == 0
    with pytest.raises(ValueError, match="contiguous float32"):
        fill(np.zeros(4), 1.0)
