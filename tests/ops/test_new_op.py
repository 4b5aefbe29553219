"""Ops that no module knows: what follows from each field of their definitions, and from nothing else.

Each stands between two convolutions of a net.  The definitions here are all that is written for
them, but for their being listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import camshaft
from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.frontends.onnx.export import export_onnx
from camshaft.ir import expr as E
from camshaft.ir.dumps.dot import graph_dot
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.op import Attribute, Commutes, OpDef, Reordering, Role
from camshaft.ir.types import TensorType, f32, u8
from camshaft.machine.backend import backend_of
from camshaft.ops import CONV, OPS_BY_NAME, POINTWISE
from camshaft.ops.catalogue import catalogue
from camshaft.ops.common import axis_follows
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.runtime.engine import Engine
from graph_checks import interpreted

RELU = {"expr": E.maximum(E.inp(0), E.const(0.0))}
X = np.random.default_rng(0).standard_normal((1, 3, 6, 8)).astype(np.float32)


def same_type(types: Sequence[TensorType], attrs: Mapping[str, Any]) -> list[TensorType]:
    return [types[0]]


def reversed_axis(arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.flip(arrays[0], attrs["axis"]))]


def without_edge(types: Sequence[TensorType], attrs: Mapping[str, Any]) -> list[TensorType]:
    return [TensorType(types[0].dtype, inner_shape(types[0].shape, attrs["axis"]))]


def inner_shape(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(d - 2 * (i == axis) for i, d in enumerate(shape))


def inner(arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> list[np.ndarray]:
    x, axis = arrays[0], attrs["axis"]
    return [np.take(x, range(1, x.shape[axis] - 1), axis)]


def inner_view(source: Any, shape: tuple[int, ...], attrs: Mapping[str, Any]) -> Any:
    starts = [int(i == attrs["axis"]) for i in range(len(shape))]
    return source.sliced(starts, (1,) * len(shape), shape)


def spread(arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> list[np.ndarray]:
    return [np.ptp(arrays[0], axis=attrs["axis"], keepdims=True)]


def spread_type(types: Sequence[TensorType], attrs: Mapping[str, Any]) -> list[TensorType]:
    x = types[0]
    return [
        TensorType(x.dtype, tuple(1 if i == attrs["axis"] else d for i, d in enumerate(x.shape)))
    ]


AXIS = {"axis": Attribute("along which it works")}
ANY_ORDER = Reordering((Role.ALIGNED,), axis_follows)

PLAIN = OpDef("plain_flip", "x backwards.", same_type, reversed_axis, AXIS, "movement")
FLIP = replace(
    PLAIN,
    name="flip",
    moves=True,
    reordering=ANY_ORDER,
    commutes=Commutes(axis=lambda axis, x, out, attrs: axis),
    value_range=lambda operands, attrs: operands.range_of(0),
)
INNER = OpDef(
    "inner",
    "x without its first and last element.",
    without_edge,
    inner,
    AXIS,
    "movement",
    moves=True,
    view=inner_view,
    reordering=ANY_ORDER,
    commutes=Commutes(),
)
SPREAD = OpDef(
    "spread", "max(x) - min(x).", spread_type, spread, AXIS, "rowwise", reordering=ANY_ORDER
)
MIX = replace(FLIP, name="mix", commutes=None, moves=False, smooths=True)
NEW = (PLAIN, FLIP, INNER, SPREAD, MIX)


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for op in NEW:
        monkeypatch.setitem(OPS_BY_NAME, op.name, op)


class Net:
    """x -> convolution and ReLU -> `middle` -> convolution."""

    def __init__(self) -> None:
        self.b, self.rng = GraphBuilder("net"), np.random.default_rng(1)

    def conv(self, x: Tensor, name: str) -> Tensor:
        w = self.b.constant(
            self.rng.standard_normal((8, x.shape[1], 1, 1), np.float32), f"{name}.w"
        )
        return self.b.emit(CONV, [x, w], {"layout": "NCHW"}, name=name, output=f"{name}:y")

    def head(self) -> Tensor:
        x = self.b.input("x", TensorType(f32, X.shape))
        return self.b.emit(POINTWISE, [self.conv(x, "first")], RELU, name="relu")

    def done(self, y: Tensor) -> Graph:
        return self.b.graph({"y": y})


def between(op: OpDef | None, axis: int = 2) -> Graph:
    net = Net()
    y = net.head()
    if op is not None:
        y = net.b.emit(op, [y], {"axis": axis}, name="new")
    return net.done(net.conv(y, "last"))


def engine_of(graph: Graph) -> Engine:
    backend = backend_of(host_target())
    builder = Builder(backend, TimingCache(), level=1, threads=1, workspace_limit=1 << 30)
    return builder.finish(builder.tune(graph), backend.fingerprint)


def quantized(graph: Graph) -> Graph:
    """The optimized graph in INT8, as far as it may be."""
    quantization = ImplicitQuantization(graph)

    quantization.calibrate([{"x": X}], interpreted, "minmax", 100.0)
    return lower_quantization(quantization.quantized()[0])


def node_of(graph: Graph, op: OpDef) -> Node:
    (node,) = (n for n in graph.nodes if n.op is op)
    return node


def count(graph: Graph, name: str) -> int:
    return sum(n.op.name == name for n in graph.nodes)


@pytest.mark.codegen
@pytest.mark.parametrize("op", NEW, ids=lambda op: op.name)
def test_it_is_computed_shown_and_saved(op: OpDef, tmp_path: Path) -> None:
    graph = between(op)
    (want,) = interpret(graph, {"x": X}).values()
    optimized = optimize(graph, check=True)
    engine = engine_of(optimized)
    np.testing.assert_allclose(engine(X)["y"], want, rtol=1e-4, atol=1e-5)
    engine.save(tmp_path / "new.engine")
    loaded = camshaft.load(tmp_path / "new.engine")
    np.testing.assert_array_equal(loaded(X)["y"], engine(X)["y"])
    assert op.name in graph_dot(optimized)
    onnx.checker.check_model(export_onnx(optimized))
    assert f"### {op.name}\n\n{op.doc}" in catalogue([op])


@pytest.mark.codegen
@pytest.mark.parametrize("op", [PLAIN, FLIP], ids=lambda op: op.name)
def test_without_a_kernel_it_is_a_host_step(op: OpDef) -> None:
    steps = engine_of(optimize(between(op))).inspect()["steps"]
    (step,) = (s for s in steps if s["kind"] == "host")
    assert step["op"] == op.name and step["origin"] == ["new"]


@pytest.mark.codegen
def test_a_view_is_no_step() -> None:
    plain, viewed = (engine_of(optimize(between(op))).inspect()["steps"] for op in (None, INNER))
    assert [s["op"] for s in viewed] == [s["op"] for s in plain]


def test_axes_are_followed_where_the_op_says_how() -> None:
    without, own_order, followed = (optimize(between(op)) for op in (None, PLAIN, FLIP))
    assert count(followed, "transpose") == count(without, "transpose")
    assert count(own_order, "transpose") > count(without, "transpose")
    assert node_of(own_order, PLAIN).attrs["axis"] == 2
    assert node_of(followed, FLIP).attrs["axis"] == 1  # the height, channels last


def test_bytes_pass_through_what_commutes_with_quantization() -> None:
    assert node_of(quantized(optimize(between(FLIP))), FLIP).args[0].type.dtype == u8
    assert node_of(quantized(optimize(between(PLAIN))), PLAIN).args[0].type.dtype == f32


@pytest.mark.parametrize(("op", "left"), [(FLIP, 1), (PLAIN, 2)], ids=["known", "unknown"])
def test_ranges_pass_through_where_the_op_says_so(op: OpDef, left: int) -> None:
    """A second ReLU does nothing to what a first one made, if all that lies between only moves it."""
    net = Net()
    y = net.b.emit(op, [net.head()], {"axis": 2}, name="new")
    y = net.b.emit(POINTWISE, [y], RELU, name="again")
    graph = optimize(net.done(y))
    relus = [n for n in graph.nodes if n.op.expression and "max" in str(n.attrs[n.op.expression])]
    assert len(relus) == left


@pytest.mark.parametrize("statistic", [False, True])
def test_what_a_statistic_normalizes_stays_float(
    statistic: bool,
) -> None:
    op = replace(SPREAD, statistic=lambda types, output, attrs: statistic)
    net = Net()
    x = net.head()
    wide = net.b.emit(op, [x], {"axis": 2}, name="spread")
    divide = {"expr": E.div(E.inp(0), E.add(E.inp(1), E.const(1.0)))}
    y = net.b.emit(POINTWISE, [x, wide], divide, name="normalize")
    graph = optimize(net.done(net.conv(y, "last")))
    plan = ImplicitQuantization(graph).plan()
    (normalize,) = (n for n in graph.nodes if n.op is POINTWISE)
    assert ((normalize.output.name, 0) in plan.uses) != statistic


@pytest.mark.parametrize("smooths", [False, True])
def test_nothing_behind_the_last_sums_is_quantized(smooths: bool) -> None:
    op = replace(MIX, smooths=smooths)
    net = Net()
    x = net.head()
    y = net.b.emit(POINTWISE, [x, x], {"expr": E.mul(E.inp(0), E.inp(1))}, name="square")
    y = net.b.emit(POINTWISE, [x, y], {"expr": E.sub(E.inp(0), E.inp(1))}, name="rest")
    graph = net.done(net.b.emit(op, [y], {"axis": 2}, name="mix"))
    plan = ImplicitQuantization(optimize(graph, level=0)).plan()
    assert bool({name for name, _ in plan.uses if name.startswith("rest")}) == smooths
