"""Scales and shifts are merged where that loses nothing, and not where steps cancel or numbers leave float32's range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32
from camshaft.ops import functional as F
from camshaft.passes.pipeline import optimize

SHAPE = (2, 8)
W = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Make = Callable[[GraphBuilder, Tensor], Tensor]


def _const(b: GraphBuilder, value: float | np.ndarray) -> Tensor:
    return b.constant(np.asarray(value, np.float32))


def hidden(c: float, bias: float) -> Make:
    """(1 - m) * c + bias"""

    def make(b: GraphBuilder, m: Tensor) -> Tensor:
        away = F.mul(b, F.sub(b, _const(b, 1.0), m), _const(b, c))
        return F.add(b, away, _const(b, np.arange(1, 9) * bias))

    return make


def weighted(c: float) -> Make:
    """((1 - m) * c) @ W"""
    return lambda b, m: F.matmul(
        b, F.mul(b, F.sub(b, _const(b, 1.0), m), _const(b, c)), _const(b, W)
    )


def scaled_products(scale: float, weights: float) -> Make:
    """(x @ W) * scale"""
    return lambda b, x: F.mul(
        b, F.matmul(b, x, _const(b, W * np.float32(weights))), _const(b, scale)
    )


def standardized(mean: float, deviation: float) -> Make:
    """(x - mean) / deviation + 0.5"""
    return lambda b, x: F.add(
        b, F.div(b, F.sub(b, x, _const(b, mean)), _const(b, deviation)), _const(b, 0.5)
    )


def normalized(mean: float, variance: float) -> Make:
    def make(b: GraphBuilder, x: Tensor) -> Tensor:
        full = [_const(b, np.full(8, v)) for v in (mean, variance, 1.0, 0.5)]
        return F.batch_norm(b, x, *full)

    return make


def built(make: Make) -> Graph:
    b = GraphBuilder("affine")
    with b.scope("layer"):
        return b.graph({"y": make(b, b.input("x", TensorType(f32, SHAPE)))})


@pytest.mark.parametrize(
    ("make", "value", "right"),
    [
        (hidden(-1e9, 0.125), 1.0, np.arange(1, 9) * 0.125),
        (hidden(-1e4, 0.125), 1.0, np.arange(1, 9) * 0.125),
        (hidden(float(np.finfo(np.float32).min), 0.125), 1.0, np.arange(1, 9) * 0.125),
        (hidden(-1e9, 0.125), 0.0, -1e9),
        (weighted(1e9), 1.0, 0.0),
        (weighted(3.4e38), 1.0, 0.0),
        (scaled_products(1e30, 1e10), 1e-25, W.sum(0) * 1e15),
        (standardized(1000.0, 0.001), 1000.0, 0.5),
        (normalized(1000.0, 0.0), 1000.0, 0.5),
        (lambda b, x: F.mul(b, F.mul(b, x, _const(b, 1e30)), _const(b, 1e30)), 1e-35, 1e25),
    ],
    ids=[
        "masked biased", "masked less", "masked most", "masked hidden", "mask weighed", "largest weighed",
        "weights overflow", "small deviation", "no variance", "product overflows",
    ],
)  # fmt: skip
def test_nothing_is_lost(make: Make, value: float, right: np.ndarray | float) -> None:
    graph = built(make)
    for level in (0, 1):
        x = np.full(SHAPE, value, np.float32)
        got = interpret(optimize(graph, level=level), {"x": x})["y"]
        np.testing.assert_allclose(got, np.broadcast_to(right, got.shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (scaled_products(0.125, 1.0), 2),
        (
            lambda b, x: F.add(
                b, F.mul(b, scaled_products(2.0, 1.0)(b, x), _const(b, 3.0)), _const(b, 1.0)
            ),
            2,
        ),
        (lambda b, x: normalized_product(b, x), 3),
        (lambda b, x: F.matmul(b, standardized(120.0, 58.0)(b, x), _const(b, W)), 3),
    ],
    ids=["scale", "scale and shift", "batch norm", "image"],
)
def test_the_usual_is_merged(make: Make, inputs: int) -> None:
    nodes = optimize(built(make), level=1).nodes
    (node,) = (n for n in nodes if n.op.name in ("conv", "matmul"))
    assert {n.op.name for n in nodes} <= {"conv", "matmul", "reshape"}
    assert len(node.args) == inputs, "weights, and one bias where shifts differ"


def normalized_product(b: GraphBuilder, x: Tensor) -> Tensor:
    """A product, its bias, and batch norm with means of 30 deviations."""
    product = F.add(b, F.matmul(b, x, _const(b, W)), _const(b, np.arange(4)))
    full = [_const(b, np.full(4, v)) for v in (30.0, 1.0, 0.7, 1e-6)]
    return F.batch_norm(b, product, *full)
