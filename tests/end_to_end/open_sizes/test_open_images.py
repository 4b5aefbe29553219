"""A network of open batch, height and width, built once with nothing said, at many sizes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft


def model() -> bytes:
    """Convolutions, pools of both kinds and resizes as detectors have them."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> None:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        constants.append(numpy_helper.from_array(values.astype(np.float32), name))

    constants = [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "double")]
    weight("w1", 16, 3, 3, 3)
    weight("w2", 16, 16, 3, 3)
    weight("w3", 24, 32, 1, 1)
    same = {"pads": [1, 1, 1, 1]}
    half = {"kernel_shape": [3, 3], "strides": [2, 2]}
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[2, 2], **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], **half, **same),
        helper.make_node("Conv", ["c", "w2"], ["d"], **same),
        helper.make_node("AveragePool", ["d"], ["e"], count_include_pad=1, ceil_mode=1, **half, **same),
        helper.make_node("MaxPool", ["d"], ["f"], kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
        helper.make_node("Resize", ["f", "", "double"], ["g"], **nearest),
        helper.make_node("Shape", ["g"], ["size"]),
        helper.make_node("Resize", ["e", "", "", "size"], ["h"], mode="linear"),
        helper.make_node("Concat", ["g", "h"], ["i"], axis=1),
        helper.make_node("Conv", ["i", "w3"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


@pytest.mark.peers
@pytest.mark.parametrize("threads", [1, 2])
def test_any_size_equals_onnxruntime(threads: int) -> None:
    ort = pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
    session = ort.InferenceSession(model(), providers=["CPUExecutionProvider"])
    engine = camshaft.build(model(), threads=threads)
    rng = np.random.default_rng(1)
    seen: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    sizes = [(1, 224, 224), (1, 5, 5), (2, 33, 57), (1, 8, 300), (3, 17, 6), (1, 1, 1), (1, 64, 48)]
    for size in (*sizes, *reversed(sizes)):
        x = rng.standard_normal((size[0], 3, *size[1:])).astype(np.float32)
        x, before = seen.get(size, (x, None))
        got = engine({"x": x})["y"]
        (want,) = session.run(None, {"x": x})
        np.testing.assert_allclose(got, want, 1e-4, 1e-4, err_msg=str(size))
        if before is not None:
            np.testing.assert_array_equal(got, before)
        seen[size] = (x, np.array(got))


def test_means_over_sizes_whose_product_has_no_bound() -> None:
    """A convolution without borders leaves (h - 1) * (w - 1) pixels, expanded h*w - h - w + 1."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2]),
            helper.make_node("GlobalAveragePool", ["c"], ["y"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(w, "w")],
    )
    engine = camshaft.build(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        threads=1,
        optimization_level=1,
    )
    for n, height, width in ((1, 3, 3), (2, 8, 31), (1, 64, 64)):
        x = rng.standard_normal((n, 3, height, width)).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2]
        want = np.einsum("nchwij,kcij->nkhw", windows, w).mean((2, 3), keepdims=True)
        np.testing.assert_allclose(engine(x)["y"], want, 1e-4, 1e-5)
