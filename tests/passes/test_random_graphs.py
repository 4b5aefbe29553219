"""The pipeline on random small graphs: whatever fires in whatever order, values stay."""

from __future__ import annotations

import pytest

from camshaft.passes.pipeline import optimize, with_merged_siblings
from graph_checks import same
from random_nets import RandomNet


@pytest.mark.parametrize("seed", range(80))
def test_random_graph_keeps_its_value(seed) -> None:
    net = RandomNet(seed)
    graph = net.grow(5 + seed % 20)
    for level in (0, 1):
        optimized = optimize(graph, level=level, check=True)
        same(graph, optimized, 1e-4)
    same(graph, with_merged_siblings(optimized, check=True), 1e-4)
