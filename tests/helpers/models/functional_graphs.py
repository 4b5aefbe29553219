"""Graphs of one function of `ops.functional`, made by hand and interpreted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import type_of
from camshaft.ir.verify import verify

Made = Tensor | tuple[Tensor, ...] | list[Tensor]


def graph_of(function: Callable[..., Made], *arrays: np.ndarray, **more: Any) -> Graph:
    """function(builder, inputs, **more) as a graph whose inputs x0, x1, ... have the arrays' types."""
    b = GraphBuilder("function")
    inputs = [b.input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]
    with b.scope("layer"):
        made = function(b, *inputs, **more)
    results = [made] if isinstance(made, Tensor) else list(made)
    graph = b.graph({f"y{i}": t for i, t in enumerate(results)})
    verify(graph)
    return graph


def run(function: Callable[..., Made], *arrays: np.ndarray, **more: Any) -> np.ndarray:
    """The first result of the function."""
    return run_all(function, *arrays, **more)[0]


def run_all(function: Callable[..., Made], *arrays: np.ndarray, **more: Any) -> list[np.ndarray]:
    """All results of the function."""
    feeds = {f"x{i}": a for i, a in enumerate(arrays)}
    return list(interpret(graph_of(function, *arrays, **more), feeds).values())


def same(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal shape and type, and values within the tolerance of the largest."""
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind == "f" and want.size:
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=1.0))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)
    else:
        np.testing.assert_array_equal(got, want)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal f32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(*shape: int, low: int = -5, high: int = 6, dtype: Any = np.int64) -> np.ndarray:
    """Seeded integers from `low` up to, not including, `high`."""
    return np.random.default_rng(1).integers(low, high, shape).astype(dtype)
