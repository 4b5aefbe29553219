"""Why the calibrators Entropy (after fusion) and Entropy2 (before it) agree here: ranges of what is
quantized are those of the same tensors in the unfused graph."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir.graph import Graph
from camshaft.passes.pipeline import optimize
from camshaft.quant.calibration.calibrate import Observers, observe, solve_ranges
from camshaft.quant.calibration.solvers import solver_named
from camshaft.quant.placement import plan_quantization
from graph_checks import interpreted
from small_nets import Net


def residual_net() -> Graph:
    """conv + bn + relu, a residual addition, a concat, both pools."""
    n = Net("residual", seed=4)
    x = n.relu(n.bn(n.conv(n.input((2, 3, 16, 16)), 8, 3, pads=(1, 1, 1, 1))))
    y = n.relu(n.bn(n.conv(x, 8, 3, pads=(1, 1, 1, 1))))
    x = n.relu(n.add(n.bn(n.conv(y, 8)), x))
    parts = [n.relu(n.bn(n.conv(x, 6))), n.conv(n.pool(x, "avg", 3, 1, 1), 4), n.conv(x, 6)]
    x = n.pool(n.concat(*parts), "max", 2, 2)
    x = n.pool(n.relu(n.bn(n.conv(x, 8))), "avg", 2, 2)
    return n.done(n.conv(x, 5))


@pytest.mark.parametrize("calibrator", ["entropy", "entropy2", "minmax", "percentile", "mse"])
def test_ranges_before_and_after_fusion_are_equal(calibrator: str) -> None:
    imported = residual_net()
    fused, unfused = optimize(imported, level=1), optimize(imported, level=0)
    assert len(fused.nodes) < len(unfused.nodes)
    plan = plan_quantization(fused)
    assert len(plan.observed) >= 7
    missing = set(plan.observed) - set(unfused.tensors)
    assert not missing, "fusion made tensors of its own"
    rng = np.random.default_rng(0)
    batches = [{"x": rng.standard_normal((2, 3, 16, 16)).astype(np.float32)} for _ in range(3)]
    ranges = []
    for graph in (fused, unfused):
        watched = Observers.of(plan.observed, [])
        observe(graph, batches, watched, interpreted)
        ranges.append(solve_ranges(watched.observers, plan, solver_named(calibrator)))
    for name, interval in ranges[0].items():
        widest = max(map(abs, interval))
        np.testing.assert_allclose(ranges[1][name], interval, rtol=0, atol=2e-6 * widest)
