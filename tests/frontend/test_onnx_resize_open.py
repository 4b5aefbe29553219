"""Resize, Range and EyeLike of open extents: one graph at many sizes, against ONNX Runtime and NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from open_graphs import interpreted


def resize_model(
    inputs: Mapping[int, np.ndarray], opset: int = 18, like: bool = False, **attrs: Any
) -> bytes:
    """Resize of x [n, 3, h, w] with constant inputs by place; `like`: to the size of y [n, 3, a, b]."""
    names = ["x", "", "", ""]
    constants = []
    for place, array in inputs.items():
        names[place] = f"c{place}"
        constants.append(numpy_helper.from_array(array, names[place]))
    nodes = []
    if like:
        nodes.append(helper.make_node("Shape", ["y"], ["shape"]))
        names[3] = "shape"
    while not names[-1]:
        names.pop()
    nodes.append(helper.make_node("Resize", names, ["z"], **attrs))
    kinds = [("x", ["n", 3, "h", "w"])] + ([("y", ["n", 3, "a", "b"])] if like else [])
    graph = helper.make_graph(
        nodes,
        "resize",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kinds],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None] * 4)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def scales(*values: float) -> dict[int, np.ndarray]:
    return {2: np.array(values, np.float32)}


MODELS: dict[str, bytes] = {
    "nearest x2": resize_model(scales(1, 1, 2, 2), coordinate_transformation_mode="asymmetric"),
    "nearest x2, floor": resize_model(
        scales(1, 1, 2, 2), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "linear x1.5": resize_model(scales(1, 1, 1.5, 1.5), mode="linear"),
    "linear of the height": resize_model(scales(1, 1, 2, 1), mode="linear"),
    "cubic": resize_model(scales(1, 1, 2, 0.5), mode="cubic"),
    "a third": resize_model(scales(1, 1, 1 / 3, 1 / 3), mode="linear"),
    "corners": resize_model(
        scales(1, 1, 2, 2), mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "to a fixed size": resize_model({3: np.array([12, 40])}, mode="linear", axes=[2, 3]),
    "to another's size": resize_model({}, like=True),
    "to another's size, linear": resize_model({}, like=True, mode="linear"),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", MODELS)
def test_models_equal_onnxruntime(name: str) -> None:
    ort = pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
    graph = import_onnx(MODELS[name])
    assert any(not isinstance(e, int) for e in graph.outputs[0].shape[2:]) or "fixed" in name
    session = ort.InferenceSession(MODELS[name], providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(3)
    for n, h, w, a, b in (
        (1, 3, 3, 1, 1),
        (2, 5, 9, 11, 4),
        (1, 32, 24, 64, 48),
        (3, 17, 31, 8, 62),
    ):
        feeds = {"x": rng.standard_normal((n, 3, h, w)).astype(np.float32)}
        if "another" in name:
            feeds["y"] = np.zeros((n, 3, a, b), np.float32)
        want = session.run(None, feeds)[0]
        np.testing.assert_allclose(interpreted(graph, feeds), want, 1e-4, 1e-5, err_msg=str((h, w)))


def counting_model(op: str, **attrs: Any) -> bytes:
    """Range from 2 to the height of x [h, w] in threes, or EyeLike of x."""
    nodes = [helper.make_node("EyeLike", ["x"], ["z"], **attrs)]
    constants = [
        numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("a", 2), ("c", 3), ("i", 0))
    ]
    if op == "Range":
        nodes = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "i"], ["limit"]),
            helper.make_node("Range", ["a", "limit", "c"], ["z"]),
        ]
    kind = TensorProto.INT64 if op == "Range" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        op,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["h", "w"])],
        [helper.make_tensor_value_info("z", kind, [None] * (1 if op == "Range" else 2))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.mark.parametrize("op,attrs", [("Range", {}), ("EyeLike", {}), ("EyeLike", {"k": -1})])
def test_range_and_eye_of_open_extents(op: str, attrs: dict[str, int]) -> None:
    graph = import_onnx(counting_model(op, **attrs))
    for h, w in ((1, 1), (2, 5), (9, 3), (12, 30)):
        got = interpreted(graph, {"x": np.zeros((h, w), np.float32)})
        want = np.arange(2, h, 3) if op == "Range" else np.eye(h, w, attrs.get("k", 0), np.float32)
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype


def test_scales_that_round_differently_are_refused() -> None:
    with pytest.raises(ModelError, match="is no fraction"):
        import_onnx(resize_model(scales(1, 1, 0.7123, 0.7123)))
