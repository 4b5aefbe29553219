"""Layers on half floats: which can be, what they compute, and that casts go into what makes the tensors."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import DType, TensorType, bf16, f16, f32
from camshaft.ops import functional as F
from camshaft.passes.half import Halving, are_halves, exact_halves, obstacle, with_halves
from camshaft.passes.pipeline import fuse_casts, optimize

RNG = np.random.default_rng(3)


def net(largest: float = 1.0) -> Graph:
    """Two products with a ReLU between, and the first one's input added at the end."""
    b = GraphBuilder("net")
    x = y = b.input("x", TensorType(f32, (2, 5, 48)))
    for name in ("up", "down"):
        w = (RNG.standard_normal((48, 48)) / 7).astype(np.float32)
        w[0, 0] = largest
        with b.scope(name):
            y = F.relu(b, F.matmul(b, y, b.constant(w, f"w.{name}")))
    return b.graph({"y": F.add(b, y, x)})


def layers(graph: Graph) -> list[str]:
    return [n.output.name for n in graph.nodes if n.op.name in ("conv", "matmul")]


@pytest.mark.parametrize("dtype", [bf16, f16], ids=str)
@pytest.mark.parametrize("activations", [False, True], ids=["weights", "all"])
@pytest.mark.parametrize("level", [0, 1])
def test_layers_read_halves(dtype: DType, activations: bool, level: int) -> None:
    graph = optimize(net(), level=level)
    how = dict.fromkeys(layers(graph), Halving(dtype, activations))
    made = fuse_casts(with_halves(graph, how), level=level)
    products = [n for n in made.nodes if n.op.name in ("conv", "matmul")]
    assert all(n.args[1].type.dtype == dtype for n in products)
    assert all(n.args[0].type.dtype == (dtype if activations else f32) for n in products)
    if level and activations:  # the first product writes halves itself
        assert [n.output.type.dtype for n in products] == [dtype, f32]
    x = RNG.standard_normal((2, 5, 48)).astype(np.float32)
    want, got = (interpret(g, {"x": x})["y"] for g in (graph, made))
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 0 < error < 8 * dtype.step


def test_one_rounding_serves_all_readers() -> None:
    b = GraphBuilder("siblings")
    x = b.input("x", TensorType(f32, (3, 32)))
    w = b.constant(RNG.standard_normal((32, 32)).astype(np.float32), "w")
    parts = [F.matmul(b, x, w), F.matmul(b, x, b.constant(w.array * 2, "v"))]
    graph = b.graph({"y": parts[0], "z": parts[1]})
    made = with_halves(graph, dict.fromkeys(layers(graph), Halving(bf16, True)))
    casts = [n for n in made.nodes if n.op.name == "pointwise"]
    assert len(casts) == 1 and casts[0].attrs["expr"] == E.cast(E.inp(0), bf16)


def test_weights_beyond_fp16_stay_float() -> None:
    graph = optimize(net(largest=7e4))
    nodes = [n for n in graph.nodes if n.output.name in layers(graph)]
    assert all("7e+04, beyond the 65504 of FP16" in obstacle(n, f16) for n in nodes)
    assert not any(obstacle(n, bf16) for n in nodes)


def test_weights_that_are_halves_already() -> None:
    exact = np.float32([1.0, -0.5, 3.140625, 0.0, np.inf])
    assert are_halves(GraphBuilder("g").constant(exact, "w"), bf16)
    assert are_halves(GraphBuilder("g").constant(np.float32([1 + 2**-10, 65504]), "w"), f16)
    assert not are_halves(GraphBuilder("g").constant(np.float32([1 + 2**-10]), "w"), bf16)
    assert not are_halves(GraphBuilder("g").constant(np.float32([1e5]), "w"), f16)
    assert not are_halves(GraphBuilder("g").constant(np.float32([2.0**-30]), "w"), f16)
    graph = optimize(net())
    assert exact_halves(graph) == {}
    b = GraphBuilder("halves")
    x = b.input("x", TensorType(f32, (3, 8)))
    w = RNG.standard_normal((8, 8)).astype(np.float16).astype(np.float32)
    graph = optimize(b.graph({"y": F.matmul(b, x, b.constant(w, "w"))}))
    assert list(exact_halves(graph).values()) == [Halving(f16, False)]
    made = with_halves(graph, exact_halves(graph))
    feeds = {"x": RNG.standard_normal((3, 8)).astype(np.float32)}
    np.testing.assert_array_equal(interpret(graph, feeds)["y"], interpret(made, feeds)["y"])
