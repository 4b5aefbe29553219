"""Layers on half floats: which can be, what they compute, and that casts go into what makes the tensors."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import DType, TensorType, bf16, f16, f32
from camshaft.ops import ATTENTION
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


def attention_net() -> Graph:
    """x [2, 5, 48] > three products > heads > attention > a product; the keys are an output too."""
    b = GraphBuilder("attention")
    x = b.input("x", TensorType(f32, (2, 5, 48)))
    parts = []
    for name in "qkv":
        w = b.constant((RNG.standard_normal((48, 48)) / 7).astype(np.float32), f"w.{name}")
        with b.scope(name):
            heads = F.reshape(b, F.matmul(b, x, w), (2, 5, 3, 16))
            parts.append(F.transpose(b, heads, (0, 2, 1, 3)))
    y = b.emit(ATTENTION, parts, {"score": E.mul(E.inp(0), E.const(0.25))}, name="attend")
    flat = F.reshape(b, F.transpose(b, y, (0, 2, 1, 3)), (2, 5, 48))
    w = b.constant((RNG.standard_normal((48, 48)) / 7).astype(np.float32), "w.out")
    return b.graph({"y": F.matmul(b, flat, w), "keys": parts[1]})


def test_attention_of_halves() -> None:
    """Products write halves where attention alone reads them, and attention where the next product does."""
    graph = optimize(attention_net())
    names = [n.output.name for n in graph.nodes if n.op.name in ("conv", "matmul", "attention")]
    made = fuse_casts(with_halves(graph, dict.fromkeys(names, Halving(bf16, True))))
    (attention,) = (n for n in made.nodes if n.op is ATTENTION)
    assert attention.attrs["products"] == "bf16"
    assert [t.type.dtype for t in attention.args] == [bf16, f32, bf16]
    assert attention.output.type.dtype == bf16
    assert sum(n.op.name == "pointwise" for n in made.nodes) == 1  # which rounds x
    x = RNG.standard_normal((2, 5, 48)).astype(np.float32)
    want, got = (interpret(g, {"x": x}) for g in (graph, made))
    for name in ("y", "keys"):
        error = np.abs(got[name] - want[name]).max() / np.abs(want[name]).max()
        assert 0 < error < 8 * bf16.step
    (node,) = (n for n in graph.nodes if n.op is ATTENTION)
    assert "no weights" in obstacle(node, Halving(bf16, False))
    assert "f32 and of bf16 only" in obstacle(node, Halving(f16, True))
    assert "'bf16' already" in obstacle(attention, Halving(bf16, True))


def test_weights_beyond_fp16_stay_float() -> None:
    graph = optimize(net(largest=7e4))
    nodes = [n for n in graph.nodes if n.output.name in layers(graph)]
    assert all("7e+04, beyond the 65504 of FP16" in obstacle(n, Halving(f16, False)) for n in nodes)
    assert not any(obstacle(n, Halving(bf16, True)) for n in nodes)


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
