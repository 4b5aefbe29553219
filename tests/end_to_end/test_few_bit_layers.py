"""Layers that must be INT8 or FP32 in models with weights of few bits: done, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import camshaft
from camshaft.errors import CalibrationError, ConfigError
from camshaft.session import BuildSession
from onnx_models import encoder_layer, model_of
from script_models import text_model

WIDTH, BLOCK = 128, 32
X = {"x": np.random.default_rng(0).standard_normal((2, 24, WIDTH)).astype(np.float32)}


def packed(model: bytes, level: int = 0) -> ModelProto:
    """A model whose products with constants [WIDTH, WIDTH] are MatMulNBits of 4 bits, of an accuracy level."""
    rng, proto = np.random.default_rng(3), onnx.load_from_string(model)
    constants = {t.name: t for t in proto.graph.initializer}
    for i, node in enumerate(proto.graph.node):
        if node.op_type != "MatMul" or node.input[1] not in constants:
            continue
        x, w = node.input
        proto.graph.initializer.remove(constants[w])
        proto.graph.initializer.append(
            numpy_helper.from_array(
                rng.integers(0, 256, (WIDTH, WIDTH // BLOCK, BLOCK // 2)).astype(np.uint8), w
            )
        )
        scales = (rng.random(WIDTH * WIDTH // BLOCK) * 0.02).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(scales, f"{w}.scales"))
        proto.graph.node.remove(node)
        made = helper.make_node(
            "MatMulNBits", [x, w, f"{w}.scales"], [*node.output], name=node.name, K=WIDTH, N=WIDTH,
            bits=4, block_size=BLOCK, accuracy_level=level, domain="com.microsoft",
        )  # fmt: skip
        proto.graph.node.insert(i, made)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


def with_end(model: ModelProto | bytes, op: str) -> ModelProto:
    """A model with a node "end" behind its output."""
    proto = ModelProto()
    proto.CopyFrom(onnx.load_from_string(model) if isinstance(model, bytes) else model)
    proto.graph.node.append(helper.make_node(op, ["y"], ["z"], name="end"))
    proto.graph.output[0].name = "z"
    return proto


FLOAT = encoder_layer(24, WIDTH)
PACKED = packed(FLOAT)
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "model": (PACKED, {}),
    "rounded": (FLOAT, {"weight_only": "int4"}),
}


def built(
    model: Any, layers: dict[str, str], data: Any = None, **options: Any
) -> tuple[BuildSession, camshaft.Engine]:
    options = {"precision": {"int8"}, "threads": 1, "optimization_level": 1, **options}
    config = camshaft.BuildConfig.of(None, {**options, "layer_precision": layers})
    session = BuildSession(model, config, data)
    return session, session.run()


def precisions(engine: camshaft.Engine, op: str) -> dict[str, str]:
    """Layer -> precision, of the steps of one op."""
    return {
        layer: note.precision.split(",")[0]
        for note in engine.notes
        for layer in note.origin
        if note.op == op
    }


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_int8_where_it_must_be_and_only_there(kind: str) -> None:
    model, options = KINDS[kind]
    _, plain = built(model, {}, **options)
    assert precisions(plain, "attention")["softmax"] == "f32"
    session, engine = built(model, {"softmax": "int8"}, **options)
    assert precisions(engine, "attention")["softmax"] == "i8"
    assert precisions(engine, "matmul_nbits")["query"] == "i8"
    assert session.reasons["softmax"].startswith("int8: layer_precision")
    assert "'softmax' in int8 by layer_precision" in session.precision_summary
    want, got = plain(X)["y"], engine(X)["y"]
    assert 0 < np.abs(got - want).max() <= 0.03 * np.abs(want).max()


@pytest.mark.parametrize("kind", KINDS)
def test_products_with_weights_of_few_bits_are_int8_where_they_must_be(kind: str) -> None:
    """By themselves, whatever becomes of others, and also beside calibration data."""
    model, options = KINDS[kind]
    _, engine = built(model, {"query": "int8", "key": "fp32"}, **options)
    found = precisions(engine, "matmul_nbits")
    assert found["query"] == "i8" and found.get("key", "f32") == "f32"
    if kind == "model":
        _, engine = built(model, {"query": "int8", "key": "fp32"}, [X])
        found = precisions(engine, "matmul_nbits")
        assert (found["query"], found["key"]) == ("i8", "f32")


def test_fp32_is_obeyed_where_the_model_permits_bytes() -> None:
    model = packed(FLOAT, level=4)
    for permitted in (set(), {"int8"}):
        _, engine = built(model, {"key": "fp32"}, precision=permitted)
        found = precisions(engine, "matmul_nbits")
        assert (found["query"], found["key"]) == ("i8", "f32")


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_cannot_be_int8_are_refused_by_name(kind: str) -> None:
    model, options = KINDS[kind]
    proto = with_end(model, "Softmax")
    with pytest.raises(ConfigError, match=r"int8 in 'end', but .*; leave it out"):
        built(proto, {"end": "int8"}, **options)
    with pytest.raises(ConfigError, match=r"layer_precision names 'nothing'"):
        built(proto, {"nothing": "int8"}, **options)
    with pytest.raises(ConfigError, match=r"int8 in 'softmax', which is not permitted"):
        built(proto, {"softmax": "int8"}, precision=set(), **options)


def test_convolutions_are_refused_with_the_option_that_stands_in_the_way() -> None:
    """They take ranges, which weight_only has no place for."""
    w = np.random.default_rng(1).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    k = np.ones((1, 2, 3, 3), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="product"),
        helper.make_node("Unsqueeze", ["p", "axis"], ["u"]),
        helper.make_node("Conv", ["u", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["c"], ["y"], name="end"),
    ]
    model = model_of(nodes, X, ["y"], {"w": w, "k": k, "axis": np.array([0])})
    with pytest.raises(ConfigError, match=r"int8 in 'conv', but .*; leave weight_only out"):
        built(model, {"conv": "int8"}, weight_only="int4")
    with pytest.raises(ConfigError, match=r"int8 in 'conv', but .*; give calibration data"):
        built(packed(model.SerializeToString()), {"conv": "int8"})


def test_one_kernel_cannot_be_both() -> None:
    with pytest.raises(
        ConfigError, match="fp32 in 'end', but it is one kernel with 'out', of which int8 is asked"
    ):
        built(with_end(PACKED, "Relu"), {"out": "int8", "end": "fp32"})


def test_layers_of_every_graph_of_a_script_are_what_they_must_be() -> None:
    """Also of graphs without a convolution or product of floats, and of those that calibration did not run."""
    packed_weights = np.random.default_rng(3).integers(0, 256, (8, 1, 16)).astype(np.uint8)
    model = text_model(
        """(float[n,32] x, bool flag) => (float[n,8] y) {
            y = If (flag) <
                then_branch = a () => (float[n,8] p) {
                    p = com.microsoft.MatMulNBits <K = 32, N = 8, bits = 4, block_size = 32> (x, w, s)
                },
                else_branch = b () => (float[n,8] q) { q = MatMul (x, f) }
            > }""",
        w=packed_weights,
        s=np.full(8, 0.1, np.float32),
        f=np.ones((32, 8), np.float32),
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for branch in model.graph.node[0].attribute:
        branch.g.node[0].name = branch.g.node[0].output[0]
    _, engine = built(model, {"p": "int8"})
    assert {n.name: n.precision for n in engine.notes}["p"].startswith("i8")
    run = [{"x": np.ones((2, 32), np.float32), "flag": np.array(True)}]
    _, engine = built(model, {"q": "bf16"}, run, precision={"int8", "bf16"})
    assert "bf16" in {n.name: n.precision for n in engine.notes}["q"]
    with pytest.raises(CalibrationError, match=r"int8 of 'q'.*no calibration batch"):
        built(model, {"q": "int8"}, run)
