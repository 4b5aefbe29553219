"""Scales of any sign: ONNX allows negative ones, and zero; no rule may take them for positive."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONCAT, CONV, DEQUANTIZE, PAD, POINTWISE, POOL, QUANTIZE, REDUCE, RESHAPE
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from random_builds import built
from targets import RUNNABLE

SCALES = (0.05, -0.05, 0.03, -0.03, 0.0)
WINDOW = {"kernel": (2, 2), "strides": (2, 2), "layout": "NHWC"}
Layer = Callable[[GraphBuilder, Tensor, float], Tensor]


def point(expr: E.Expr) -> Layer:
    return lambda b, x, _: b.emit(POINTWISE, [x], {"expr": expr})


def conv(b: GraphBuilder, x: Tensor, scale: float) -> Tensor:
    """Weights with scales of both signs, and one of zero."""
    q = b.constant(np.random.default_rng(1).integers(-127, 128, (3, 1, 1, 3)).astype(np.int8))
    scales = b.constant(np.array([0.01037, scale * 0.2713, 0.0], np.float32))
    w = b.emit(DEQUANTIZE, [q, scales, b.constant(np.zeros(3, np.int8))], {"axis": 0})
    return b.emit(CONV, [x, w], {"layout": "NHWC"})


LAYERS: dict[str, Layer] = {
    "nothing": lambda b, x, _: x,
    "max pool": lambda b, x, _: b.emit(POOL, [x], {**WINDOW, "kind": "max"}),
    "padded max pool": lambda b, x, _: b.emit(
        POOL, [x], {**WINDOW, "kind": "max", "pads": (1, 1, 1, 1), "kernel": (3, 3)}
    ),
    "average pool": lambda b, x, _: b.emit(POOL, [x], {**WINDOW, "kind": "avg", "kernel": (3, 3)}),
    "reduce max": lambda b, x, _: b.emit(REDUCE, [x], {"kind": "max", "axes": (1, 2)}),
    "relu": point(E.maximum(E.inp(0), E.const(0.0))),
    "clip": point(E.clip(E.inp(0), -1.0, 0.5)),
    "reshape": lambda b, x, _: b.emit(RESHAPE, [x], {"shape": (1, 36, 3)}),
    "concat": lambda b, x, _: b.emit(CONCAT, [x, x], {"axis": 3}),
    "pad": lambda b, x, _: b.emit(PAD, [x], {"before": (0, 1, 1, 0), "after": (0, 0, 1, 0)}),
    "conv": conv,
}


def net(layer: Layer, first: float, second: float, dtype: type) -> Graph:
    """x > Q/DQ by `first` > layer > Q/DQ by `second`."""
    b = GraphBuilder("scales")

    def pair(x: Tensor, scale: float) -> Tensor:
        p = [b.constant(np.float32(scale)), b.constant(dtype(3))]
        return b.emit(DEQUANTIZE, [b.emit(QUANTIZE, [x, *p]), *p])

    x = b.input("x", TensorType(f32, (1, 6, 6, 3)))
    return b.graph({"y": pair(layer(b, pair(x, first), first), second)})


def check(graph: Graph, low: Graph, got: dict[str, np.ndarray], x: np.ndarray, scale: float):
    """Within one quantum of the Q/DQ graph; to the bit where nothing is rescaled."""
    want = interpret(graph, {"x": x})["y"]
    np.testing.assert_allclose(got["y"], want, rtol=1e-6, atol=abs(scale) * 1.001)
    assert np.mean(np.abs(got["y"] - want) > 1e-6) < 0.02  # ties
    assert not any(n.op in (QUANTIZE, DEQUANTIZE) for n in low.nodes)


@pytest.mark.parametrize("kind", LAYERS)
def test_lowering_keeps_the_meaning(kind: str) -> None:
    x = np.random.default_rng(0).normal(0, 2, (1, 6, 6, 3)).astype(np.float32)
    for first, second, dtype in product(SCALES, SCALES, (np.uint8, np.int8)):
        graph = net(LAYERS[kind], first, second, dtype)
        low = lower_quantization(optimize(graph, check=True))
        check(graph, low, dict(interpret(low, {"x": x})), x, second)


@pytest.mark.codegen
@pytest.mark.parametrize("kind", LAYERS)
def test_engines_keep_the_meaning(kind: str) -> None:
    x = np.random.default_rng(0).normal(0, 2, (1, 6, 6, 3)).astype(np.float32)
    for first, second in ((-0.05, -0.05), (-0.03, 0.05), (0.03, -0.05), (0.0, 0.05), (0.05, 0.0)):
        graph = net(LAYERS[kind], first, second, np.int8)
        low = lower_quantization(optimize(graph))
        check(graph, low, built(low, RUNNABLE[0], 1, 1)({"x": x}), x, second)
