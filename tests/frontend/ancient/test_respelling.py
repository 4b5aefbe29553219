"""Operators that opsets 2 to 7 changed, each as its old version says it, against NumPy or torch's recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from old_models import computed, old_node, theirs, value_of

RNG = np.random.default_rng(1)
X = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)


def channels(low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return RNG.uniform(low, high, 3).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


UNARY: dict[str, tuple[dict[str, float], Any]] = {
    "Abs": ({}, np.abs),
    "Ceil": ({}, np.ceil),
    "Clip": ({"min": -0.5, "max": 0.5}, lambda x: np.clip(x, -0.5, 0.5)),
    "Elu": ({}, lambda x: np.where(x < 0, np.expm1(x), x)),
    "Exp": ({}, np.exp),
    "Floor": ({}, np.floor),
    "HardSigmoid": ({}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "LeakyRelu": ({}, lambda x: np.where(x < 0, 0.01 * x, x)),
    "Log": ({}, lambda x: np.log(x)),
    "Neg": ({}, np.negative),
    "Reciprocal": ({}, lambda x: 1 / x),
    "Relu": ({}, lambda x: np.maximum(x, 0)),
    "Sigmoid": ({}, sigmoid),
    "Sqrt": ({}, np.sqrt),
    "Tanh": ({}, np.tanh),
}


@pytest.mark.parametrize("opset", [1, 2, 5, 6])
@pytest.mark.parametrize("op_type", UNARY)
def test_permission_to_work_in_place_changes_nothing(op_type: str, opset: int) -> None:
    attributes, function = UNARY[op_type]
    x = np.abs(X) + 0.1 if op_type in ("Log", "Sqrt") else X
    more = {"consumed_inputs": [1]} if opset < 6 else {}
    got = value_of(op_type, [x], opset, **attributes, **more)
    np.testing.assert_allclose(got, function(x), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 6])
def test_clip_bounds_default_to_none(opset: int) -> None:
    np.testing.assert_array_equal(value_of("Clip", [X], opset, min=0.0), np.maximum(X, 0))
    np.testing.assert_array_equal(value_of("Clip", [X], opset, max=0.0), np.minimum(X, 0))


def test_selu_has_the_constants_of_its_version() -> None:
    for opset, alpha, gamma in ((1, 1.6732, 1.0507), (6, 1.67326324, 1.05070098)):
        want = gamma * np.where(X > 0, X, alpha * np.expm1(X.astype(np.float64)))
        np.testing.assert_allclose(value_of("Selu", [X], opset), want, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("opset", [1, 6])
def test_folds_over_operands(opset: int) -> None:
    y = X[::-1].copy()
    for op_type, want in (
        ("Sum", X + y + X),
        ("Mean", (X + y + X) / 3),
        ("Max", np.maximum(X, y)),
        ("Min", np.minimum(X, y)),
    ):
        np.testing.assert_allclose(value_of(op_type, [X, y, X], opset), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 6])
def test_instance_normalization(opset: int) -> None:
    scale, bias = channels(), channels()
    mean, var = X.mean((2, 3), keepdims=True), X.var((2, 3), keepdims=True)
    want = (X - mean) / np.sqrt(var + 1e-5) * scale[:, None, None] + bias[:, None, None]
    got = value_of("InstanceNormalization", [X, scale, bias], opset)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_test", [{}, {"is_test": 1}, {"is_test": 0}])
@pytest.mark.parametrize("opset", [1, 6])
def test_batch_normalization_of_one_output_is_inference(opset: int, is_test: Any) -> None:
    scale, bias, mean, var = channels(), channels(), channels(), channels(0.5, 2.0)
    column = (slice(None), None, None)
    more = {"consumed_inputs": [0, 0, 0, 1, 1]} if opset < 6 else {}
    want = (X - mean[column]) / np.sqrt(var[column] + 1e-3) * scale[column] + bias[column]
    operands = [X, scale, bias, mean, var]
    got = value_of("BatchNormalization", operands, opset, epsilon=1e-3, **is_test, **more)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [1, 6, 7, 8])
def test_batch_normalization_by_element(opset: int) -> None:
    scale, bias, mean = (RNG.standard_normal(X.shape[1:]).astype(np.float32) for _ in range(3))
    var = RNG.uniform(0.5, 2, X.shape[1:]).astype(np.float32)
    more = {"consumed_inputs": [0, 0, 0, 1, 1]} if opset < 6 else {}
    want = (X - mean) / np.sqrt(var + 1e-5) * scale + bias
    operands = [X, scale, bias, mean, var]
    got = value_of("BatchNormalization", operands, opset, spatial=0, **more)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    if opset >= 7:
        (same,) = theirs("BatchNormalization", operands, opset, spatial=0)
        np.testing.assert_allclose(got, same, rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="of one example"):
        import_onnx(
            old_node("BatchNormalization", [X, *([channels()] * 4)], opset, spatial=0, **more)[0]
        )


def test_batch_normalization_in_training_is_refused_or_says_so() -> None:
    operands = [X, channels(), channels(), channels(), channels(0.5, 2.0)]
    model, _ = old_node("BatchNormalization", operands, 6, outputs=5, is_test=1)
    with pytest.raises(ModelError, match="is_test=1, but outputs that only training makes"):
        import_onnx(model)


@pytest.mark.parametrize("opset", [1, 6])
def test_dropout(opset: int) -> None:
    np.testing.assert_array_equal(value_of("Dropout", [X], opset, is_test=1, ratio=0.9), X)
    np.testing.assert_array_equal(value_of("Dropout", [X], opset, ratio=0.0), X)
    with pytest.raises(ModelError, match=r"drops elements at random.*set is_test=1"):
        import_onnx(old_node("Dropout", [X], opset)[0])


@pytest.mark.parametrize(
    ("to", "dtype"),
    [("FLOAT", "f4"), ("DOUBLE", "f8"), ("INT32", "i4"), ("int64", "i8"), ("UINT8", "u1"), ("BOOL", "?")],
)  # fmt: skip
def test_cast_names_the_type(to: str, dtype: str) -> None:
    x = np.abs(X)
    np.testing.assert_array_equal(value_of("Cast", [x], 5, to=to), x.astype(dtype))
    assert value_of("Cast", [x], 1, to=to).dtype == np.dtype(dtype)


def test_cast_to_no_type_is_refused() -> None:
    with pytest.raises(ModelError, match="to='FLAOT' is not the name of an element type"):
        import_onnx(old_node("Cast", [X], 1, to="flaot")[0])


def test_concat_joins_along_axis_1_where_none_is_said() -> None:
    y = X[:, :2].copy()
    for opset in (1, 3):
        np.testing.assert_array_equal(value_of("Concat", [X, y], opset), np.concatenate([X, y], 1))
    got = value_of("Concat", [X, X], 1, axis=3)
    np.testing.assert_array_equal(got, np.concatenate([X, X], 3))


def test_reshape_has_its_shape_as_an_attribute() -> None:
    for opset in (1, 4):
        got = value_of("Reshape", [X], opset, shape=[0, -1, 5])
        np.testing.assert_array_equal(got, X.reshape(2, 12, 5))
    with pytest.raises(ModelError, match="attribute 'shape' is missing"):
        import_onnx(old_node("Reshape", [X], 1)[0])


def test_split_takes_sizes_as_attribute_or_input() -> None:
    sizes = np.array([1, 2], np.float32)
    for more in ({"split": [1, 2]}, {}):
        operands = [X] if more else [X, sizes]
        model, feeds = old_node("Split", operands, 1, constant=[1], outputs=2, axis=1, **more)
        got = computed(model, feeds)
        np.testing.assert_array_equal(got[0], X[:, :1])
        np.testing.assert_array_equal(got[1], X[:, 1:])
    model, feeds = old_node("Split", [X], 1, outputs=2, axis=2)
    np.testing.assert_array_equal(computed(model, feeds)[1], X[:, :, 2:])
    with pytest.raises(ModelError, match="names no axis, and opset 1 has no default"):
        import_onnx(old_node("Split", [X], 1, outputs=2)[0])


def test_tile_repeats_along_one_axis() -> None:
    operands = [X, np.array([2], np.float32), np.array([-1], np.float32)]
    for opset in (1, 5):
        model, feeds = old_node("Tile", operands, opset, constant=[1, 2])
        np.testing.assert_array_equal(computed(model, feeds)[0], np.tile(X, (1, 1, 1, 2)))
    half = old_node("Tile", [X, np.float32(1.5), np.float32(0)], 1, constant=[1, 2])[0]
    with pytest.raises(ModelError, match=r"tiles 1\.5 are not whole numbers"):
        import_onnx(half)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad_lists_begins_then_ends(mode: str) -> None:
    widths = ((0, 0), (0, 0), (1, 3), (2, 0))
    value = {"value": 1.5} if mode == "constant" else {}
    got = value_of("Pad", [X], 1, paddings=[0, 0, 1, 2, 0, 0, 3, 0], mode=mode, **value)
    more: Any = {"constant_values": 1.5} if value else {}
    np.testing.assert_array_equal(got, np.pad(X, widths, mode, **more))


def test_upsample_has_two_factors() -> None:
    got = value_of("Upsample", [X], 1, width_scale=3.0, height_scale=2.0)
    np.testing.assert_array_equal(got, X.repeat(2, 2).repeat(3, 3))
    (want,) = theirs("Upsample", [X], 7, mode="linear", scales=[1.0, 1.0, 2.0, 3.0])
    got = value_of("Upsample", [X], 6, width_scale=3.0, height_scale=2.0, mode="bilinear")
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 2])
def test_lp_pools(opset: int) -> None:
    p: Any = {"p": 3.0} if opset < 2 else {"p": 3}
    want = (np.abs(X) ** 3).sum((2, 3), keepdims=True) ** (1 / 3)
    np.testing.assert_allclose(value_of("GlobalLpPool", [X], opset, **p), want, rtol=1e-5)
    got = value_of("LpPool", [X], opset, kernel_shape=[2, 5], strides=[2, 1], **p)
    cells = np.abs(X.reshape(2, 3, 2, 2, 5)) ** 3
    np.testing.assert_allclose(got[..., 0], cells.sum((3, 4)) ** (1 / 3), rtol=1e-5)


def test_lp_pools_of_half_powers_are_refused() -> None:
    for op_type, more in (("GlobalLpPool", {}), ("LpPool", {"kernel_shape": [2, 2]})):
        with pytest.raises(ModelError, match=r"p=1.5 is not a whole number"):
            import_onnx(old_node(op_type, [X], 1, p=1.5, **more)[0])
    with pytest.raises(ModelError, match="'kernel_shape' is missing"):
        import_onnx(old_node("LpPool", [X], 1)[0])


def test_average_pool_leaves_padding_out() -> None:
    got = value_of("AveragePool", [X], 1, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    np.testing.assert_allclose(got[..., 0, 0], X[..., :2, :2].mean((2, 3)), rtol=1e-5, atol=1e-6)


RECURRENT = {"RNN": 1, "GRU": 3, "LSTM": 4}


@pytest.mark.parametrize("opset", [1, 3, 6])
@pytest.mark.parametrize("op_type", RECURRENT)
def test_recurrent_layers_are_those_of_opset_7(op_type: str, opset: int) -> None:
    """output_sequence=0 only permits leaving the sequence out."""
    gates, hidden = RECURRENT[op_type], 4
    shapes = (
        (5, 2, 3),
        (1, gates * hidden, 3),
        (1, gates * hidden, hidden),
        (1, 2 * gates * hidden),
    )
    operands = [RNG.standard_normal(s).astype(np.float32) for s in shapes]
    want = theirs(op_type, operands, 7, outputs=2, hidden_size=hidden)
    for wanted in (0, 1):
        model, feeds = old_node(
            op_type, operands, opset, constant=[1, 2, 3], outputs=2,
            hidden_size=hidden, output_sequence=wanted,
        )  # fmt: skip
        for got, same in zip(computed(model, feeds), want, strict=True):
            np.testing.assert_allclose(got, same, rtol=1e-4, atol=1e-5)
