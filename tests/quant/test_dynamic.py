"""INT8 without calibration: which products are quantized by rows, how far off results are, what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError, ConfigError
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, bf16, f32
from camshaft.ops import functional as F
from camshaft.passes.pipeline import optimize
from camshaft.quant.deviation import worst_deviation
from camshaft.quant.dynamic import DynamicQuantization
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from onnx_models import model_of

WIDTH = 128


def weight(b: GraphBuilder, k: int, n: int, name: str) -> Tensor:
    rng = np.random.default_rng(len(name))
    return b.constant((rng.standard_normal((k, n)) * k**-0.5).astype(np.float32), name)


def block() -> Graph:
    """Two products that read the same rows, one of their result, and one of few terms."""
    b = GraphBuilder("block")
    x = b.input("x", TensorType(f32, (2, 9, WIDTH)))
    parts = []
    for name in ("left", "right"):
        with b.scope(name):
            parts.append(F.matmul(b, x, weight(b, WIDTH, 48, name)))
    with b.scope("join"):
        joined = F.relu(b, F.add(b, F.mul(b, parts[0], parts[1]), 0.1))
    with b.scope("down"):
        y = F.add(b, F.matmul(b, joined, weight(b, 48, 8, "down")), 0.5)
    with b.scope("thin"):
        y = F.matmul(b, y, weight(b, 8, 8, "thin"))
    return b.graph({"y": y})


@pytest.mark.parametrize("level", [0, 1])
def test_products_of_rows_are_quantized(level: int) -> None:
    graph = optimize(block(), level=level)
    quantization = DynamicQuantization(graph)
    assert quantization.applies
    made, reasons = quantization.quantized()
    products = [n for n in made.nodes if n.op.name in ("conv", "matmul")]
    assert Counter(n.args[0].type.dtype.name for n in products) == {"u8": 3, "f32": 1}
    assert sum(n.name.startswith("quantize") for n in made.nodes) == 2
    assert reasons["left"].startswith("int8") and reasons["thin"].startswith("fp32: sums of 8")
    x = np.random.default_rng(1).standard_normal((2, 9, WIDTH)).astype(np.float32)
    x[0, 3] *= 1e4  # one row does not spoil the others
    x[1, 2] = 0
    want, got = (interpret(g, {"x": x})["y"] for g in (graph, made))
    error = np.abs(got - want).max(axis=-1)
    assert (error <= 0.05 * np.abs(want).max(axis=-1)).all()
    assert error.max() > 0


def test_layers_stay_float_where_it_is_said() -> None:
    graph = optimize(block())
    made, reasons = DynamicQuantization(graph, {"left": "fp32", "thin": "int8"}).quantized(
        frozenset({"down"})
    )
    assert reasons["left"] == "fp32: layer_precision"
    assert reasons["down"] == "fp32: the whole graph is faster so"
    assert reasons["thin"].startswith("int8: layer_precision")
    dtypes = [n.args[0].type.dtype.name for n in made.nodes if n.op.name in ("conv", "matmul")]
    assert sorted(dtypes) == ["f32", "f32", "u8", "u8"]
    with pytest.raises(ConfigError, match="'join', but it has no weights"):
        DynamicQuantization(optimize(block(), level=0), {"join": "int8"}).quantized()


@pytest.mark.parametrize(("columns", "first"), [(40, "fp32"), (127, "fp32"), (128, "int8")])
def test_few_columns_of_the_models_input_stay_float(columns: int, first: str) -> None:
    """As the bands of a spectrum are: of some that are a millionth of others a scale for the row would leave nothing."""
    b = GraphBuilder("features")
    x = b.input("x", TensorType(f32, (3, 1, columns)))
    with b.scope("first"):
        y = F.tanh(b, F.matmul(b, F.transpose(b, x, (1, 0, 2)), weight(b, columns, 96, "first")))
    with b.scope("second"):
        y = F.matmul(b, y, weight(b, 96, 96, "second"))
    quantization = DynamicQuantization(optimize(b.graph({"y": y})))
    made, reasons = quantization.quantized()
    assert reasons["first"].startswith(first) and reasons["second"].startswith("int8")
    if first == "fp32":
        assert f"reads {columns} columns of the model's input" in reasons["first"]
    rows = np.random.default_rng(1).standard_normal((3, 1, columns)).astype(np.float32)
    want = interpret(quantization.graph, {"x": rows})["y"]
    np.testing.assert_allclose(interpret(made, {"x": rows})["y"], want, atol=0.05)
    forced = DynamicQuantization(quantization.graph, {"first": "int8"})
    assert forced.quantized()[1]["first"].startswith("int8: layer_precision")


def encoder_file(path: str, filters: int = 0) -> str:
    """A product of rows, behind a convolution of `filters` filters where there are any."""
    rng = np.random.default_rng(0)
    w = numpy_helper.from_array(rng.standard_normal((WIDTH, 96)).astype(np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    shape, initializers = [1, 6, WIDTH], [w]
    if filters:
        shape = [1, 3, 32, WIDTH]
        k = rng.standard_normal((filters, 3, 3, 3)).astype(np.float32)
        initializers.append(numpy_helper.from_array(k, "k"))
        conv = helper.make_node("Conv", ["x", "k"], ["c"], name="conv", pads=[1, 1, 1, 1])
        nodes = [conv, helper.make_node("ReduceMean", ["c"], ["m"], axes=[1, 2], keepdims=0),
                 helper.make_node("MatMul", ["m", "w"], ["y"], name="product")]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    return path


def test_built_without_data(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = encoder_file(str(tmp_path / "m.onnx"))
    config = BuildConfig(precision=frozenset({"int8"}), optimization_level=1, threads=1)
    session = BuildSession(path, config)
    engine = session.run()
    assert "without calibration" in session.precision_summary
    assert [n.precision for n in engine.notes if n.op in ("conv", "matmul")] == ["u8"]
    x = np.random.default_rng(2).standard_normal((1, 6, WIDTH)).astype(np.float32)
    want = camshaft.build(path, optimization_level=1)({"x": x})["y"]
    np.testing.assert_allclose(engine({"x": x})["y"], want, atol=0.02 * np.abs(want).max())


def test_convolutional_nets_need_data(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = encoder_file(str(tmp_path / "m.onnx"), filters=8)
    with pytest.raises(CalibrationError, match="INT8 needs ranges"):
        camshaft.build(path, precision={"int8"})
    required = {"product": "int8"}
    with pytest.raises(CalibrationError, match=r"INT8 needs ranges.*asks for int8 in 'product'$"):
        camshaft.build(path, precision={"int8"}, layer_precision=required)


def session_of(
    model: ModelProto, data: dict[str, np.ndarray] | None, level: int, layers: dict[str, str]
) -> tuple[BuildSession, Engine]:
    """A build with INT8 permitted, on data or without, and its engine."""
    config = BuildConfig(
        precision=frozenset({"int8"}), optimization_level=level, threads=1, layer_precision=layers
    )
    session = BuildSession(
        model.SerializeToString(), config, None if data is None else iter([data])
    )
    return session, session.run()


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("required", "with_data"), [(False, False), (True, False), (True, True)], ids=str
)
def test_attention_alone_takes_no_data(required: bool, with_data: bool) -> None:
    rng = np.random.default_rng(0)
    feeds = {n: rng.standard_normal((1, 2, 64, 64)).astype(np.float32) for n in "qkv"}
    model = model_of(
        [helper.make_node("Attention", [*"qkv"], ["y"], "att")], feeds, ["y"], opset=23
    )
    layers = {"att": "int8"} if required else {}
    session, engine = session_of(model, feeds if with_data else None, 1, layers)
    assert "rows are quantized as they run" in session.precision_summary
    assert ("calibration not used" in session.precision_summary) == with_data
    if required:
        assert session.reasons["att"].startswith("int8: layer_precision")
    scores = feeds["q"] @ feeds["k"].swapaxes(2, 3) / 8
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    want = weights / weights.sum(-1, keepdims=True) @ feeds["v"]
    np.testing.assert_allclose(engine(feeds)["y"], want, atol=0.02 * np.abs(want).max())


@pytest.mark.parametrize("required", [False, True], ids=["permitted", "required"])
@pytest.mark.parametrize("with_data", [False, True], ids=["no data", "data"])
@pytest.mark.parametrize(("terms", "level"), [(31, 0), (31, 1), (64, 0), (64, 1)])
def test_products_are_int8_where_they_must_be(
    terms: int, level: int, with_data: bool, required: bool
) -> None:
    """Short sums, which gain nothing, and products that have no form with ranges (level 0)."""
    x, w = normal(8, terms), normal(terms, 16)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"], "mm"),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    model = model_of(nodes, {"x": x}, ["y"], {"w": w})
    layers = {"mm": "int8"} if required else {}
    session, engine = session_of(model, {"x": x} if with_data else None, level, layers)
    if required:
        assert session.reasons["mm"].startswith("int8: layer_precision")
    elif terms == 31 and not with_data:
        assert session.reasons["mm"] == "fp32: sums of 31 terms gain nothing"
    want = np.maximum(x @ w, 0)
    np.testing.assert_allclose(engine({"x": x})["y"], want, atol=0.03 * want.max())


def test_level_0_names_the_layer_and_the_level_that_it_lacks() -> None:
    x = normal(1, 8, 6, 6)
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["t"], "first"),
        helper.make_node("MatMul", ["t", "w"], ["y"], "mm"),
    ]
    model = model_of(nodes, {"x": x}, ["y"], {"c": normal(8, 8, 3, 3), "w": normal(4, 16)})
    layers = {"first": "int8", "mm": "int8"}
    with pytest.raises(ConfigError, match=r"int8 in 'mm' and .* with optimization_level=1 or more"):
        session_of(model, {"x": x}, 0, layers)
    session, _ = session_of(model, {"x": x}, 1, layers)
    assert all(session.reasons[n].startswith("int8") for n in layers)


def test_with_data_the_more_exact_way_is_taken(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Rows of very different magnitude are quantized one by one, though there is calibration data."""
    path = encoder_file(str(tmp_path / "m.onnx"))
    rng = np.random.default_rng(3)
    batches = [
        {"x": (rng.standard_normal((1, 6, WIDTH)) * [[[1], [3], [9], [30], [90], [300]]]).astype(np.float32)}
        for _ in range(5)
    ]  # fmt: skip
    config = BuildConfig(precision=frozenset({"int8"}), optimization_level=1, threads=1)
    session = BuildSession(path, config, iter(batches))
    engine = session.run()
    assert "by rows" in session.precision_summary
    want = camshaft.build(path, optimization_level=1)(batches[0])["y"]
    got = engine(batches[0])["y"]
    assert (np.abs(got - want).max(axis=-1) <= 0.05 * np.abs(want).max(axis=-1)).all()


def test_deviation_is_of_each_outputs_range() -> None:
    wanted = [{"a": np.float32([0, 100]), "b": np.float32([0, 1]), "i": np.array([1, 2])}]
    got = [{"a": np.float32([1, 101]), "b": np.float32([0.1, 1.1]), "i": np.array([5, 5])}]
    assert worst_deviation(wanted, got) == pytest.approx(0.1)
    assert worst_deviation([{"a": np.float32([2, 2])}], [{"a": np.float32([2, 3])}]) > 0.5


def test_deviation_is_infinite_where_only_one_is_a_number() -> None:
    """A mask's infinities are right where they are; NaN is further off than any number."""
    mask = np.float32([0, 1, -np.inf])
    assert worst_deviation([{"a": mask}], [{"a": mask}]) == 0
    off = worst_deviation([{"a": mask}], [{"a": np.float32([0, 0.9, -np.inf])}])
    assert off == pytest.approx(0.1 / np.sqrt(2), rel=1e-5)
    for wrong in ([0, np.nan, -np.inf], [0, 1, np.inf], [0, 1, 5], [0, np.inf, -np.inf]):
        assert worst_deviation([{"a": mask}], [{"a": np.float32(wrong)}]) == np.inf
    halves = np.float32([0, 1]).astype(bf16.numpy)
    assert worst_deviation([{"a": halves}], [{"a": halves[::-1]}]) == 1


@pytest.mark.parametrize(
    ("function", "zero"), [(F.relu, 0), (F.gelu, 32), (F.silu, 32), (F.tanh, 128)]
)
def test_rows_without_negative_values_use_all_levels(function, zero: int) -> None:  # type: ignore[no-untyped-def]
    """Zero lies where the function that makes the rows says; nothing is clipped wherever it lies."""
    b = GraphBuilder("one-sided")
    x = b.input("x", TensorType(f32, (1, 9, WIDTH)))
    y = function(b, F.add(b, F.matmul(b, x, weight(b, WIDTH, 96, "up")), 0.5))
    graph = optimize(b.graph({"y": F.matmul(b, y, weight(b, 96, 48, "down"))}))
    made, _ = DynamicQuantization(graph).quantized()
    products = [n for n in made.nodes if n.op.name == "conv"]
    assert [n.attrs["x_zero_point"] for n in products] == [128, zero]
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 9, WIDTH)).astype(np.float32) * 3}
    feeds["x"][0, 2] = -40  # a row of which hardly anything is left
    want, got = (interpret(g, feeds)["y"] for g in (graph, made))
    error = np.abs(got - want).max(axis=-1)
    assert (error <= 0.03 * np.abs(want).max(axis=-1) + 0.02).all()
    name = products[1].args[0].name
    levels: dict[str, np.ndarray] = {}
    interpret(made, feeds, lambda n, a: levels.update({n: a}) if n == name else None)
    if zero == 0:
        assert levels[name].max() == 255
