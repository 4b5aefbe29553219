"""Rewrites of graphs with open extents: they fire where no extent matters, and keep the value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32
from camshaft.ops import (
    CONCAT,
    CONV_TRANSPOSE,
    GATHER,
    MATMUL,
    PAD,
    POINTWISE,
    POOL,
    RESHAPE,
    SLICE,
    TRANSPOSE,
)
from camshaft.passes.pipeline import optimize

N, H, W = (extent_of(Symbol(name, 1, 4)) for name in "nhw")
SIZES = ({"n": 4, "h": 5, "w": 3}, {"n": 1, "h": 1, "w": 1}, {"n": 9, "h": 8, "w": 17})


def given(b: GraphBuilder, *shape: Extent, name: str = "x") -> Tensor:
    return b.input(name, TensorType(f32, shape))


def optimized(build: Callable[[GraphBuilder], Tensor]) -> Graph:
    """The graph after the pipeline, whose values are those of the graph before it at any sizes."""
    b = GraphBuilder("open")
    before = b.graph({"y": build(b)})
    after = optimize(before)
    rng = np.random.default_rng(0)
    for sizes in SIZES:
        feeds = {
            t.name: rng.standard_normal([evaluate(e, sizes) for e in t.shape], np.float32)
            for t in before.inputs
        }
        want, got = interpret(before, feeds)["y"], interpret(after, feeds)["y"]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    return after


def ops(graph: Graph) -> Counter[str]:
    return Counter(n.op.name for n in graph.nodes)


def test_a_transposed_convolution_whose_taps_skip_pixels_is_lowered() -> None:
    def build(b: GraphBuilder) -> Tensor:
        w = b.constant(np.random.default_rng(1).standard_normal((4, 3, 1, 1), np.float32), "w")
        attrs = {"strides": (2, 2), "output_padding": (1, 1)}
        return b.emit(CONV_TRANSPOSE, [given(b, 1, 4, H, W), w], attrs, name="deconv")

    assert "conv_transpose" not in ops(optimized(build))


def test_a_pad_behind_relu_moves_into_the_pool() -> None:
    def build(b: GraphBuilder) -> Tensor:
        relu = {"expr": E.maximum(E.inp(0), E.const(0.0))}
        y = b.emit(POINTWISE, [given(b, 1, 4, H, W)], relu, name="relu")
        y = b.emit(PAD, [y], {"before": (0, 0, 1, 1), "after": (0, 0, 1, 1)}, name="pad")
        pool = {"kind": "max", "kernel": (3, 3), "strides": (2, 2), "layout": "NCHW"}
        return b.emit(POOL, [y], pool, name="pool")

    assert "pad" not in ops(optimized(build))


def test_a_pad_as_long_as_the_window_stays_before_the_pool() -> None:
    def build(b: GraphBuilder) -> Tensor:
        relu = {"expr": E.maximum(E.inp(0), E.const(0.0))}
        y = b.emit(POINTWISE, [given(b, 1, 4, H, W)], relu, name="relu")
        y = b.emit(PAD, [y], {"before": (0, 0, 2, 0), "after": (0, 0, 0, 0)}, name="pad")
        pool = {"kind": "max", "kernel": (2, 1), "layout": "NCHW"}
        return b.emit(POOL, [y], pool, name="pool")

    assert ops(optimized(build))["pad"] == 1


@pytest.mark.parametrize(("index", "op"), [(-1, "slice"), ([-1], "slice"), ([-1, 0], "gather")])
def test_indices_from_the_end_are_a_slice_where_they_follow_each_other(
    index: object, op: str
) -> None:
    def build(b: GraphBuilder) -> Tensor:
        where = b.constant(np.asarray(index, np.int64), "index")
        return b.emit(GATHER, [given(b, 2, N, 8), where], {"axis": 1}, name="gather")

    assert {"slice", "gather"} & set(ops(optimized(build))) == {op}


def test_a_function_moves_before_a_slice_that_keeps_most_at_typical_sizes() -> None:
    b = GraphBuilder("open")
    long = extent_of(Symbol("long", 2, 64))
    w = b.constant(np.random.default_rng(1).standard_normal((6, 8), np.float32), "w")
    y = b.emit(MATMUL, [given(b, 1, long, 6), w], name="matmul")
    rows = {"starts": (0, 1, 0), "sizes": (1, long - 1, 8), "steps": (1, 1, 1)}
    y = b.emit(SLICE, [y], rows, name="slice")
    y = b.emit(POINTWISE, [y], {"expr": E.unary("exp", E.inp(0))}, name="exp")
    assert "pointwise" not in ops(optimize(b.graph({"y": y})))


def test_an_empty_part_of_a_concat_is_dropped_beside_open_ones() -> None:
    def build(b: GraphBuilder) -> Tensor:
        parts = [given(b, N, 0, name="a"), given(b, N, 3, name="b"), given(b, N, H, name="c")]
        return b.emit(CONCAT, parts, {"axis": 1}, name="concat")

    (node,) = optimized(build).nodes
    assert len(node.args) == 2


@pytest.mark.parametrize(
    ("shape", "perm", "wanted"),
    [((H, W), (1, 0), (1, 1)), ((3, N), (1, 0), (N, 3, W)), ((N, 3), (1, 0), (3,))],
)
def test_reshapes_that_hold_at_some_sizes_only(
    shape: tuple[Extent, ...], perm: tuple[int, ...], wanted: tuple[Extent, ...]
) -> None:
    b = GraphBuilder("open")
    y = b.emit(TRANSPOSE, [given(b, *shape)], {"perm": perm}, name="transpose")
    y = b.emit(RESHAPE, [y], {"shape": wanted}, name="reshape")
    back = tuple(range(len(wanted)))[::-1]
    graph = b.graph({"y": b.emit(TRANSPOSE, [y], {"perm": back}, name="back")})
    assert optimize(graph).outputs[0].shape == wanted[::-1]
