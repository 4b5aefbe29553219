"""Optimized graphs written as standard ONNX compute in ONNX Runtime what the models they came from do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_model
from camshaft.frontends.onnx.standard import standard_onnx, write_model
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32, i8, i32, i64, u8
from camshaft.ops import ATTENTION, POINTWISE, RESAMPLE, SOFTMAX
from camshaft.passes.pipeline import optimize
from camshaft.passes.standard.form import standard_form
from foreign_models import runtime_results
from graph_checks import feeds
from onnx_models import compare, model_of, one_node, two_convs
from qdq_nets import residual_net
from random_models import RandomModel
from small_nets import NETS

RNG = np.random.default_rng(5)
Arrays = Mapping[str, np.ndarray]


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def exported(source: ModelProto | Graph) -> ModelProto:
    """The model's only graph, optimized and written."""
    graph = source if isinstance(source, Graph) else import_model(source).graphs[0]
    model = standard_onnx(standard_form(optimize(graph)))
    onnx.checker.check_model(model, full_check=True)
    assert all(n.domain == "" for n in model.graph.node)
    return model


def kinds(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def same_in_runtime(source: ModelProto, arrays: Arrays, tolerance: float = 1e-4) -> ModelProto:
    """Assert that the exported model gives what the source does, and return it."""
    model = exported(source)
    assert [o.name for o in model.graph.output] == [o.name for o in source.graph.output]
    got, want = (runtime_results(m, dict(arrays)) for m in (model, source))
    for here, there in zip(got, want, strict=True):
        compare(here, there, tolerance)
    return model


def one(op_type: str, *inputs: np.ndarray | None, **more: object) -> ModelProto:
    """The exported form of a single operator, which computes the same."""
    model, arrays = one_node(op_type, inputs, **more)  # type: ignore[arg-type]
    return same_in_runtime(model, arrays)


# --- whole nets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.__name__)
def test_nets(net: Callable[[], Graph]) -> None:
    graph = net()
    arrays = feeds(graph)
    want = interpret(graph, arrays)
    got = runtime_results(exported(graph), arrays)
    for name, y in zip(graph.output_names, got, strict=True):
        compare(y, want[name], 1e-4)


@pytest.mark.parametrize("open_names", ((), ("n", "m", "k")), ids=("closed", "open"))
@pytest.mark.parametrize("seed", range(30))
def test_random_models(seed: int, open_names: tuple[str, ...]) -> None:
    drawn = RandomModel(seed, 12)
    same_in_runtime(drawn.proto(open_names), drawn.feeds(seed), 1e-3)


def test_a_net_is_written_as_people_write_it() -> None:
    source = onnx.load_model_from_string(two_convs())
    model = exported(source)
    own = {n.name: n.op_type for n in source.graph.node}
    written = {n.name: n.op_type for n in model.graph.node}
    assert written.items() <= own.items()
    assert {o for n in model.graph.node for o in n.output} <= {
        o for n in source.graph.node for o in n.output
    } | {f"{n.output[0]}_Conv" for n in source.graph.node}
    assert not any("nhwc" in t.name or "#" in t.name for t in model.graph.initializer)


def test_every_initializer_is_read_and_none_twice_where_it_quantizes() -> None:
    for net in NETS:
        model = exported(net())
        read = Counter(i for n in model.graph.node for i in n.input)
        assert all(read[t.name] for t in model.graph.initializer)


# --- single operators -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op_type", "attrs", "written"),
    [
        ("Relu", {}, ["Relu"]),
        ("Sigmoid", {}, ["Sigmoid"]),
        ("LeakyRelu", {"alpha": 0.2}, ["LeakyRelu"]),
        ("Softmax", {"axis": 1}, ["Softmax"]),
        ("LogSoftmax", {"axis": -1}, ["LogSoftmax"]),
        ("GlobalAveragePool", {}, ["GlobalAveragePool"]),
        ("GlobalMaxPool", {}, ["GlobalMaxPool"]),
        ("Transpose", {"perm": [1, 0, 3, 2]}, ["Transpose"]),
        ("ReduceMean", {"axes": [1, 3], "keepdims": 0}, ["ReduceMean"]),
        ("ReduceMax", {"axes": [2]}, ["ReduceMax"]),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, ["AveragePool"]),
        ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}, ["MaxPool"]),
    ],
)
def test_operators_that_standard_onnx_has(op_type: str, attrs: dict, written: list[str]) -> None:
    assert kinds(one(op_type, normal(2, 3, 6, 7), **attrs)) == written


@pytest.mark.parametrize("op_type", ("Elu", "Selu", "HardSwish", "Softplus", "Mish", "Sign", "Erf"))
def test_functions_as_what_they_are_made_of(op_type: str) -> None:
    one(op_type, normal(3, 5), opset=18)


def test_clip_with_its_bounds_crossed_is_no_clip() -> None:
    b = GraphBuilder("crossed")
    x = b.input("x", TensorType(f32, (4,)))
    expr = E.maximum(E.minimum(E.inp(0), E.const(-1.0)), E.const(1.0))
    model = exported(b.graph({"y": b.emit(POINTWISE, [x], {"expr": expr}, name="clip")}))
    (y,) = runtime_results(model, {"x": np.linspace(-3, 3, 4, dtype=np.float32)})
    np.testing.assert_array_equal(y, 1.0)


@pytest.mark.parametrize("value", (-1000.0, -128.5, -1.5, 0.5, 1.5, 126.5, 400.0))
def test_floats_are_rounded_and_saturated_on_their_way_to_integers(value: float) -> None:
    b = GraphBuilder("round")
    x = b.input("x", TensorType(f32, (1,)))
    from_float = E.cast(E.mul(E.inp(0), E.const(2.0)), i64)
    outs = {
        d.name: b.emit(POINTWISE, [x], {"expr": E.cast(E.inp(0), d)}, name=d.name)
        for d in (i8, u8, i32)
    }
    outs["doubled"] = b.emit(POINTWISE, [x], {"expr": from_float}, name="doubled")
    graph = b.graph(outs)
    arrays = {"x": np.array([value], np.float32)}
    want = interpret(graph, arrays)
    got = runtime_results(exported(graph), arrays)
    for name, y in zip(graph.output_names, got, strict=True):
        np.testing.assert_array_equal(y, want[name])


def test_casts_of_a_model_stay_single_casts() -> None:
    assert kinds(one("Cast", normal(4) * 9, to=onnx.TensorProto.INT32)) == ["Cast"]


@pytest.mark.parametrize(
    ("mode", "coordinates"),
    [
        ("nearest", "asymmetric"),
        ("nearest", "half_pixel"),
        ("linear", "half_pixel"),
        ("linear", "align_corners"),
        ("linear", "pytorch_half_pixel"),
        ("cubic", "half_pixel"),
    ],
)
@pytest.mark.parametrize("size", ((8, 12), (3, 7)))
def test_resize_is_recognized(mode: str, coordinates: str, size: tuple[int, int]) -> None:
    sizes = np.array([1, 2, *size], np.int64)
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    constants = {1: np.zeros(0, np.float32), 2: np.zeros(0, np.float32), 3: sizes}
    assert kinds(one("Resize", normal(1, 2, 4, 6), constants=constants, **attrs)) == ["Resize"]


@pytest.mark.parametrize("taps", (1, 2))
def test_tables_that_no_resize_has_are_gathered(taps: int) -> None:
    b = GraphBuilder("tables")
    x = b.input("x", TensorType(f32, (1, 3, 4, 5)))
    tables = []
    for extent in (4, 5):
        tables.append(b.constant(RNG.integers(0, extent, (6, taps)).astype(np.int32)))
        tables.append(
            b.constant(np.ones((6, 1), np.float32) if taps == 1 else np.abs(normal(6, 2)))
        )
    y = b.emit(RESAMPLE, [x, *tables], {"layout": "NCHW"}, name="resample")
    graph = b.graph({"y": y})
    arrays = feeds(graph)
    model = exported(graph)
    assert "Resize" not in kinds(model)
    compare(runtime_results(model, arrays)[0], interpret(graph, arrays)["y"], 1e-5)


def test_products_of_bytes_are_integer_products() -> None:
    a = RNG.integers(0, 255, (3, 4)).astype(np.uint8)
    b = RNG.integers(-20, 20, (4, 5)).astype(np.int8)
    zeros = {2: np.uint8(9), 3: np.int8(0)}
    assert "MatMulInteger" in kinds(one("MatMulInteger", a, b, constants=zeros))
    x = RNG.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8)
    w = RNG.integers(-20, 20, (3, 2, 3, 3)).astype(np.int8)
    constants = {1: w, 2: np.uint8(9)}
    assert "ConvInteger" in kinds(one("ConvInteger", x, constants=constants, pads=[1, 1, 1, 1]))


@pytest.mark.parametrize("products", ["f32", "bf16", "i8"])
def test_attention_is_two_products_whatever_they_are_of(products: str) -> None:
    """Other runtimes round the same operands."""
    b = GraphBuilder("attention")
    q, k, v = (b.input(n, TensorType(f32, (2, 4, 8))) for n in "qkv")
    attrs: dict[str, Attr] = {"score": E.mul(E.inp(0), E.const(0.4)), "products": products}
    graph = b.graph({"y": b.emit(ATTENTION, [q, k, v], attrs, name="attention")})
    arrays = {n: normal(2, 4, 8) for n in "qkv"}
    compare(runtime_results(exported(graph), arrays)[0], interpret(graph, arrays)["y"], 1e-5)


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize("zero_points", (True, False))
def test_weights_of_few_bits_are_dequantized_in_blocks(bits: int, zero_points: bool) -> None:
    kind = onnx.TensorProto.UINT4 if bits == 4 else onnx.TensorProto.UINT8
    shape, scales = (64, 6), (2, 6)
    drawn = RNG.integers(0, 1 << bits, shape)
    names = ["w", "scale", "zero"][: 2 + zero_points]
    tensors = [
        helper.make_tensor("w", kind, shape, drawn.ravel()),
        onnx.numpy_helper.from_array(RNG.uniform(0.01, 0.1, scales).astype(np.float32), "scale"),
        helper.make_tensor("zero", kind, scales, RNG.integers(0, 1 << bits, 12)),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", names, ["d"], axis=0, block_size=32, name="dq"),
        helper.make_node("MatMul", ["x", "d"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "few bits",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 64])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3, 6])],
        tensors[: 2 + zero_points],
    )
    opsets = [helper.make_opsetid("", 21)]
    source = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model = same_in_runtime(source, {"x": normal(3, 64)}, 1e-5)
    assert kinds(model) == ["DequantizeLinear", "MatMul"]
    (stored,) = (t for t in model.graph.initializer if list(t.dims) == list(shape))
    assert stored.data_type == kind


# --- names, sizes, files --------------------------------------------------------------------------


def test_an_output_may_be_an_input_a_constant_or_another_output() -> None:
    b = GraphBuilder("outputs")
    x = b.input("x", TensorType(f32, (3,)))
    y = b.emit(SOFTMAX, [x], {"axis": 0}, name="softmax")
    graph = b.graph({"a": x, "b": b.constant(np.arange(2.0, dtype=np.float32)), "c": y, "d": y})
    arrays = {"x": normal(3)}
    got = runtime_results(exported(graph), arrays)
    for out, name in zip(got, "abcd", strict=True):
        compare(out, interpret(graph, arrays)[name], 1e-6)


def test_a_count_that_is_open_is_read_from_the_shape() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["n"], axis=0),
        helper.make_node("Range", ["zero", "n", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["x", "floats"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "one": np.int64(1)}
    x = normal(2, 7)
    source = model_of(nodes, {"x": x}, ["y"], constants)
    source.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    source.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "length"
    model = same_in_runtime(source, {"x": x})
    assert "Range" in kinds(model)


def test_weights_that_one_file_cannot_hold_go_beside_it(tmp_path: Path) -> None:
    import onnxruntime as ort

    source = onnx.load_model_from_string(two_convs())
    arrays = feeds(import_model(source).graphs[0])
    want = runtime_results(source, arrays)
    path = tmp_path / "net.onnx"
    for _ in range(2):  # a second time over the first
        count = write_model(exported(source), path, most=1000)
        beside = tmp_path / "net.onnx.data"
        assert count == path.stat().st_size + beside.stat().st_size
    got = ort.InferenceSession(str(path)).run(None, arrays)
    for here, there in zip(got, want, strict=True):
        compare(here, there, 1e-5)


# --- what has no form -----------------------------------------------------------------------------


def test_a_recurrent_layer_is_refused_by_name() -> None:
    x, w, r = normal(4, 1, 3), normal(1, 8, 3), normal(1, 8, 2)
    model, _ = one_node("LSTM", [x], {1: w, 2: r}, hidden_size=2)
    with pytest.raises(ModelError, match="node 'node' cannot be exported: recurrent has no form"):
        exported(model)


def test_the_remainder_of_floats_is_refused() -> None:
    b = GraphBuilder("mod")
    x = b.input("x", TensorType(f32, (3,)))
    expr = E.binary("mod", E.inp(0), E.const(2.0))
    graph = b.graph({"y": b.emit(POINTWISE, [x], {"expr": expr}, name="rest")})
    with pytest.raises(ModelError, match="node 'rest' cannot be exported: the remainder of floats"):
        exported(graph)


def test_a_host_operator_is_written_as_it_is_where_opset_21_has_it() -> None:
    assert kinds(one("Det", normal(2, 3, 3))) == ["Det"]


def test_weights_have_zero_points_of_their_own() -> None:
    """ONNX Runtime refuses models in which several weights share one, where it makes unsigned ones of them."""
    model = exported(residual_net(np.uint8, per_channel=True))
    named = [n.input[2] for n in model.graph.node if n.input[0].endswith("_quantized")]
    assert len(named) == len(set(named)) == 4
    for pair in (
        n for n in model.graph.node if n.op_type == "QuantizeLinear"
    ):  # what is quantized and dequantized again is so with one and the same
        (back,) = (n for n in model.graph.node if n.input[0] == pair.output[0])
        assert list(back.input[1:]) == list(pair.input[1:])
