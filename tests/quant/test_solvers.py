"""Solvers: hand-worked cases, literal second implementations, edge cases, other libraries."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camshaft.config import CALIBRATORS
from camshaft.errors import CalibrationError
from camshaft.quant.calibration.observers import Observer
from camshaft.quant.calibration.solvers import (
    MSE,
    Entropy,
    Entropy2,
    MinMax,
    Percentile,
    divergences,
    solver_named,
    solvers_named,
    squared_errors,
)
from camshaft.quant.scheme import dequantize, params_from_amax, params_from_range, quantize

SOLVERS = (MinMax(), Percentile(99.9), Entropy(), Entropy2(), MSE())
NORMAL = np.random.default_rng(7).standard_normal(40_000).astype(np.float32)
DATA = {
    "relu": np.maximum(NORMAL, 0),
    "relu6": np.clip(4 * NORMAL, 0, 6),
    "linear": 3 * NORMAL,
    "swish": 2 * NORMAL / (1 + np.exp(-2 * NORMAL)),
    "skewed": NORMAL**2 - 1,
    "tailed": NORMAL**3,
    "negative": -np.abs(NORMAL),
}


def observed(values: object) -> Observer:
    observer = Observer("x")
    observer.update(np.asarray(values, np.float32))
    return observer


def each(names: object = tuple(DATA)) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", names)


# --- second implementations, as literal as they can be ----------------------------------------


def literal_divergence(bins: list[int], start: int, stop: int, levels: int) -> float:
    size = stop - start
    p = [float(b) for b in bins[start:stop]]
    p[0] += sum(bins[:start])
    p[-1] += sum(bins[stop:])
    level = [j * levels // size for j in range(size)]
    mass, filled = Counter(), Counter()
    for j in range(size):
        if bins[start + j]:
            mass[level[j]] += bins[start + j]
            filled[level[j]] += 1
    q = [mass[n] / filled[n] if b else 0.0 for n, b in zip(level, bins[start:stop], strict=True)]
    if sum(q) == 0:
        return math.inf
    result = 0.0
    for a, b in zip(p, q, strict=True):
        if a > 0:
            if b == 0:
                return math.inf
            result += a / sum(p) * math.log((a / sum(p)) / (b / sum(q)))
    return result


def literal_scan(bins: np.ndarray, start: int, least: int, levels: int) -> int:
    """One candidate bins[start:stop] after the other; the last stop of the least divergence."""
    best, chosen = math.inf, bins.size
    for stop in range(least, bins.size + 1):
        size = stop - start
        p = bins[start:stop].astype(np.float64)
        filled = p > 0
        level = np.arange(size) * levels // size
        mass = np.bincount(level, p, minlength=levels)
        count = np.bincount(level[filled], minlength=levels)
        q = np.where(filled, (mass / np.maximum(1, count))[level], 0)
        p[0] += bins[:start].sum()
        p[-1] += bins[stop:].sum()
        if (q[p > 0] == 0).any():
            continue
        p, q = p[p > 0] / p.sum(), q[p > 0] / q.sum()
        divergence = float(np.sum(p * np.log(p / q)))
        if divergence <= best + 1e-9:
            best, chosen = min(divergence, best), stop
    return chosen


def literal_entropy(observer: Observer, levels: int) -> float:
    bins = observer.magnitudes()
    bins[0] = bins[1]
    return min(literal_scan(bins, 0, levels, levels) * observer.width, observer.amax)


def literal_affine_entropy(observer: Observer) -> tuple[float, float]:
    """For a tensor of both signs: from amax, the upper end first, then the lower."""
    negative, positive = observer.sides()
    bins = np.concatenate([negative[::-1], negative[:1], positive[:1], positive])
    zero, over = negative.size + 1, positive.size + 1
    symmetric = math.ceil(literal_entropy(observer, 128) / observer.width)
    low = min(symmetric, zero)
    high = literal_scan(bins, zero - low, zero + max(over // 32 + 1, 256 - low), 256) - zero
    low = literal_scan(bins[::-1], over - high, over + max(zero // 32 + 1, 256 - high), 256) - over
    width = observer.width
    return max(observer.minimum, -low * width), min(observer.maximum, high * width)


def literal_squared_error(bins, origin, scale, zero, top):
    total = 0.0
    for t, count in enumerate(bins):
        x = t - origin + 0.5
        q = min(max(round(x / scale) + zero, 0), top)
        total += count * (x - (q - zero) * scale) ** 2
    return total


def literal_mse(observer: Observer) -> float:
    bins = observer.magnitudes()
    x = (np.arange(bins.size) + 0.5) * observer.width
    best, chosen = math.inf, 0.0
    for i in range(128, bins.size + 1):
        amax = min(i * observer.width, observer.amax)
        error = x - np.minimum(np.rint(x / (amax / 127)), 127) * (amax / 127)
        total = float((bins * error * error).sum())
        if total <= best:
            best, chosen = total, amax
    return chosen


# --- the measures -----------------------------------------------------------------------------


def test_divergence_worked_by_hand():
    def kl(bins, stop, levels):
        return divergences(np.array(bins), np.array([0]), np.array([stop]), levels)[0]

    # Each pair of bins is even already: Q == P.
    assert kl([1, 1, 3, 3], 4, 2) == pytest.approx(0, abs=1e-12)
    # P = [1, 7]/8 (six values outside), Q = [1, 1]/2.
    assert kl([1, 1, 3, 3], 2, 2) == pytest.approx(math.log(1 / 4) / 8 + 7 * math.log(7 / 4) / 8)
    # P = [2, 4, 0, 2]/8; the levels hold 6 and 2 over 2 and 1 bins: Q = [3, 3, 0, 2]/8.
    assert kl([2, 4, 0, 2], 4, 2) == pytest.approx((2 * math.log(2 / 3) + 4 * math.log(4 / 3)) / 8)
    # What lies outside falls on an empty bin: P > 0 where Q = 0.
    assert kl([2, 4, 0, 2], 3, 2) == math.inf


SMALL = st.lists(st.integers(0, 9), min_size=9, max_size=40)


@settings(max_examples=200, deadline=None)
@given(SMALL, st.sampled_from([4, 8]), st.data())
def test_divergence_equals_the_literal_one(bins, levels, data):
    assume(sum(bins))
    start = data.draw(st.integers(0, len(bins) - levels))
    stops = np.arange(start + levels, len(bins) + 1)
    values = divergences(np.array(bins), np.full_like(stops, start), stops, levels)
    expected = [literal_divergence(bins, start, int(stop), levels) for stop in stops]
    np.testing.assert_allclose(values, expected, atol=1e-11)


def test_divergence_equals_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    bins = np.random.default_rng(0).integers(1, 50, 64)
    p = bins[:48].astype(float)
    p[-1] += bins[48:].sum()
    q = np.repeat(bins[:48].reshape(8, 6).mean(axis=1), 6)
    value = divergences(bins, np.array([0]), np.array([48]), 8)[0]
    assert value == pytest.approx(float(stats.entropy(p, q)), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(SMALL, st.integers(0, 40), st.floats(0.1, 9), st.integers(0, 15))
def test_squared_error_equals_the_literal_one(bins, origin, scale, zero):
    origin = min(origin, len(bins))
    value = squared_errors(np.array(bins), origin, np.array([scale]), np.array([zero]), 15)[0]
    assert value == pytest.approx(literal_squared_error(bins, origin, scale, zero, 15), abs=1e-7)


def test_squared_error_worked_by_hand():
    # Centres 0.5, 1.5, 2.5 with counts 1, 0, 2; levels 0, 2, 4 (0.5 -> 0, 2.5 -> 2).
    assert squared_errors(np.array([1, 0, 2]), 0, np.array([2.0]), np.array([0]), 2) == [0.75]


# --- whole solvers against the literal ones ---------------------------------------------------


@each()
def test_entropy_equals_the_literal_algorithm(name):
    observer = observed(DATA[name])
    expected = literal_entropy(observer, 128)
    assert Entropy().amax(observer) == Entropy2().amax(observer) == expected


@each(["relu", "relu6"])
def test_affine_entropy_of_one_sign_is_the_literal_algorithm_with_256_levels(name):
    observer = observed(DATA[name])
    assert Entropy2().affine(observer) == (0.0, literal_entropy(observer, 256))


@each(["linear", "swish", "skewed", "tailed"])
def test_affine_entropy_of_both_signs_equals_the_literal_search(name):
    observer = observed(DATA[name])
    assert Entropy2().affine(observer) == literal_affine_entropy(observer)


def test_of_equal_divergences_the_widest_range_wins():
    # Both [0, 1] and [0, 5] reproduce their distribution exactly.
    observer = observed([1.0] * 9 + [5.0])
    assert Entropy2().amax(observer) == 5.0
    assert Entropy2().affine(observer) == (0.0, 5.0)


@each()
def test_zeros_say_nothing_to_entropy(name):
    plain, padded = observed(DATA[name]), observed(DATA[name])
    padded.update(np.zeros(10**6, np.float32))
    assert Entropy2().amax(padded) == Entropy2().amax(plain)
    assert Entropy2().affine(padded) == Entropy2().affine(plain)


@each()
def test_mse_equals_the_literal_search(name):
    observer = observed(DATA[name])
    assert MSE().amax(observer) == literal_mse(observer)


@each()
def test_affine_mse_is_as_good_as_a_dense_search(name):
    values = DATA[name]

    def error(low, high):
        params = params_from_range(low, high)
        return float(((dequantize(quantize(values, params), params) - values) ** 2).mean())

    low, high = MSE().affine(observed(values))
    lowest, highest = min(values.min(), 0), max(values.max(), 0)
    shares = np.linspace(0.1, 1, 19)
    dense = min(
        error(lowest * a, highest * b)
        for a in (shares if lowest < 0 else [0])
        for b in (shares if highest > 0 else [0])
    )
    assert error(low, high) <= 1.01 * dense
    assert error(low, high) <= 1.01 * error(float(lowest), float(highest))


def test_percentile_worked_by_hand():
    observer = observed(np.arange(1, 1001))  # bins are 1/4 wide: 4096 of them hold 1000
    assert observer.width == 0.25
    assert Percentile(99.9).amax(observer) == 999.25  # 999 of 1000 values, up to their bin's end
    assert Percentile(50).amax(observer) == 500.25
    assert Percentile(100).amax(observer) == 1000.0
    assert Percentile(99.91).amax(observer) == 1000.0  # 999 are too few
    signed = observed(np.concatenate([-np.arange(1, 11), np.arange(1, 991)]))
    assert Percentile(50).amax(signed) == 490.25
    assert Percentile(50).affine(signed) == (-10.0, 490.25)


@each()
@pytest.mark.parametrize("percentile", [99.9, 99.99, 99.999, 37.5])
def test_percentile_clips_no_more_than_allowed_and_no_less_than_a_bin(name, percentile):
    values, observer = np.abs(DATA[name]), observed(DATA[name])
    amax = Percentile(percentile).amax(observer)
    allowed = (100 - Fraction(str(percentile))) * values.size / 100
    assert (values > amax).sum() <= allowed
    assert amax == observer.amax or (values > amax - 2 * observer.width).sum() > allowed


def test_minmax_is_exact():
    observer = observed([-0.3, 7.7, 2.0])
    assert MinMax().amax(observer) == float(np.float32(7.7))
    assert MinMax().affine(observer) == (float(np.float32(-0.3)), float(np.float32(7.7)))
    assert MinMax().affine(observed([2.0, 3.0])) == (0.0, 3.0)


def test_a_long_tail_is_clipped_and_a_wall_is_not():
    tail, wall = observed(DATA["tailed"]), observed(DATA["relu6"])
    assert Entropy2().amax(tail) < 0.5 * tail.amax
    low, high = Entropy2().affine(tail)
    assert max(-low, high) < 0.5 * tail.amax
    assert 0.5 * tail.amax < MSE().amax(tail) < tail.amax
    for solver in SOLVERS:
        assert solver.amax(wall) == 6.0
        assert solver.affine(wall) == (0.0, 6.0)


@each(["relu", "relu6", "swish"])
def test_an_affine_range_saves_nearly_a_bit_where_the_tensor_has_one_sign(name):
    values, observer = DATA[name], observed(DATA[name])
    for solver in SOLVERS:
        symmetric = params_from_amax(solver.amax(observer))
        affine = params_from_range(*solver.affine(observer))
        assert float(affine.scale) < 0.6 * float(symmetric.scale)
        low, high = affine.interval
        assert low >= values.min() - float(affine.scale)
        assert high <= values.max() + float(affine.scale)


# --- properties of all ------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
@each()
def test_ranges_are_float32_within_the_extremes_and_follow_scale_and_sign(solver, name):
    observer = observed(DATA[name])
    amax, (low, high) = solver.amax(observer), solver.affine(observer)
    assert 0 < amax <= observer.amax
    assert min(observer.minimum, 0) <= low <= 0 <= high <= max(observer.maximum, 0)
    assert high > low
    assert all(float(np.float32(x)) == x for x in (amax, low, high))
    larger, mirrored = observed(DATA[name] * 1024), observed(-DATA[name])
    assert solver.amax(larger) == 1024 * amax
    assert solver.affine(larger) == (1024 * low, 1024 * high)
    assert solver.amax(mirrored) == amax
    if not (low and high):
        assert solver.affine(mirrored) == (-high, -low)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
@pytest.mark.parametrize(
    ("values", "amax"),
    [
        ([0.0, -0.0, 0.0], 0.0),
        ([5.0] * 9, 5.0),
        ([-5.0] * 9, 5.0),
        ([3.3], 3.3),
        ([0.0] * 99 + [1.0], 1.0),
        ([1e-40, -3e-40], 3e-40),
        ([2e-38, 1e-36, -1e-36], 1e-36),
        ([3e38, -3e38], 3e38),
    ],
    ids=["zeros", "constant", "negative", "one", "spike", "subnormal", "tiny", "huge"],
)
def test_degenerate_tensors_keep_their_maximum_and_can_be_quantized(solver, values, amax):
    array = np.asarray(values, np.float32)
    observer = observed(array)
    exact = float(np.float32(amax))
    assert solver.amax(observer) == exact
    low, high = solver.affine(observer)
    # The extremes, give or take a bin where a solver may cut one.
    assert max(-low, high) == pytest.approx(exact, rel=1e-3)
    for params in (params_from_amax(solver.amax(observer)), params_from_range(low, high)):
        result = dequantize(quantize(array, params), params)
        assert np.abs(result - array).max() <= 0.51 * float(params.scale)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_an_empty_observer_is_an_error_that_names_the_tensor(solver):
    for question in (solver.amax, solver.affine):
        with pytest.raises(CalibrationError, match=r"'backbone/conv7'.*at least one batch"):
            question(Observer("backbone/conv7"))


def test_solvers_by_name():
    named = set(CALIBRATORS) - {"auto"}
    assert {solver_named(name).name for name in named} == named
    assert solvers_named("mse") == (MSE(), MSE())
    assert solvers_named("auto", 99.9) == (Percentile(99.9), MinMax())
    assert solver_named("percentile", 99.9) == Percentile(99.9)
    with pytest.raises(CalibrationError, match=r"'kl' is unknown.*entropy2"):
        solver_named("kl")
    for percentile in (0, -1, 100.1, math.nan):
        with pytest.raises(CalibrationError, match="percentile"):
            Percentile(percentile)


# --- other libraries --------------------------------------------------------------------------


@pytest.mark.peers
@each(["relu", "linear", "tailed"])
def test_percentile_agrees_with_onnxruntime(name):
    calibrate = pytest.importorskip(
        "onnxruntime.quantization.calibrate", reason="onnxruntime is not installed"
    )
    bins = 8192
    collector = calibrate.HistogramCollector(
        method="percentile",
        symmetric=True,
        num_bins=bins,
        num_quantized_bins=128,
        percentile=99.9,
        scenario="same",
    )
    collector.collect({"x": [DATA[name]]})
    theirs = collector.compute_collection_result()["x"][1]
    observer = observed(DATA[name])
    tolerance = 2 * (2 * observer.amax / bins + observer.width)
    assert Percentile(99.9).amax(observer) == pytest.approx(float(theirs), abs=tolerance)


@pytest.mark.peers
@each(["relu", "linear", "swish", "tailed"])
def test_affine_mse_is_no_worse_than_torch(name):
    quantization = pytest.importorskip("torch.ao.quantization", reason="torch is not installed")
    torch = pytest.importorskip("torch")
    theirs = quantization.HistogramObserver(dtype=torch.quint8)
    theirs(torch.from_numpy(DATA[name]))
    scale, zero = theirs.calculate_qparams()

    def error(result):
        return float(((result - DATA[name]) ** 2).mean())

    fake = torch.fake_quantize_per_tensor_affine
    their_error = error(fake(torch.from_numpy(DATA[name]), scale, zero.int(), 0, 255).numpy())
    params = params_from_range(*MSE().affine(observed(DATA[name])))
    assert error(dequantize(quantize(DATA[name], params), params)) <= 1.01 * their_error
