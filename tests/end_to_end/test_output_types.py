"""The type of what single layers give: rounded where they give it, and stored so between layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import camshaft
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.types import bf16, f16
from camshaft.session import BuildSession
from onnx_models import model_of

HALVES = {"bf16": bf16, "fp16": f16}
RNG = np.random.default_rng(0)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    """Numbers of which all sums here are exact in f32."""
    return RNG.integers(low, high + 1, shape).astype(np.float32)


CONSTANTS = {"v": whole(-7, 7, 8, 4, 3, 3), "w": whole(-7, 7, 4, 8, 3, 3) / 256}
X = whole(-63, 63, 1, 4, 9, 9)
NODES = [
    helper.make_node("Conv", ["x", "v"], ["a"], "first"),
    helper.make_node("Abs", ["a"], ["b"], "abs"),
    helper.make_node("Conv", ["b", "w"], ["c"], "second"),
    helper.make_node("MaxPool", ["c"], ["y"], "pool", kernel_shape=[2, 2]),
    helper.make_node("ArgMax", ["y"], ["i"], "index", axis=1),
]
MODEL = model_of(NODES, {"x": X}, ["y", "i"], CONSTANTS)


def built(
    types: dict[str, str], constraints: str = "obey", model: Any = MODEL, **options: Any
) -> tuple[BuildSession, camshaft.Engine]:
    given = {
        "threads": 1,
        "optimization_level": 1,
        "precision": {"bf16", "fp16"},
        "layer_precision": {"first": "fp32", "second": "fp32"},
        "layer_output_type": types,
        "precision_constraints": constraints,
        **options,
    }
    session = BuildSession(model, BuildConfig.of(None, given))
    return session, session.run()


def reference(rounded: dict[str, str]) -> np.ndarray:
    """y in f32, with tensors rounded.  rounded: tensor -> precision."""
    known = {"x": X, **CONSTANTS}
    for node in NODES[:-1]:
        one = model_of([node], {n: known[n] for n in node.input}, list(node.output))
        (made,) = ReferenceEvaluator(one).run(None, {n: known[n] for n in node.input})
        if (half := HALVES.get(rounded.get(node.output[0], ""))) is not None:
            made = made.astype(half.numpy).astype(np.float32)
        known[node.output[0]] = made
    return known["y"]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("half", ["bf16", "fp16"])
@pytest.mark.parametrize("layer", ["first", "abs", "second"])
def test_a_layer_gives_values_of_its_type(layer: str, half: str, level: int) -> None:
    session, engine = built({layer: half}, optimization_level=level)
    (name,) = (n.output[0] for n in NODES if n.name == layer)
    want = reference({name: half})
    np.testing.assert_array_equal(engine({"x": X})["y"], want)
    assert (want != reference({})).any()
    assert session.final is not None
    stored = {t.type.dtype for n in session.final.nodes for t in n.outputs if layer in n.origin}
    fused = layer == "first" and level == 1  # abs is computed by the same kernel
    assert (HALVES[half] in stored) != fused


def test_products_of_a_type_read_it() -> None:
    """No step widens it in between."""
    session, _ = built({"abs": "bf16"}, layer_precision={"first": "fp32", "second": "bf16"})
    assert session.final is not None
    (second,) = (n for n in session.final.nodes if n.op.name == "conv" and n.origin == ("second",))
    assert [t.type.dtype for t in second.args[:2]] == [bf16, bf16]
    made = session.final.producers[second.args[0].name]
    assert made.op.name == "conv" and made.origin[:2] == ("first", "abs")


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("constraints", ["obey", "prefer", "fastest"])
def test_outputs_of_the_model_have_the_type(constraints: str, level: int) -> None:
    engine = built({"pool": "fp16"}, constraints, optimization_level=level)[1]
    assert engine.outputs["y"].dtype == f16 and engine.outputs["i"].dtype.name == "i64"
    got = engine({"x": X})
    want = reference({}).astype(np.float16)
    np.testing.assert_array_equal(got["y"], want)
    np.testing.assert_array_equal(got["i"], want.argmax(1, keepdims=True))


def test_outputs_of_half_floats_may_be_wide() -> None:
    nodes = [helper.make_node("Mul", ["x", "x"], ["y"], "square")]
    x = np.array([3.14159, 100.1], np.float16)
    model = model_of(nodes, {"x": x}, ["y"])
    engine = built({"square": "fp32"}, model=model, layer_precision={})[1]
    np.testing.assert_array_equal(engine({"x": x})["y"], x.astype(np.float32) ** 2)
    engine = built({"square": "bf16"}, model=model, layer_precision={})[1]
    want = (x.astype(np.float32) ** 2).astype(bf16.numpy)
    np.testing.assert_array_equal(engine({"x": x})["y"], want)


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"fp16 of 'index', but its output is i64\[.*leave it"):
        built({"index": "fp16"})
    session, engine = built({"index": "fp16", "pool": "fp16"}, "prefer")
    (remark,) = session.remarks
    assert remark.startswith("layer_output_type prefers fp16 of 'index', but its output is i64")
    assert engine.outputs["y"].dtype == f16
    assert built({"index": "fp16"}, "fastest")[0].remarks == ()
    for constraints in ("obey", "prefer", "fastest"):
        with pytest.raises(ConfigError, match=r"layer_output_type names 'pol', .* mean 'pool'"):
            built({"pol": "fp16"}, constraints)
        with pytest.raises(ConfigError, match="bf16 of 'pool', which is not permitted"):
            built({"pool": "bf16"}, constraints, precision={"fp16"})
    with pytest.raises(ConfigError, match=r"'int8', which takes a range: .*QuantizeLinear"):
        built({"pool": "int8"})
    with pytest.raises(ConfigError, match=r"layer_output_type\['pool'\] is 'fp64'; there is"):
        built({"pool": "fp64"})


def test_hints_on_inner_tensors_are_left_to_time() -> None:
    np.testing.assert_array_equal(
        built({"first": "bf16"}, "fastest", optimization_level=2, precision={"bf16"})[1]({"x": X})["y"],
        reference({}),
    )  # fmt: skip
    engine = built({"first": "bf16"}, "fastest")[1]  # where nothing is timed they are followed
    np.testing.assert_array_equal(engine({"x": X})["y"], reference({"a": "bf16"}))


def test_states_keep_their_types() -> None:
    nodes = [helper.make_node("Add", ["past", "x"], ["next"], "add")]
    x = np.zeros((2, 3), np.float32)
    model = model_of(nodes, {"past": x, "x": x}, ["next"])
    with pytest.raises(ConfigError, match="'add', but its output is a state"):
        built({"add": "fp16"}, model=model, state={"past": "next"}, layer_precision={})


def test_models_of_several_graphs_are_refused() -> None:
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2])],
        )
        for name, op in (("then_branch", "Abs"), ("else_branch", "Neg"))
    }
    nodes = [helper.make_node("If", ["c"], ["y"], "if", **branches)]
    model = model_of(nodes, {"c": np.array(True), "x": np.zeros(2, np.float32)}, ["y"])
    with pytest.raises(
        ConfigError, match=r"layer_output_type names 'if', but the model is several"
    ):
        built({"if": "fp16"}, model=model, layer_precision={})
