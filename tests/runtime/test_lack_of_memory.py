"""Calls whose outputs or intermediate tensors no memory holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import BuildError
from camshaft.runtime import ExecutionContext
from runtime_programs import chain
from value_models import small_model

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
HUGE = 2**21  # a square of so many floats has 16 TiB


def context_of(body: str) -> ExecutionContext:
    model = small_model(body, "float[n,1] x, float[1,k] z", "float[a,b] y")
    return camshaft.build(model, **QUICK).create_context()


def feeds(n: int, k: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((n, 1), np.float32), "z": np.ones((1, k), np.float32)}


@pytest.mark.parametrize("before", [None, (2, 3), (3000, 3000)])
def test_outputs_without_memory_are_an_error_and_the_context_stays_usable(
    before: tuple[int, int] | None,
) -> None:
    context = context_of("y = Add(x, z)")
    if before:
        context.run(feeds(*before))
    for _ in range(2):
        with pytest.raises(
            BuildError, match=r"output 'y', of shape \(2097152, 2097152\) and 17592"
        ):
            context.run(feeds(HUGE, HUGE))
        assert context.run(feeds(2, 3))["y"].shape == (2, 3)


def test_intermediate_tensors_without_memory_are_an_error() -> None:
    context = context_of("s = Add(x, z) e = Softmax(s) t = ReduceMax<keepdims=1>(e) y = Exp(t)")
    assert context.run(feeds(2, 3))["y"].shape == (1, 1)
    with pytest.raises(BuildError, match="no memory for an arena"):
        context.run(feeds(HUGE, HUGE))
    assert context.run(feeds(3, 2))["y"].shape == (1, 1)


def test_a_small_call_after_a_large_one_allocates_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = context_of("y = Add(x, z)")
    made: list[tuple[int, ...]] = []

    def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        made.append(shape)
        return np.empty(shape, dtype)

    monkeypatch.setattr("camshaft.runtime.context._empty", empty)
    context.run(feeds(3000, 3000))
    context.run(feeds(2, 3))
    context.run(feeds(2, 3))
    assert made == [(3000, 3000), (2, 3), (2, 3)]


def test_what_fails_when_outputs_are_allocated_at_once_is_that_error_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        raise MemoryError

    x = np.ones((1, 64), np.float32)
    pairs = (
        (context_of("y = Add(x, z)"), feeds(2, 3)),
        (chain().create_context(), {"x": x}),
    )
    for context, given in pairs:
        want = context.run(given)["y"]
        with monkeypatch.context() as patch:
            patch.setattr("camshaft.runtime.context._empty", none_left)
            with pytest.raises(BuildError, match="no memory for output 'y'"):
                context.run(given)
        np.testing.assert_array_equal(context.run(given)["y"], want)
