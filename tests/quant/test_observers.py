"""Observers: the state is a function of the values alone, and the counts are exact."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camshaft.errors import CalibrationError
from camshaft.quant.calibration.observers import BINS, LENGTH, ZERO, Observer

FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-8, 8, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 6.0, 2.0**-126, -(2.0**-149), 4096.0, 4095.75]),
)


def state(observer: Observer) -> tuple[object, ...]:
    extremes = math.copysign(1, observer.minimum), observer.minimum, observer.maximum
    return observer.width, observer.count, *extremes, observer.counts.tobytes()


def observed(values: object, name: str = "x") -> Observer:
    observer = Observer(name)
    observer.update(np.asarray(values, np.float32))
    return observer


@settings(max_examples=150, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=40), st.randoms(use_true_random=False), st.data())
def test_splits_orders_and_merges_give_identical_bits(values, random, data):
    whole = observed(values)
    shuffled = list(values)
    random.shuffle(shuffled)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    parts = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]

    in_batches = Observer("x")
    for part in parts:
        in_batches.update(np.asarray(part, np.float32).reshape(1, -1, 1))
    assert state(in_batches) == state(whole)

    observers = [observed(part) for part in parts]
    assert state(Observer.merged("x", observers)) == state(whole)
    while len(observers) > 1:  # a random tree of merges
        right = observers.pop(random.randrange(len(observers)))
        observers[random.randrange(len(observers))].merge(right)
    assert state(observers[0]) == state(whole)


@settings(max_examples=150, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_counts_are_what_exact_arithmetic_says(values):
    observer = observed(values)
    width = Fraction(observer.width)
    expected = np.zeros(LENGTH, np.int64)
    for value in np.asarray(values, np.float32):
        expected[ZERO + math.trunc(Fraction(float(value)) / width)] += 1
    assert np.array_equal(observer.counts, expected)
    amax = max(abs(float(np.float32(v))) for v in values)
    assert observer.amax == amax < BINS * observer.width
    if amax >= 2.0**-114:
        assert amax >= BINS // 2 * observer.width  # fine: over 2048 bins hold the data
        assert BINS // 2 < observer.magnitudes().size <= BINS


@settings(max_examples=80, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_magnitudes_and_sides_agree_with_loops(values):
    observer = observed(values)
    array = np.asarray(values, np.float32).astype(np.float64)
    bins = np.floor(np.abs(array) / observer.width).astype(int)
    size = int(observer.amax / observer.width) + 1
    assert observer.magnitudes().tolist() == np.bincount(bins, minlength=size).tolist()
    for side, chosen in zip(observer.sides(), (bins[array < 0], bins[array > 0]), strict=True):
        beyond = chosen[chosen > 0]
        size = beyond.max(initial=0)
        assert side.tolist() == np.bincount(beyond - 1, minlength=size).tolist()


def test_large_arrays_count_like_small_ones():
    values = np.random.default_rng(0).standard_normal((3, 7, 11003)).astype(np.float32)
    pieces = Observer("x")
    for piece in np.array_split(values.ravel(), 1000):
        pieces.update(piece)
    whole = observed(values)
    assert state(whole) == state(pieces) == state(observed(values.transpose(2, 0, 1)))
    assert state(observed(values[:, ::2])) == state(observed(values[:, ::2].copy()))
    assert whole.counts.sum() == whole.count == values.size


def test_a_sample_counts_for_the_values_that_it_stands_for():
    values = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    few, rest = Observer("few"), observed(np.linspace(-1, 1, 500))
    few.weight = 3
    few.take(float(values.min()), float(values.max()), values[::3].copy())
    both = Observer.merged("both", [few, rest])
    assert (few.count, both.count) == (1000, 3500)
    repeated = observed(np.concatenate([np.repeat(values[::3], 3), np.linspace(-1, 1, 500)]))
    inner = slice(ZERO - 1000, ZERO + 1000)
    assert both.amax == np.abs(values).max() > repeated.amax or both.width == repeated.width
    np.testing.assert_array_equal(both.counts[inner], repeated.counts[inner])


def test_extremes_that_a_sample_lacks_are_counted_once():
    seen = Observer("x")
    seen.take(-3.0, 5.0, np.float32([0.5, -0.25, 1.0]))
    below, above = seen.sides()
    assert (seen.minimum, seen.maximum, seen.count) == (-3.0, 5.0, 3)
    assert below[-1] == above[-1] == seen.magnitudes()[-1] == 1
    assert seen.magnitudes().size == int(5.0 / seen.width) + 1
    assert seen.counts.sum() == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor_and_change_nothing(bad):
    observer = observed([1.0, -2.0], "block3/add")
    before = state(observer)
    with pytest.raises(CalibrationError, match="block3/add"):
        observer.update(np.array([[4.0, bad]], np.float32))
    assert state(observer) == before


def test_float64_beyond_float32_and_strings_are_errors():
    with pytest.raises(CalibrationError, match="beyond float32"):
        Observer("x").update(np.array([1e39]))
    for values in (np.array(["a"]), np.array([1j]), np.array([None])):
        with pytest.raises(CalibrationError, match=r"'x'.*give numbers"):
            Observer("x").update(values)


def test_other_element_types_count_as_float32():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = [0.5, -3.0, 6.0, 1.0]
    expected = state(observed(values))
    for dtype in (np.float16, np.float64, ml_dtypes.bfloat16):
        observer = Observer("x")
        observer.update(np.asarray(values, dtype))
        assert state(observer) == expected
    integers = Observer("x")
    integers.update(np.array([-128, 127], np.int8))
    assert (integers.minimum, integers.maximum) == (-128.0, 127.0)


def test_nothing_seen():
    observer = Observer("x")
    observer.update(np.empty((0, 4), np.float32))
    observer.merge(Observer("y"))
    assert (observer.count, observer.amax) == (0, 0.0)
    assert state(observer) == state(Observer("x"))


def test_memory_is_bounded_and_the_counts_cannot_be_written_to():
    observer = observed(np.linspace(-1, 1, 100_000))
    observer.update(np.float32(3e38))
    assert observer.counts.nbytes <= 65536
    with pytest.raises(ValueError, match="read-only"):
        observer.counts[0] = 1
