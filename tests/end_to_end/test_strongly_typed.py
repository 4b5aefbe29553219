"""Builds that obey the types of the model's own tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

import camshaft
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.exporting import exported
from camshaft.ir.types import bf16, f16
from camshaft.session import BuildSession
from onnx_models import encoder_layer, model_of

RNG = np.random.default_rng(0)
KINDS = {"fp16": (TensorProto.FLOAT16, f16), "bf16": (TensorProto.BFLOAT16, bf16)}
each_half = pytest.mark.parametrize("kind", KINDS)


def built(model: ModelProto, data: Any = None, **options: Any) -> tuple[BuildSession, Any]:
    given = {"threads": 1, "optimization_level": 1, "strongly_typed": True, **options}
    session = BuildSession(model, BuildConfig.of(None, given), data)
    return session, session.run()


def half_model(
    nodes: list[onnx.NodeProto], kind: str, x: np.ndarray, constants: dict[str, np.ndarray]
) -> ModelProto:
    """A model all of whose floats are halves, from x to y."""
    half = KINDS[kind][1]
    arrays = {n: a.astype(half.numpy) if a.dtype.kind == "f" else a for n, a in constants.items()}
    return model_of(nodes, {"x": x.astype(half.numpy)}, ["y"], arrays)


def result(model: ModelProto, x: np.ndarray, **options: Any) -> np.ndarray:
    return np.asarray(built(model, **options)[1]({"x": x})["y"])


ELEMENTWISE = [
    helper.make_node("Mul", ["x", "k"], ["a"], "scale"),
    helper.make_node("Add", ["a", "x"], ["b"], "add"),
    helper.make_node("Sqrt", ["b"], ["c"], "root"),
    helper.make_node("Div", ["c", "k"], ["d"], "divide"),
    helper.make_node("Sub", ["d", "x"], ["y"], "sub"),
]


@each_half
@pytest.mark.parametrize("level", [0, 1, 3])
def test_elementwise_work_is_that_of_the_type(kind: str, level: int) -> None:
    """Bit for bit NumPy's, whose half floats are rounded after each operation."""
    half = KINDS[kind][1].numpy
    x, k = RNG.uniform(0.1, 9, (5, 70)).astype(half), np.float32(1.37).astype(half)
    model = half_model(ELEMENTWISE, kind, x, {"k": np.float32(1.37)})
    want = np.sqrt((x * k).astype(half) + x).astype(half) / k - x
    np.testing.assert_array_equal(result(model, x, optimization_level=level), want)
    exact = result(model, x, strongly_typed=False)
    assert (exact != want).any()


@each_half
def test_layers_and_what_lies_between_are_halves(kind: str) -> None:
    half = KINDS[kind][1]
    x = RNG.integers(-63, 64, (1, 4, 9, 9)).astype(half.numpy)
    v = RNG.integers(-7, 8, (8, 4, 3, 3)).astype(np.float32)
    w = RNG.integers(-7, 8, (4, 8, 3, 3)).astype(np.float32) / 256
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w"], ["c"], "second"),
        helper.make_node("Flatten", ["c"], ["y"], "flat"),
    ]
    session, engine = built(half_model(nodes, kind, x, {"v": v, "w": w}))
    assert session.final is not None and session.precision_summary == "strongly typed"
    found = {t.type.dtype for n in session.final.nodes for t in (*n.args, *n.outputs)}
    assert found == {half}
    assert engine.outputs["y"].dtype == half
    wide = [helper.make_node("Conv", n.input, n.output) for n in (nodes[0], nodes[2])]

    def conv(node: onnx.NodeProto, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        one = model_of([node], {node.input[0]: a, node.input[1]: b}, list(node.output))
        made = onnx.reference.ReferenceEvaluator(one).run(
            None, {node.input[0]: a, node.input[1]: b}
        )
        return np.asarray(made[0]).astype(half.numpy).astype(np.float32)

    want = conv(wide[1], np.maximum(conv(wide[0], x.astype(np.float32), v), 0), w)
    np.testing.assert_array_equal(engine({"x": x})["y"], want.reshape(1, -1).astype(half.numpy))


@each_half
def test_a_transformer_layer(kind: str) -> None:
    """Softmax is computed in f32 on halves; whatever is stored of floats for another layer is a half but for that."""
    half = KINDS[kind][1]
    wide = onnx.load_from_string(encoder_layer())
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in wide.graph.initializer}
    x = RNG.standard_normal((2, 24, 64)).astype(np.float32)
    model = half_model(list(wide.graph.node), kind, x, constants)
    session, engine = built(model)
    assert session.final is not None
    products = [n for n in session.final.nodes if n.op.name in ("conv", "matmul")]
    assert len(products) == 6
    assert {t.type.dtype for n in products for t in (*n.args[:2], n.output)} == {half}
    got = engine({"x": x.astype(half.numpy)})["y"].astype(np.float32)
    want = camshaft.build(wide, optimization_level=1)({"x": x})["y"]
    assert 0 < np.abs(got - want).max() < 8 * half.step * np.abs(want).max()


def test_casts_round() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], "narrow", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["a"], ["b"], "wide", to=TensorProto.FLOAT),
        helper.make_node("Add", ["b", "x"], ["y"], "add"),
    ]
    x = RNG.standard_normal((3, 50)).astype(np.float32)
    model = model_of(nodes, {"x": x}, ["y"])
    want = x.astype(np.float16).astype(np.float32) + x
    np.testing.assert_array_equal(result(model, x), want)
    np.testing.assert_array_equal(result(model, x, strongly_typed=False), x + x)


def test_movement_adds_no_rounding() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], "turn", perm=[1, 0]),
        helper.make_node("Identity", ["a"], ["b"], "same"),
        helper.make_node("Concat", ["b", "b"], ["y"], "join", axis=0),
    ]
    x = RNG.standard_normal((3, 4)).astype(np.float16)
    session, engine = built(model_of(nodes, {"x": x}, ["y"]))
    np.testing.assert_array_equal(engine({"x": x})["y"], np.concatenate([x.T, x.T]))
    assert session.final is not None
    assert all(t.type.dtype == f16 for n in session.final.nodes for t in n.outputs)


@pytest.mark.parametrize("kind", ["If", "Loop", "Scan", "LayerNormalization", "Gelu"])
def test_graphs_and_functions_inside(kind: str) -> None:
    """What lies in branches, loops and in operators that are defined by others is typed as well."""
    half = TensorProto.FLOAT16
    value = helper.make_tensor_value_info
    x = RNG.uniform(0.1, 9, (4, 6)).astype(np.float16)
    body = [
        helper.make_node("Mul", ["v", "v"], ["s"]),
        helper.make_node("Add", ["s", "v"], ["t"]),
        helper.make_node("Mul", ["t", "v"], ["out"]),
    ]
    once = (x * x + x) * x  # NumPy rounds each
    tail = [helper.make_node("Add", ["z", "z"], ["w"]), helper.make_node("Mul", ["w", "x"], ["y"])]
    inputs: dict[str, np.ndarray] = {"x": x}
    constants: dict[str, np.ndarray] = {}
    if kind == "If":
        named = [helper.make_node("Identity", ["x"], ["v"]), *body]
        branch = helper.make_graph(named, "b", [], [value("out", half, x.shape)])
        node = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
        inputs["c"], want = np.array(True), once
    elif kind == "Loop":
        given = [value("i", TensorProto.INT64, []), value("k", TensorProto.BOOL, []), value("v", half, x.shape)]  # fmt: skip
        more = [*body, helper.make_node("Identity", ["k"], ["go"])]
        loop = helper.make_graph(more, "b", given, [value("go", TensorProto.BOOL, []), value("out", half, x.shape)])  # fmt: skip
        node = helper.make_node("Loop", ["n", "", "x"], ["z"], body=loop)
        constants["n"], want = np.array(1, np.int64), once
    elif kind == "Scan":
        scan = helper.make_graph(body, "b", [value("v", half, x.shape[1:])], [value("out", half, x.shape[1:])])  # fmt: skip
        node, want = helper.make_node("Scan", ["x"], ["z"], num_scan_inputs=1, body=scan), once
    elif kind == "Gelu":
        node = helper.make_node("Gelu", ["x"], ["z"])
        wide = x.astype(np.float64)
        want = (wide / 2 * (1 + np.vectorize(__import__("math").erf)(wide / np.sqrt(2)))).astype(np.float16)  # fmt: skip
    else:
        node = helper.make_node("LayerNormalization", ["x", "one"], ["z"])
        constants["one"] = np.ones(6, np.float16)
        wide = x.astype(np.float64)
        centred = wide - wide.mean(1, keepdims=True)
        want = (centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)).astype(np.float16)
    model = model_of([node, *tail], inputs, ["y"], constants, opset=20)
    got = np.asarray(built(model)[1](inputs)["y"])
    close = np.isclose(got.astype(np.float32), ((want + want) * x).astype(np.float32), rtol=0)
    assert close.mean() == 1.0 if kind in ("If", "Loop", "Scan") else close.mean() > 0.9


def quantized(kind: str | None) -> tuple[ModelProto, np.ndarray]:
    """Two products between Q/DQ nodes, whose floats are of a half type where one is given."""
    half = np.float32 if kind is None else KINDS[kind][1].numpy
    x = RNG.standard_normal((8, 64)).astype(half)
    constants: dict[str, np.ndarray] = {"s": np.float32(0.03125).astype(half), "z": np.uint8(128)}
    constants |= {"ws": np.float32(0.0078125).astype(half), "wz": np.int8(0)}
    nodes, y = [], "x"
    for name in ("first", "second"):
        constants[f"{name}.w"] = RNG.integers(-127, 128, (64, 64)).astype(np.int8)
        nodes += [
            helper.make_node("QuantizeLinear", [y, "s", "z"], [f"{name}.q"]),
            helper.make_node("DequantizeLinear", [f"{name}.q", "s", "z"], [f"{name}.x"]),
            helper.make_node("DequantizeLinear", [f"{name}.w", "ws", "wz"], [f"{name}.v"]),
            helper.make_node("MatMul", [f"{name}.x", f"{name}.v"], [name], name),
        ]
        y = name
    nodes.append(helper.make_node("Relu", [y], ["y"]))
    return model_of(nodes, {"x": x}, ["y"], constants, opset=21), x


@pytest.mark.parametrize("kind", [None, "fp16", "bf16"])
def test_quantized_models_are_int8_as_their_nodes_say(kind: str | None) -> None:
    model, x = quantized(kind)
    session, engine = built(model)
    products = [s for s in engine.inspect()["steps"] if s["macs"]]
    assert [s["precision"] for s in products] == ["u8", "u8"]
    assert session.precision_summary == "strongly typed, explicit Q/DQ"
    got = engine({"x": x})["y"]
    if kind is None:
        (asked,) = camshaft.build(model, precision={"int8"}, optimization_level=1)(
            {"x": x}
        ).values()
        np.testing.assert_array_equal(got, asked)
    else:
        assert engine.outputs["y"].dtype == KINDS[kind][1]
        (float_,) = camshaft.build(model, optimization_level=1)({"x": x}).values()
        near = np.isclose(got.astype(np.float32), float_.astype(np.float32), rtol=0.02, atol=0.05)
        assert near.mean() > 0.98  # a value at the edge of two levels may get the other


@pytest.mark.parametrize(
    "beside",
    [
        {"precision": {"bf16"}},
        {"layer_precision": {"scale": "fp32"}},
        {"layer_output_type": {"scale": "fp32"}},
        {"calibration_cache": "ranges.cache"},
        {"dynamic_ranges": {"x": 1.0}},
        {"weight_only": "int4"},
    ],
    ids=lambda v: next(iter(v)),
)
def test_no_option_says_other_types(beside: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(beside))} given beside strongly_typed"):
        BuildConfig(strongly_typed=True, **beside)


def test_no_calibration_either() -> None:
    x = np.ones((5, 70), np.float16)
    model = half_model(ELEMENTWISE, "fp16", x, {"k": np.float32(1.5)})
    with pytest.raises(ConfigError, match="calibration given beside strongly_typed"):
        built(model, [{"x": x}])
    with pytest.raises(ConfigError, match="strongly_typed is 1, must be True or False"):
        BuildConfig(strongly_typed=1)  # type: ignore[arg-type]


def test_float_models_are_as_they_were() -> None:
    model = onnx.load_from_string(encoder_layer())
    x = RNG.standard_normal((2, 24, 64)).astype(np.float32)
    np.testing.assert_array_equal(result(model, x), result(model, x, strongly_typed=False))


def test_an_export_keeps_the_types() -> None:
    x = RNG.uniform(0.1, 9, (5, 70)).astype(np.float16)
    session, engine = built(half_model(ELEMENTWISE, "fp16", x, {"k": np.float32(1.37)}))
    again = result(exported(session), x)
    np.testing.assert_array_equal(again, engine({"x": x})["y"])
