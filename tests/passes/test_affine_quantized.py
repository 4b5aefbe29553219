"""A batch norm behind quantized weights goes into their scales: the integers stay, but for signs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32, i8
from camshaft.ops import functional as F
from camshaft.passes.pipeline import optimize

RNG = np.random.default_rng(0)
STORED = RNG.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
SCALES = RNG.uniform(0.01, 0.1, 6).astype(np.float32)
X: Mapping[str, np.ndarray] = {"x": RNG.standard_normal((2, 3, 7, 7)).astype(np.float32)}
FACTORS = np.array([2.0, -1.5, 0.0, 1e-3, 1.0, -4.0], np.float32)


def convolution(
    factors: np.ndarray, stored: np.ndarray = STORED, scales: np.ndarray = SCALES, zero: int = 0
) -> Graph:
    b = GraphBuilder("norm")
    x = b.input("x", TensorType(f32, (2, 3, 7, 7)))
    q, scale = b.constant(stored, "w"), b.constant(scales, "s")
    w = F.dequantize(
        b, q, scale, b.constant(np.full(scales.shape, zero, stored.dtype), "z"), axis=0
    )
    y = F.conv(b, x, w, None, padding=1)
    y = F.mul(b, y, b.constant(factors.reshape(-1, 1, 1), "a"))
    return b.graph({"y": F.add(b, y, b.constant(np.ones((6, 1, 1), np.float32), "b"))})


def stored_in(graph: Graph) -> np.ndarray | None:
    """The integers of the only product, [K, R, S, C]; None where there are none."""
    node = next(n for n in graph.nodes if n.op.name in ("conv", "matmul"))
    made = graph.producers.get(node.args[1].name)
    return None if made is None else made.args[0].array


def scales_behind(graph: Graph) -> bool:
    """Whether a product is left that multiplies what the convolution makes by constants."""
    node = next(n for n in graph.nodes if n.op.name in ("conv", "matmul"))
    return "mul" in str(node.attrs.get("epilogue"))


@pytest.mark.parametrize("scales", [SCALES, SCALES[0]], ids=["by channel", "one"])
def test_scales_take_the_factors(scales: np.ndarray) -> None:
    graph = convolution(FACTORS, scales=np.asarray(scales))
    made = optimize(graph)
    want = STORED * np.sign(FACTORS).astype(np.int8)[:, None, None, None]
    np.testing.assert_array_equal(stored_in(made), want.transpose(0, 2, 3, 1))
    assert not scales_behind(made)
    np.testing.assert_allclose(
        interpret(made, X)["y"], interpret(graph, X)["y"], rtol=1e-5, atol=1e-5
    )


def test_rows_of_a_product_too() -> None:
    b = GraphBuilder("rows")
    x = b.input("x", TensorType(f32, (5, 6)))
    stored = RNG.integers(-127, 128, (6, 6)).astype(np.int8)
    zeros = b.constant(np.zeros(6, np.int8), "z")
    w = F.dequantize(b, b.constant(stored, "w"), b.constant(SCALES, "s"), zeros, axis=1)
    y = F.mul(b, F.matmul(b, x, w), b.constant(FACTORS, "a"))
    graph = b.graph({"y": y})
    made = optimize(graph)
    feeds = {"x": RNG.standard_normal((5, 6)).astype(np.float32)}
    np.testing.assert_allclose(
        interpret(made, feeds)["y"], interpret(graph, feeds)["y"], rtol=1e-5, atol=1e-5
    )
    assert not scales_behind(made)


@pytest.mark.parametrize(
    ("factors", "stored", "zero"),
    [
        (-FACTORS, np.full_like(STORED, -128), 0),
        (FACTORS, STORED, 3),
        (np.full(6, 1e-37, np.float32), STORED, 0),
    ],
    ids=["-128 has no opposite", "a zero point", "too small a scale"],
)
def test_what_has_no_such_form_stays(factors: np.ndarray, stored: np.ndarray, zero: int) -> None:
    graph = convolution(factors, stored, zero=zero)
    made = optimize(graph)
    kept = stored_in(made)
    assert kept is not None
    assert kept.dtype == i8.numpy
    np.testing.assert_array_equal(kept, stored.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(
        interpret(made, X)["y"], interpret(graph, X)["y"], rtol=1e-5, atol=1e-5
    )
