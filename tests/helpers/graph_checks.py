"""Whether two graphs compute the same, on seeded inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify


def feeds(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {}
    for t in graph.inputs:
        if t.type.dtype.is_float:
            made[t.name] = rng.standard_normal(t.shape).astype(t.type.dtype.numpy)
        else:
            made[t.name] = rng.integers(0, 100, t.shape).astype(t.type.dtype.numpy)
    return made


def same(before: Graph, after: Graph, tolerance: float = 1e-5) -> None:
    verify(after)
    x = feeds(before)
    want, got = interpret(before, x), interpret(after, x)
    assert list(want) == list(got)
    for name, y in want.items():
        assert got[name].dtype == y.dtype
        scale = max(1.0, float(np.max(np.abs(y), initial=0.0)))
        np.testing.assert_allclose(got[name], y, rtol=tolerance, atol=tolerance * scale)


def interpreted(graph: Graph) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """What computes the graph by the references of its ops."""
    return partial(interpret, graph)
