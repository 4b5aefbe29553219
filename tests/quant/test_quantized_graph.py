"""Implicit quantization of graphs: what becomes u8, who shares a range, what stays float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from onnx import helper, numpy_helper

from camshaft.errors import CalibrationError, ConfigError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32, u8
from camshaft.ops import CONCAT, CONV, POINTWISE, POOL
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.quant.implicit import ImplicitQuantization
from graph_checks import interpreted

ADD = {"expr": E.add(E.inp(0), E.inp(1))}
RELU = {"expr": E.maximum(E.inp(0), E.const(0.0))}
SIGMOID = {"expr": E.sigmoid(E.inp(0))}


class FloatNet:
    def __init__(self) -> None:
        self.b = GraphBuilder("float")
        self.rng = np.random.default_rng(5)

    def input(self, *shape: int) -> Tensor:
        return self.b.input("x", TensorType(f32, shape))

    def conv(self, x: Tensor, k: int, size: int, name: str, act: bool = True) -> Tensor:
        scale = np.sqrt(2.0 / (x.shape[1] * size * size))
        w = self.rng.standard_normal((k, x.shape[1], size, size)) * scale
        attrs = {"layout": "NCHW", "pads": (size // 2,) * 4}
        constant = self.b.constant(w.astype(np.float32), f"{name}.w")
        y = self.b.emit(CONV, [x, constant], attrs, name=name, output=f"{name}:y")
        return self.b.emit(POINTWISE, [y], RELU, name=f"{name}.relu") if act else y


def inception() -> Graph:
    """Branches of different ranges into a concat, with a max pool beside; two more convs."""
    n = FloatNet()
    x = n.conv(n.input(1, 8, 9, 9), 8, 3, "stem")
    pool = {"kind": "max", "kernel": (3, 3), "pads": (1, 1, 1, 1), "layout": "NCHW"}
    p = n.b.emit(POOL, [x], pool, name="pool")
    parts = [n.conv(x, 8, 1, "a"), n.conv(x, 12, 3, "b"), n.conv(p, 4, 1, "c")]
    joined = n.b.emit(CONCAT, parts, {"axis": 1}, name="concat")
    y = n.conv(joined, 8, 3, "d")
    skip = n.b.emit(POINTWISE, [n.conv(y, 8, 3, "e", act=False), y], ADD, name="add")
    last = n.conv(n.b.emit(POINTWISE, [skip], RELU, name="addrelu"), 5, 1, "head", act=False)
    return n.b.graph({"y": n.b.emit(POINTWISE, [last], SIGMOID, name="sigmoid")})


def batches(count: int = 4) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(11)
    for _ in range(count):
        yield {"x": rng.standard_normal((1, 8, 9, 9)).astype(np.float32)}


def quantization(graph: Graph, **options: object) -> ImplicitQuantization:
    q = ImplicitQuantization(graph, **options)  # type: ignore[arg-type]
    q.calibrate(batches(), interpreted, "minmax", 99.99)  # type: ignore[arg-type]
    return q


def precisions(graph: Graph) -> Mapping[str, str]:
    """First source layer of each convolution -> element type of its input."""
    return {n.origin[0]: n.args[0].type.dtype.name for n in graph.nodes if n.op is CONV}


def test_bytes_travel_between_all_convolutions_and_the_output_stays_float() -> None:
    graph = optimize(inception())
    low = lower_quantization(quantization(graph).quantized()[0])
    assert set(precisions(low).values()) == {"u8"}
    for n in low.nodes:
        if n.op is CONV and n is not low.producers[low.outputs[0].name]:
            assert "head" in n.name or n.output.type.dtype == u8, n
    assert low.outputs[0].type.dtype == f32
    assert sum(n.op is POINTWISE for n in low.nodes) == 1  # only the image is quantized by a step
    data = next(iter(batches()))
    want, got = interpret(graph, data)["y"], interpret(low, data)["y"]
    assert np.abs(want - got).max() < 0.05


def test_pool_and_concat_share_the_range_of_their_parts() -> None:
    graph = optimize(inception())
    plan = ImplicitQuantization(graph).plan()
    names = {n.origin[0]: n.outputs[0].name for n in graph.nodes if n.op.name != "transpose"}
    assert plan.group[names["stem"]] == plan.group[names["pool"]]
    joined = plan.group[names["concat"]]
    assert {plan.group[names[p]] for p in "abc"} == {joined}
    assert set(plan.sources[joined]) == {names[p] for p in "abc"}


def test_layers_are_kept_float_on_demand() -> None:
    graph = optimize(inception())
    q = quantization(graph, layer_precision={"b": "fp32"})
    quantized, reasons = q.quantized(frozenset({"d"}))
    found = precisions(lower_quantization(quantized))
    assert {k for k, v in found.items() if v == "f32"} == {"b", "d"}
    assert reasons["b"] == "fp32: layer_precision"
    assert reasons["d"].startswith("fp32: the whole graph")


def test_an_impossible_request_is_refused_with_the_reason() -> None:
    graph = optimize(inception())
    with pytest.raises(ConfigError, match=r"'pool'.*no INT8 form"):
        ImplicitQuantization(graph, {"pool": "int8"}).plan()
    with pytest.raises(ConfigError, match="'nowhere'"):
        ImplicitQuantization(graph, {"nowhere": "fp32"}).plan()


def test_a_convolution_at_the_output_may_be_asked_to_be_int8() -> None:
    n = FloatNet()
    y = n.conv(n.conv(n.input(1, 8, 9, 9), 8, 3, "a"), 4, 1, "last", act=False)
    graph = optimize(n.b.graph({"y": y}))  # a transpose at the output has the same origin
    q = quantization(graph, layer_precision={"last": "int8"})
    assert precisions(lower_quantization(q.quantized()[0]))["last"] == "u8"


def test_nothing_is_quantized_in_front_of_a_sigmoid() -> None:
    n = FloatNet()
    x = n.conv(n.input(1, 8, 9, 9), 8, 3, "a", act=False)
    gate = n.b.emit(POINTWISE, [x], SIGMOID, name="gate")
    branch = n.conv(x, 8, 1, "b", act=False)
    mixed = n.b.emit(POINTWISE, [gate, branch], {"expr": E.mul(E.inp(0), E.inp(1))}, name="mix")
    graph = optimize(n.b.graph({"y": n.conv(mixed, 4, 1, "c", act=False)}))
    plan = ImplicitQuantization(graph).plan()
    for node in graph.nodes:
        for i, t in enumerate(node.args):
            if (node.outputs[0].name, i) in plan.uses and node.op is POINTWISE:
                assert not any(
                    x.op == "exp" and i in E.used_inputs(x) for x in E.nodes(node.attrs["expr"])
                ), t.name


NORMALIZATIONS = {
    "layer norm": [
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["t", "g", "b"], ["l"], axis=-1),
        helper.make_node("Transpose", ["l"], ["u"], perm=[0, 3, 1, 2]),
    ],
    "instance norm": [helper.make_node("InstanceNormalization", ["c", "g", "b"], ["u"])],
    "swish": [
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["u"]),
    ],
    "tanh": [helper.make_node("Tanh", ["c"], ["u"])],
    "relu": [helper.make_node("Relu", ["c"], ["r"]), helper.make_node("Neg", ["r"], ["u"])],
}


@pytest.mark.parametrize("case", NORMALIZATIONS)
def test_nothing_is_quantized_in_front_of_normalizations_and_smooth_functions(case: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4, name="first"),
        helper.make_node("MaxPool", ["a"], ["c"], kernel_shape=[2, 2], strides=[1, 1]),
        *NORMALIZATIONS[case],
        helper.make_node("Conv", ["u", "w"], ["y"], pads=[1] * 4, name="second"),
    ]
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((8, 8, 3, 3)), "g": np.ones(8), "b": np.zeros(8)}
    weights = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()]
    x = helper.make_tensor_value_info("x", 1, [1, 8, 9, 9])
    y = helper.make_tensor_value_info("y", 1, [1, 8, 8, 8])
    opset = helper.make_opsetid("", 17)
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[opset]
    )
    graph = optimize(import_onnx(proto))
    plan = ImplicitQuantization(graph).plan()
    readers = {n.outputs[0].name: n for n in graph.nodes}
    reading = {readers[name].op.name for name, _ in plan.uses}
    allowed = {"conv", "transpose"} | ({"pointwise"} if case == "relu" else set())
    assert reading <= allowed | {"pool"}
    assert "second" in {o for name, _ in plan.uses for o in readers[name].origin}
    for name, i in plan.uses:  # the max pool may pass bytes on, an average pool must not read any
        if readers[name].op is POOL:
            assert readers[name].attrs["kind"] == "max", (name, i)


def test_a_gate_made_by_convolutions_is_no_normalization() -> None:
    n = FloatNet()
    x = n.conv(n.input(1, 8, 9, 9), 8, 3, "a")
    mean = {"kind": "avg", "kernel": (9, 9), "layout": "NCHW"}
    gate = n.conv(n.conv(n.b.emit(POOL, [x], mean, name="mean"), 4, 1, "s"), 8, 1, "e", act=False)
    gate = n.b.emit(POINTWISE, [gate], SIGMOID, name="gate")
    y = n.b.emit(POINTWISE, [x, gate], {"expr": E.mul(E.inp(0), E.inp(1))}, name="scale")
    graph = optimize(n.b.graph({"y": n.conv(y, 4, 1, "c", act=False)}))
    plan = ImplicitQuantization(graph).plan()
    uses = {(o, i) for name, i in plan.uses for o in graph.producers[name].origin}
    assert ("scale", 0) in uses
    assert ("mean", 0) in uses


def test_noise_reduction_leaves_what_lies_behind_the_last_convolution_in_float() -> None:
    n = FloatNet()
    x = n.input(1, 8, 9, 9)
    pool = {"kind": "avg", "kernel": (3, 3), "layout": "NCHW"}
    last = n.conv(n.conv(x, 8, 3, "a"), 8, 3, "last", act=False)
    tail = n.b.emit(POINTWISE, [n.b.emit(POOL, [last], pool, name="tail")], RELU, name="end")
    alone = n.b.emit(POOL, [x], pool, name="alone")  # no convolution reaches this output
    graph = optimize(n.b.graph({"y": tail, "z": alone}))

    def quantized(**options: object) -> set[str]:
        plan = ImplicitQuantization(graph, **options).plan()  # type: ignore[arg-type]
        return {o for name, _ in plan.uses for o in graph.producers[name].origin}

    assert quantized().isdisjoint({"tail", "end", "alone"})
    assert quantized() >= {"a", "last"}
    assert quantized(noise_reduction=False) >= {"last", "tail", "end"}
    asked = ImplicitQuantization(graph, {"last": "int8"})
    asked.calibrate(batches(), interpreted, "minmax", 99.99)  # type: ignore[arg-type]
    low = lower_quantization(asked.quantized()[0])
    assert precisions(low)["last"] == "u8"
    (conv,) = (c for c in low.nodes if c.op is CONV and "last" in c.origin)
    assert conv.output.type.dtype == f32


def test_hand_set_ranges_win_and_unknown_names_are_refused() -> None:
    graph = optimize(inception())
    q = quantization(graph)
    name = q.plan().observed[0]
    q.set_by_hand({name: (-1.0, 3.0)})
    quantized, _ = q.quantized()
    scales = [t.array for t in quantized.tensors.values() if t.name.endswith(":scale")]
    assert any(s.ndim == 0 and np.isclose(s, 6.0 / 255, rtol=0.01) for s in scales)
    with pytest.raises(CalibrationError, match="no_such"):
        q.set_by_hand({"no_such": 1.0})


def test_cache_round_trip_gives_the_same_graph(tmp_path: object) -> None:
    graph = optimize(inception())
    q = quantization(graph, bias_correction=False)  # a cache holds ranges, not means
    path = tmp_path / "ranges.cache"  # type: ignore[operator]
    q.save(path, "minmax")
    again = ImplicitQuantization(graph)
    again.load(path)
    data = next(iter(batches()))
    want = interpret(q.quantized()[0], data)["y"]
    np.testing.assert_array_equal(interpret(again.quantized()[0], data)["y"], want)


def test_missing_ranges_are_named() -> None:
    graph = optimize(inception())
    with pytest.raises(CalibrationError, match="has no range"):
        ImplicitQuantization(graph).quantized()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no batch"),
        ([{"y": np.zeros(3, np.float32)}], "has inputs"),
        ([{"x": np.zeros((2, 8, 9, 9), np.float32)}], "takes f32"),
        ([{"x": np.zeros((1, 8, 9, 9))}], "float64"),
        ([{"x": np.full((1, 8, 9, 9), np.nan, np.float32)}], "NaN"),
        ([np.zeros(3)], "dictionary"),
    ],
)
def test_bad_batches_are_named(bad: list, message: str) -> None:
    graph = optimize(inception())
    q = ImplicitQuantization(graph)
    with pytest.raises(CalibrationError, match=message):
        q.calibrate(bad, interpreted, "minmax", 99.99)  # type: ignore[arg-type]
