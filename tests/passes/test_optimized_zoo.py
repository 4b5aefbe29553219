"""What is left of real networks.  Models are found where `benchmarks.zoo` puts them.

A model that has not been made there is left out, with that as the reason.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from camshaft.backends.cpu.tactics import PREFERENCES
from camshaft.builder.bufferize import Copy, bufferize
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.passes.pipeline import optimize
from zoo_models import SHAPES, ZOO

# Nodes that compute; what moves (reshapes, concats, slices) is free or counted as copies.
COMPUTING = {
    "resnet18": {"conv": 21, "pool": 2},
    "resnet50": {"conv": 54, "pool": 2},
    "googlenet": {"conv": 58, "pool": 14},
    "densenet121": {"conv": 121, "pool": 5, "pointwise": 62},
    "mobilenet_v2": {"conv": 53, "pool": 1},
    "mobilenet_v3_small": {"conv": 54, "pool": 10, "pointwise": 9},
    "efficientnet_b0": {"conv": 82, "pool": 17, "pointwise": 16},
    "efficientnet_lite0": {"conv": 50, "pool": 1},
    "squeezenet1.1": {"conv": 26, "pool": 4},
    "scrfd": {"conv": 57, "pool": 4, "resample": 2},
    "open_nsfw": {"conv": 54, "pool": 2, "softmax": 1},
    "mlp": {"conv": 3},
}
MOVING = {"transpose", "reshape", "concat", "slice", "interleave"}


def model(name: str) -> Graph:
    found = sorted(ZOO.rglob(f"{name}.onnx"))
    if not found:
        pytest.skip(f"{name} is not in {ZOO.name}; python -m benchmarks.zoo {name} makes it")
    return import_onnx(found[-1], shapes=SHAPES.get(name))


@pytest.mark.parametrize("name", COMPUTING)
def test_only_what_computes_is_left_and_nothing_is_copied(name) -> None:
    graph = model(name)
    after = optimize(graph)
    counts = Counter(n.op.name for n in after.nodes)
    assert {k: v for k, v in counts.items() if k not in MOVING} == COMPUTING[name]
    boundary = {t.name for t in (*after.inputs, *after.outputs)}
    for node in after.nodes:
        if node.op.name == "transpose":
            assert boundary & {node.args[0].name, node.output.name}, "a transpose inside"
    assert not [w for w in bufferize(after, PREFERENCES).work if isinstance(w, Copy)]


@pytest.mark.parametrize("name", ["mlp", "squeezenet1.1", "mobilenet_v3_small"])
def test_values_are_those_of_the_imported_graph(name) -> None:
    graph = model(name)
    rng = np.random.default_rng(3)
    feeds = {t.name: rng.standard_normal(t.shape).astype(np.float32) for t in graph.inputs}
    want = interpret(graph, feeds)
    for level in (0, 1):
        got = interpret(optimize(graph, level=level, check=True), feeds)
        for key, y in want.items():
            np.testing.assert_allclose(got[key], y, rtol=1e-4, atol=1e-5 * np.abs(y).max())
