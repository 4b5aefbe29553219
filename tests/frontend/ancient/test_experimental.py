"""ONNX's experimental operators, beside ONNX Runtime where it still has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from old_models import computed, old_node, theirs

X = np.random.default_rng(2).standard_normal((2, 3, 6, 5)).astype(np.float32)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("Affine", {"alpha": 2.0, "beta": -1.0}),
    ("Affine", {}),
    ("Crop", {"border": [1, 2, 1, 0]}),
    ("Crop", {"border": [1, 2, 0, 0], "scale": [3, 2]}),
    ("ImageScaler", {"scale": 2.0, "bias": [1.0, -2.0, 3.0]}),
    ("MeanVarianceNormalization", {}),
    ("MeanVarianceNormalization", {"across_channels": 1}),
    ("MeanVarianceNormalization", {"across_channels": 1, "normalize_variance": 0}),
    ("MeanVarianceNormalization", {"across_channels": 0, "normalize_variance": 0}),
    ("ParametricSoftplus", {"alpha": 1.5, "beta": 0.5}),
    ("Scale", {"scale": -3.0}),
    ("ScaledTanh", {"alpha": 1.5, "beta": 0.5}),
    ("ThresholdedRelu", {}),
    ("ThresholdedRelu", {"alpha": 0.25}),
]


@pytest.mark.parametrize("opset", [6, 7, 8])
@pytest.mark.parametrize(("op_type", "attributes"), CASES)
def test_equals_onnxruntime(op_type: str, attributes: dict[str, Any], opset: int) -> None:
    (want,) = theirs(op_type, [X], opset, **attributes)
    model, feeds = old_node(op_type, [X], opset, **attributes)
    (got,) = computed(model, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_mean_variance_normalization_of_its_schema(opset: int) -> None:
    for more in ({}, {"axes": [1, 3]}):
        (want,) = theirs("MeanVarianceNormalization", [X], opset, **more)
        (got,) = computed(*old_node("MeanVarianceNormalization", [X], opset, **more))
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_dynamic_slice() -> None:
    for axes in ((), (np.array([2, 1]),)):
        operands = [X, np.array([1, 0]), np.array([100, -1]), *axes]
        (want,) = theirs("DynamicSlice", operands, 6)
        (got,) = computed(
            *old_node("DynamicSlice", operands, 6, constant=[1, 2, 3][: len(operands) - 1])
        )
        np.testing.assert_array_equal(got, want)


def test_fillers() -> None:
    """ONNX Runtime has them no more; Caffe2's definition."""
    (got,) = computed(*old_node("ConstantFill", [X], 6, value=2.5, extra_shape=[2]))
    np.testing.assert_array_equal(got, np.full((*X.shape, 2), 2.5, np.float32))
    shape = np.array([2, 3])
    model, feeds = old_node("ConstantFill", [shape], 6, constant=[0], input_as_shape=1, dtype=6)
    (got,) = computed(model, feeds)
    np.testing.assert_array_equal(got, np.zeros((2, 3), np.int32))
    assert got.dtype == np.int32
    (got,) = computed(*old_node("GivenTensorFill", [], 6, shape=[1, 2], values=[3.0, 4.0]))
    np.testing.assert_array_equal(got, np.float32([[3, 4]]))
    with pytest.raises(ModelError, match=r"2 values do not fill shape \[3\]"):
        import_onnx(old_node("GivenTensorFill", [], 6, shape=[3], values=[3.0, 4.0])[0])


@pytest.mark.parametrize("op_type", ["ATen", "GRUUnit"])
def test_what_no_runtime_has_is_refused_by_name(op_type: str) -> None:
    with pytest.raises(ModelError, match=op_type):
        import_onnx(old_node(op_type, [X], 6)[0])


def test_numbers_without_defaults_are_needed() -> None:
    with pytest.raises(ModelError, match="alpha and beta are needed"):
        import_onnx(old_node("ScaledTanh", [X], 6, alpha=1.0)[0])
