"""The loudest layers are found with few engines; counts that are enough by doubling and bisection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from camshaft.accuracy.noise import Ranking, Unit, decibels, noise_ratio
from camshaft.accuracy.search import fewest

UNITS: list[Unit] = [(f"layer{i}",) for i in range(113)]


def ranking(noise: dict[int, float]) -> Ranking:
    """Of units whose noises add up; others make 1e-9 each."""

    def measure(some: Sequence[Unit]) -> float:
        return sum(noise.get(int(u[0][5:]), 1e-9) for u in some)

    return Ranking(UNITS, measure)


def test_loudest_come_first_with_few_engines() -> None:
    found = ranking({7: 0.5, 8: 0.2, 90: 0.1})
    assert [found.next(least=0.05) for _ in range(4)] == [
        ("layer7",),
        ("layer8",),
        ("layer90",),
        None,
    ]
    assert found.evaluations < 3 * 2 * math.ceil(math.log2(len(UNITS)))
    assert list(found.known.values()) == [0.5, 0.2, 0.1]


def test_all_units_come_once_by_falling_noise() -> None:
    rng = np.random.default_rng(0)
    noise = {i: float(rng.uniform(0.1, 1)) for i in range(len(UNITS))}
    found = ranking(noise)
    order = [found.next() for _ in UNITS]
    assert found.next() is None
    assert order == sorted(UNITS, key=lambda u: -noise[int(u[0][5:])])


def test_evaluations_are_bounded() -> None:
    found = ranking(dict.fromkeys(range(113), 0.5))
    while found.next(most=9) is not None:
        pass
    assert found.evaluations <= 9


def test_starts_anew_with_changed_units_measured_again() -> None:
    noise = {7: 0.5, 8: 0.2, 90: 0.1}
    found = ranking(noise)
    assert [found.next(), found.next()] == [("layer7",), ("layer8",)]
    spent = found.evaluations
    noise[7] = 0.15
    found.restart([("layer7",)])
    assert found.evaluations == spent + 1
    assert [found.next() for _ in range(3)] == [("layer8",), ("layer7",), ("layer90",)]
    assert found.known[("layer7",)] == 0.15


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 30, 64, 112, 113])
def test_fewest_that_are_enough(needed: int) -> None:
    asked: list[int] = []

    def enough(count: int) -> bool:
        asked.append(count)
        return count >= needed

    assert fewest(enough, 113) == needed
    assert len(asked) <= 2 * math.ceil(math.log2(113))


def test_noise_is_that_of_the_worst_output() -> None:
    x = np.linspace(1, 2, 100, dtype=np.float32)
    labels = np.arange(10)
    wanted = [{"a": x, "b": x, "labels": labels}]
    got = [{"a": x * np.float32(1.1), "b": x, "labels": labels}]
    assert decibels(noise_ratio(wanted, got)) == pytest.approx(20, abs=0.01)
    got[0]["labels"] = np.where(labels < 5, labels, 0)
    assert decibels(noise_ratio(wanted, got)) == pytest.approx(20, abs=0.01)
    assert noise_ratio([{"labels": labels}], [{"labels": got[0]["labels"]}]) == 0.5
    assert noise_ratio(wanted, [{**wanted[0], "a": x[:50]}]) == 1.0
    assert noise_ratio(wanted, [{**wanted[0], "a": x * np.float32(np.nan)}]) == math.inf
