"""One context that several threads use at once: a right result, or an error; never anything else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import monotonic
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import ConfigError
from camshaft.program.rows import Outcome
from camshaft.runtime import ExecutionContext
from runtime_programs import chain
from value_models import small_model

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
Feeds = Mapping[str, np.ndarray]


def negated() -> ExecutionContext:
    model = small_model("y = Neg(x)", "float[n] x", "float[n] y")
    return camshaft.build(model, **QUICK).create_context()


def counted() -> ExecutionContext:
    """y = k values, each the sum of all indices of the k: the shape of x does not say k."""
    model = small_model(
        "z = Constant<value = int64 {0}>() one = Constant<value = int64 {1}>() "
        "r = Range(z, k, one) c = Cast<to = 1>(r) s = ReduceSum<keepdims=1>(c) y = Mul(s, x)",
        "float[1] x, int64 k",
        "float[1] y",
    )
    return camshaft.build(model, **QUICK).create_context()


def hosted() -> ExecutionContext:
    model = small_model("t = Det(x) y = Neg(t)", "float[n,2,2] x", "float[n] y")
    return camshaft.build(model, **QUICK).create_context()


def vector(size: int) -> np.ndarray:
    return np.full(size, size, np.float32)


CASES: dict[str, tuple[Callable[[], ExecutionContext], Sequence[tuple[Feeds, np.ndarray]]]] = {
    "sizes": (negated, [({"x": vector(n)}, -vector(n)) for n in (3, 50, 100_000)]),
    "elements": (
        counted,
        [
            ({"x": np.ones(1, np.float32), "k": np.array(k)}, np.float32([k * (k - 1) // 2]))
            for k in (3, 50, 2000)
        ],
    ),
    "host steps": (
        hosted,
        [
            ({"x": np.tile(np.float32([[n, 0], [0, 1]]), (n, 1, 1))}, -vector(n))
            for n in (3, 50, 2000)
        ],
    ),
    "fixed": (
        lambda: chain(length=3).create_context(),
        [({"x": np.full((1, 64), n, np.float32)}, np.full((1, 64), n + 3)) for n in (1, 2, 3)],
    ),
}


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("case", CASES)
def test_threads_get_their_own_result_or_an_error(case: str, quick_switches: None) -> None:
    make, calls = CASES[case]
    context = make()
    faults: list[str] = []
    done, last = [0] * len(calls), monotonic() + 60

    def work(number: int) -> None:
        feeds, want = calls[number]
        out = {"y": np.empty_like(want, np.float32)}
        for i in count():
            # On a busy machine threads meet more often, and it takes longer until enough of them had their turn.
            if i >= 1500 and (sum(done) >= 100 or monotonic() > last):
                return
            try:
                if i % 2:
                    context.run_into(feeds, out)
                else:
                    out = context.run(feeds)
            except ConfigError as error:
                if "in use by another thread" not in str(error):
                    faults.append(str(error))
            else:
                done[number] += 1
                if not np.array_equal(out["y"], want):
                    faults.append(f"{number}: {out['y'][:4]} of {out['y'].shape}")

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(work, range(len(calls))))
    assert not faults, faults[:3]
    assert sum(done) >= 100
    for feeds, want in calls:  # and it is as good as new
        np.testing.assert_array_equal(context.run(feeds)["y"], want)


def test_sizes_stay_as_they_were_set_until_the_call_is_done() -> None:
    context = negated()
    context.run({"x": vector(7)})
    errors: list[Exception] = []

    def other() -> None:
        for size in (7, 9):
            for call in (context.run, lambda f: context.run_into(f, {"y": np.empty_like(f["x"])})):
                try:
                    call({"x": vector(size)})
                except ConfigError as error:
                    errors.append(error)

    def action() -> int:
        helper = threading.Thread(target=other)
        helper.start()
        helper.join()
        return Outcome.DONE

    assert context._program.in_turn(action) == Outcome.DONE
    assert len(errors) == 4
    other()
    assert len(errors) == 4


def test_what_an_exception_left_claimed_is_taken_over() -> None:
    """As when Ctrl-C comes between claiming the program and the code that lets go of it."""
    context = negated()
    context.run({"x": vector(3)})
    program: Any = context._program
    for size in (3, 4):
        assert program._runner.acquire(program.address) == 0
        with program._turn, pytest.raises(ConfigError, match="in use"):  # as in a call under way
            context.run({"x": vector(size)})
        np.testing.assert_array_equal(context.run({"x": vector(size)})["y"], -vector(size))
    assert program._runner.acquire(program.address) == 0
    context.close()
    with pytest.raises(ConfigError, match="closed"):
        context.run({"x": vector(3)})
