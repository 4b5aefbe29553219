"""The whole pipeline on small networks: same values, and the nodes one would draw by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir.graph import Graph
from camshaft.passes.manager import Pass, run_passes
from camshaft.passes.pipeline import PIPELINE, optimize
from graph_checks import same
from small_nets import NETS


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


@pytest.mark.parametrize("net", NETS, ids=lambda f: f.__name__)
def test_every_source_operator_is_accounted_for(net) -> None:
    graph = net()
    after = optimize(graph)
    computing = {o for n in graph.nodes if not n.op.moves for o in n.origin}
    assert computing <= {o for n in after.nodes for o in n.origin}
    for node in after.nodes:
        assert len(set(node.origin)) == len(node.origin)


COUNTS = {
    "resnet": {"transpose": 1, "conv": 9, "pool": 2, "reshape": 1},
    "mobilenet": {"transpose": 1, "conv": 7, "pool": 2, "pointwise": 1, "reshape": 1},
    "densenet": {"transpose": 2, "conv": 8, "pointwise": 4, "concat": 3, "pool": 1},
    "detector": {"transpose": 1, "conv": 9, "resample": 1, "reshape": 4},
    "channels_last_input": {"conv": 2, "softmax": 1},
    "deconvolution": {"transpose": 2, "conv": 11, "interleave": 3, "slice": 1},
    "heads": {"transpose": 3, "conv": 3, "pool": 1, "reshape": 4, "concat": 1},
}


@pytest.mark.parametrize("net", [f for f in NETS if f.__name__ in COUNTS], ids=lambda f: f.__name__)
def test_nothing_but_the_necessary_is_left(net) -> None:
    assert ops(optimize(net())) == COUNTS[net.__name__]


def test_fused_nodes_are_named_after_their_parts() -> None:
    names = [n.name for n in optimize(NETS[0]()).nodes]
    assert "conv1 + bn2 + relu3" in names
    assert "conv13 + bn14 + add15 + relu16" in names


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
