"""Loops that end by a condition: WHILE trip limits, alone and beside a count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Bench

TWO, LIMIT, OUTPUT = trt.ElementWiseOperation, trt.TripLimit, trt.LoopOutput


class Doubling:
    """x is doubled while its sum is below `bound`; `loop` has the limits that a test adds."""

    def __init__(self, bound: float, first: list[float]) -> None:
        self.b = b = Bench((len(first),))
        b.arrays[0] = np.array(first, np.float32)
        self.bound = bound
        self.loop: Any = b.net.add_loop()
        self.carried: Any = self.loop.add_recurrence(b.tensors[0])
        value = self.carried.get_output(0)
        twice: Any = b.net.add_elementwise(value, value, TWO.SUM)
        self.next = twice.get_output(0)
        self.carried.set_input(1, self.next)
        total: Any = b.net.add_reduce(value, trt.ReduceOperation.SUM, 1, True)
        below: Any = b.net.add_elementwise(
            total.get_output(0), b.constant(np.array([bound], np.float32)), TWO.LESS
        )
        scalar: Any = b.net.add_shuffle(below.get_output(0))
        scalar.reshape_dims = ()
        self.condition = scalar.get_output(0)

    def trips(self, most: int | None = None) -> int:
        value, count = self.b.arrays[0].copy(), 0
        while value.sum() < self.bound and (most is None or count < most):
            value, count = value * 2, count + 1
        return count

    def last(self) -> Any:
        return self.loop.add_loop_output(self.carried.get_output(0), OUTPUT.LAST_VALUE)


@pytest.mark.parametrize("bound", [0.5, 3.5, 100.0])
def test_the_condition_is_looked_at_before_each_iteration(bound: float) -> None:
    d = Doubling(bound, [0.5, 1.0])
    limit = d.loop.add_trip_limit(d.condition, LIMIT.WHILE)
    assert limit.kind == LIMIT.WHILE
    want = d.b.arrays[0] * 2.0 ** d.trips()
    assert np.array_equal(d.b.output(d.last()), want)


@pytest.mark.parametrize("most", [1, 20])
def test_a_count_and_a_condition_end_a_loop_by_the_first(most: int) -> None:
    d = Doubling(100.0, [0.5, 1.0])
    d.loop.add_trip_limit(d.condition, LIMIT.WHILE)
    d.loop.add_trip_limit(d.b.constant(np.array(most, np.int32)), LIMIT.COUNT)
    assert np.array_equal(d.b.output(d.last()), d.b.arrays[0] * 2.0 ** d.trips(most))


@pytest.mark.parametrize("kind", ["CONCATENATE", "REVERSE"])
def test_iterations_that_were_not_are_0(kind: str) -> None:
    d = Doubling(20.0, [0.5, 1.0])
    d.loop.add_trip_limit(d.condition, LIMIT.WHILE)
    layer = d.loop.add_loop_output(d.next, getattr(OUTPUT, kind), 1)
    layer.set_input(1, d.b.constant(np.array(7, np.int32)))
    want = np.zeros((2, 7), np.float32)
    for i in range(d.trips()):
        want[:, i if kind == "CONCATENATE" else 6 - i] = d.b.arrays[0] * 2.0 ** (i + 1)
    assert np.array_equal(d.b.output(layer), want)


def test_a_loop_needs_a_limit() -> None:
    d = Doubling(20.0, [0.5, 1.0])
    d.b.net.mark_output(d.last().get_output(0))
    with pytest.raises(Exception, match="the loop must have a trip limit"):
        d.b.net._lowered()
