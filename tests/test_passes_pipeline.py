"""The whole pipeline on small networks: same values, and the nodes one would draw by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir.graph import Graph
from camshaft.passes.manager import Pass, run_passes
from camshaft.passes.pipeline import PIPELINE, optimize
from small_nets import NETS
from test_passes_rules import same


def ops(graph: Graph) -> dict[str, int]:
    return dict(Counter(n.op.name for n in graph.nodes))


@pytest.mark.parametrize("net", NETS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("level", [0, 1])
def test_network_keeps_its_value(net, level) -> None:
    graph = net()
    after = optimize(graph, level=level, check=True)
    same(graph, after)
    for node in after.nodes:
        assert node.attrs.get("layout", "NHWC") == "NHWC"


def test_dump_hook_sees_every_pass_of_the_level() -> None:
    seen: list[str] = []
    optimize(NETS[0](), level=0, on_pass=lambda name, graph: seen.append(name))
    assert seen == [p.name for p in PIPELINE if p.level == 0]


def test_pass_that_breaks_the_graph_is_named() -> None:
    def drop_output(graph: Graph) -> Graph:
        return Graph(graph.name, graph.inputs, (), (), graph.nodes)

    with pytest.raises(ModelError, match="'careless'"):
        run_passes(NETS[0](), [Pass("careless", drop_output)], level=1)


def test_optimizing_twice_changes_nothing() -> None:
    once = optimize(NETS[0]())
    twice = optimize(once)
    assert [n.name for n in twice.nodes] == [n.name for n in once.nodes]
    assert np.all([a.op is b.op for a, b in zip(once.nodes, twice.nodes, strict=True)])
