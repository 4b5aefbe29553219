"""One-dimensional nets whose long axis is the height are computed along the width."""

from __future__ import annotations

import pytest

from camshaft.ir.graph import Graph
from camshaft.ops import CONV, POOL, TRANSPOSE
from camshaft.passes.pipeline import optimize
from graph_checks import same
from small_nets import Net


def column_net(*, width: int = 1) -> Graph:
    """Convolution, depthwise convolution, residual, pools: what a Conv1D net exported as 2-D is."""
    n = Net("column")
    x = n.input((2, 6, 37, width))
    pads = (1, 0, 1, 0)
    y = n.relu(n.bn(n.conv(x, 8, bias=True, rows=3, pads=pads)))
    y = n.add(
        y, n.relu(n.conv(y, 8, bias=True, rows=3, groups=8, pads=(2, 0, 2, 0), dilations=(2, 1)))
    )
    y = n.mul(y, n.random(37, 1))  # an operand that varies along the long axis
    attrs = {"kernel": (3, 1), "strides": (2, 1), "pads": pads, "layout": "NCHW"}
    y = n.b.emit(POOL, [y], {**attrs, "kind": "max"}, name="max")
    y = n.b.emit(POOL, [y], {**attrs, "kind": "avg", "ceil_mode": True}, name="avg")
    return n.done(n.conv(y, 4, rows=5, strides=(2, 1)))


@pytest.mark.parametrize("level", [0, 1])
def test_everything_runs_along_the_width_and_nothing_is_moved(level: int) -> None:
    graph = column_net()
    final = optimize(graph, level=level, check=True)
    same(graph, final, 1e-4)
    spatial = [n for n in final.nodes if n.op in (CONV, POOL)]
    assert len(spatial) == 5
    assert all(n.args[0].shape[1] == 1 and n.args[0].shape[2] > 1 for n in spatial)
    assert sum(n.op is TRANSPOSE for n in final.nodes) <= 2  # where the model's layout begins, ends
    if level:
        assert {n.op.name for n in final.nodes} <= {"conv", "pool", "transpose", "reshape"}


def test_images_of_several_columns_stay() -> None:
    final = optimize(column_net(width=2))
    assert all(n.args[0].shape[1] > 1 for n in final.nodes if n.op in (CONV, POOL))
