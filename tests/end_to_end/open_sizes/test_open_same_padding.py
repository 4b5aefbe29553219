"""Padding by the rule SAME with a stride above 1 depends on the remainder of an open extent."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

import camshaft
from onnx_models import model_of

pytestmark = pytest.mark.peers

SIZES = ((1, 7, 8), (2, 8, 7), (1, 33, 5), (1, 1, 2), (1, 12, 12), (2, 7, 8))


def one_op(
    op: str, kernel: int, stride: int, dtype: type = np.float32, **attrs: object
) -> ModelProto:
    """An operator over x [n,3,h,w]."""
    weights = np.random.default_rng(0).standard_normal((8, 3, kernel, kernel)).astype(np.float32)
    constants = {"w": weights} if op == "Conv" else {}
    shape = {"kernel_shape": [kernel] * 2, "strides": [stride, stride]}
    node = helper.make_node(op, ["x", *constants], ["y"], "window", **shape, **attrs)
    model = model_of([node], {"x": np.zeros((1, 3, 8, 8), dtype)}, ["y"], constants)
    for axis, name in ((0, "n"), (2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    return model


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("Conv", {}),
        ("MaxPool", {}),
        ("AveragePool", {}),
        ("AveragePool", {"count_include_pad": 1}),
    ],
    ids=["conv", "max", "mean of the image", "mean"],
)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (5, 3)])
def test_equals_onnxruntime_at_any_size(
    op: str, attrs: dict[str, object], kernel: int, stride: int, rule: str
) -> None:
    ort = pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
    model = one_op(op, kernel, stride, auto_pad=rule, **attrs)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    engine = camshaft.build(model, optimization_level=1)
    rng = np.random.default_rng(1)
    for n, h, w in SIZES:
        x = rng.standard_normal((n, 3, h, w)).astype(np.float32) - 3  # a maximum over zeros shows
        (want,) = session.run(None, {"x": x})
        np.testing.assert_allclose(engine(x)["y"], want, rtol=1e-4, atol=1e-5)


def test_the_maximum_of_bytes_counts_no_padding() -> None:
    engine = camshaft.build(
        one_op("MaxPool", 3, 2, np.int8, auto_pad="SAME_UPPER"), optimization_level=1
    )
    fixed = one_op("MaxPool", 3, 2, np.int8, auto_pad="SAME_UPPER")
    for n, h, w in SIZES:
        x = np.random.default_rng(h).integers(-128, -9, (n, 3, h, w), np.int8)
        own = camshaft.build(fixed, shapes={"x": x.shape}, optimization_level=1)
        np.testing.assert_array_equal(engine(x)["y"], own(x)["y"])
