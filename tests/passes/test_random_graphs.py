"""The pipeline on random small graphs: whatever fires in whatever order, values stay."""

from __future__ import annotations

import pytest

from camshaft.passes.pipeline import optimize
from graph_checks import same
from random_nets import RandomNet


@pytest.mark.parametrize("seed", range(80))
def test_random_graph_keeps_its_value(seed) -> None:
    net = RandomNet(seed)
    graph = net.grow(5 + seed % 20)
    for options in ({"level": 0}, {"level": 1}, {"level": 1, "siblings": True}):
        same(graph, optimize(graph, check=True, **options), 1e-4)
