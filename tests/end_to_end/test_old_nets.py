"""Whole nets of opsets 1 to 6 as engines, beside the same net of opset 7 in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper

import camshaft
from camshaft.errors import ModelError
from old_models import old_model

X = np.random.default_rng(3).standard_normal((2, 3, 12, 12)).astype(np.float32)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "s": (8,), "o": (8,), "m": (8,), "a": (16,), "g": (10, 576), "c": (10,)}  # fmt: skip
    made = {n: rng.standard_normal(s).astype(np.float32) * 0.2 for n, s in shapes.items()}
    return {
        **made,
        "v": rng.uniform(0.5, 1.5, 8).astype(np.float32),
        "two": np.array(2, np.float32),
    }


def net(opset: int) -> ModelProto:
    """A classifier with a square, a gate by channel and a concatenation, spelled as `opset` does."""
    old, constants = opset < 7, weights()
    place: dict[str, Any] = {"consumed_inputs": [0]} if opset < 6 else {}

    def along(axis: int | None = None) -> dict[str, Any]:
        return ({"broadcast": 1} | ({} if axis is None else {"axis": axis})) if old else {}

    def node(op_type: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(op_type, inputs.split(), [output], **attributes)

    test: dict[str, Any] = {"is_test": 1} if old else {}
    running = {"consumed_inputs": [0, 0, 0, 1, 1]} if opset < 6 else {}
    nodes = [
        node("Conv", "x w", "h0", pads=[1, 1, 1, 1]),
        node("Add", "h0 b", "h1", **along(1)),
        node("BatchNormalization", "h1 s o m v", "h2", epsilon=1e-3, **test, **running),
        node("Relu", "h2", "h3", **place),
        node("Pow", "h3 two", "h4", **along()),
        node("Mul", "h2 s", "h5", **along(1)),
        node("Concat", "h4 h5", "h6", **({} if opset < 4 else {"axis": 1})),
        node("PRelu", "h6 a", "h7"),
        node("MaxPool", "h7", "h8", kernel_shape=[2, 2], strides=[2, 2]),
        node("Dropout", "h8", "h9", ratio=0.5, **test),
        *([] if opset < 5 else [node("Identity", "sizes", "shape")]),
        node("Reshape", "h9" if opset < 5 else "h9 shape", "h10", **({"shape": [0, -1]} if opset < 5 else {})),
        node("Gemm", "h10 g c", "h11", transB=1, **({"broadcast": 1} if old else {})),
        node("Softmax", "h11", "y"),
    ]  # fmt: skip
    if opset >= 5:
        constants["sizes"] = np.array([0, -1])
    if not old:
        constants |= {n: constants[n].reshape(-1, 1, 1) for n in ("b", "a")}
        nodes[5] = node("Mul", "h2 s1", "h5")
        constants["s1"] = constants["s"].reshape(-1, 1, 1)
    return old_model(nodes, {"x": X}, ["y"], opset, constants)


def theirs(model: ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime", reason="compared with ONNX Runtime")
    for value in model.graph.output:
        value.ClearField("type")
    (result,) = ort.InferenceSession(model.SerializeToString()).run(None, feeds)
    return np.asarray(result)


@pytest.mark.peers
@pytest.mark.parametrize("opset", [*range(1, 8)])
def test_net_equals_that_of_opset_7(opset: int, tmp_path: Path) -> None:
    onnx.save(net(opset), tmp_path / "old.onnx")
    engine = camshaft.build(tmp_path / "old.onnx", optimization_level=1)
    want = theirs(net(7), {"x": X})
    np.testing.assert_allclose(engine({"x": X})["y"], want, rtol=1e-4, atol=1e-6)


@pytest.mark.peers
def test_batch_may_stay_open() -> None:
    model, newer = net(3), net(7)
    for m in (model, newer):
        m.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    engine = camshaft.build(model, optimization_level=1)
    for batch in (1, 5):
        x = np.resize(X, (batch, *X.shape[1:]))
        np.testing.assert_allclose(
            engine({"x": x})["y"], theirs(newer, {"x": x}), rtol=1e-4, atol=1e-6
        )


def test_model_is_not_changed() -> None:
    model = net(3)
    before = model.SerializeToString(deterministic=True)
    camshaft.build(model, optimization_level=0)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.peers
@pytest.mark.parametrize("ir_version", [1, 2])
def test_files_older_than_opsets_are_of_opset_1(ir_version: int) -> None:
    model = net(1)
    model.ir_version = ir_version
    del model.opset_import[:]
    engine = camshaft.build(model, optimization_level=0)
    want = theirs(net(7), {"x": X})
    np.testing.assert_allclose(engine({"x": X})["y"], want, rtol=1e-4, atol=1e-6)
    assert not model.opset_import
    model.ir_version = 3
    with pytest.raises(ModelError, match="names no opset"):
        camshaft.build(model)


@pytest.mark.parametrize("flag", [True, False])
def test_nodes_in_branches_know_the_ranks_of_what_they_capture(flag: bool) -> None:
    """Add by axis inside an If of opset 6, decided at run time, of tensors from outside."""
    c = weights()["b"][:3]
    add = helper.make_node("Add", ["x", "c"], ["t"], broadcast=1, axis=1)
    twice = helper.make_node("Mul", ["x", "two"], ["t"], broadcast=1)
    out = [helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, X.shape)]
    graphs = [helper.make_graph([n], "branch", [], out) for n in (add, twice)]
    node = helper.make_node("If", ["flag"], ["y"], then_branch=graphs[0], else_branch=graphs[1])
    feeds = {"x": X, "flag": np.array([flag])}
    model = old_model([node], feeds, ["y"], 6, {"c": c, "two": np.array(2, np.float32)})
    want = X + c[:, None, None] if flag else X * 2
    engine = camshaft.build(model, optimization_level=0)
    np.testing.assert_allclose(engine(feeds)["y"], want, rtol=1e-6)


def test_nodes_in_loops_know_the_ranks_of_what_they_capture() -> None:
    """Three times x + c, aligned by axis, in a Loop of opset 6."""
    c = weights()["b"][:3]
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "c"], ["w"], broadcast=1, axis=1),
            helper.make_node("Identity", ["more"], ["again"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("more", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, X.shape),
        ],
        [
            helper.make_tensor_value_info("again", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, X.shape),
        ],
    )
    node = helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body)
    feeds = {"x": X, "n": np.array(3)}
    model = old_model([node], feeds, ["y"], 6, {"c": c, "go": np.array(True)})
    engine = camshaft.build(model, optimization_level=0)
    np.testing.assert_allclose(engine(feeds)["y"], X + 3 * c[:, None, None], rtol=1e-5, atol=1e-6)
