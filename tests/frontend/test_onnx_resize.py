"""Resize and Upsample: every mode against ONNX Runtime, and against hand-worked tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from camshaft.frontends.onnx import import_onnx
from camshaft.ir import expr as E
from camshaft.ir.interpret import interpret
from camshaft.ir.types import f64
from camshaft.ops.functional.spatial.sampling import Axis, Table, coordinates_of, cubic_table
from onnx_models import check, host_ops, imported, one_node

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

COORDINATES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
]
X = np.random.default_rng(5).standard_normal((2, 3, 5, 7)).astype(np.float32)


def scales(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("by", [(1, 1, 2, 3), (1, 1, 0.6, 1.7), (1, 1, 1, 2), (1, 1, 0.4, 0.2)])
def test_scales(coordinates: str, mode: str, by: tuple[float, ...]) -> None:
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates}
    check(*one_node("Resize", [X], {2: scales(*by)}, opset=19, **attrs))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("size", [(2, 3, 9, 4), (2, 3, 10, 14), (2, 3, 2, 3)])
def test_nearest_modes(coordinates: str, nearest: str, size: tuple[int, ...]) -> None:
    attrs = {"nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
    check(*one_node("Resize", [X], {3: np.array(size)}, opset=19, **attrs))


def test_tf_half_pixel_of_opset_11() -> None:
    attrs = {"nearest_mode": "floor", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    check(*one_node("Resize", [X], {1: scales(), 2: scales(1, 1, 2, 1.5)}, opset=11, **attrs))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("size", [(2, 3, 9, 4), (2, 3, 1, 1)])
def test_sizes(mode: str, size: tuple[int, ...]) -> None:
    check(*one_node("Resize", [X], {3: np.array(size)}, opset=13, mode=mode))


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_policies_and_axes(policy: str) -> None:
    attrs: dict[str, Any] = {"axes": [2, 3], "keep_aspect_ratio_policy": policy}
    check(*one_node("Resize", [X], {3: np.array([8, 9])}, opset=18, **attrs))
    check(*one_node("Resize", [X], {2: scales(2, 0.5)}, opset=18, axes=[3, 2], mode="linear"))


@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize("a", [-0.5, -0.75])
def test_cubic_coefficients(outside: int, a: float) -> None:
    attrs: dict[str, Any] = {"mode": "cubic", "cubic_coeff_a": a, "exclude_outside": outside}
    check(*one_node("Resize", [X], {2: scales(1, 1, 1.7, 0.7)}, opset=13, **attrs))


def test_other_ranks_and_axes() -> None:
    check(*one_node("Resize", [X[0]], {2: scales(1, 2, 3)}, opset=13, mode="linear"))
    check(*one_node("Resize", [X[0, :1]], {2: scales(1, 2, 3)}, opset=13))
    check(*one_node("Resize", [X[0, 0]], {2: scales(2, 1.5)}, opset=13, mode="linear"))
    check(*one_node("Resize", [X], {2: scales(1, 2, 1.5, 1)}, opset=13))
    channels_last = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
    check(*one_node("Resize", [channels_last], {2: scales(1, 2, 3, 1)}, opset=13, mode="linear"))
    check(*one_node("Resize", [X], {2: scales(1, 1, 1, 1)}, opset=13))


def test_integers_and_nearest() -> None:
    x = np.random.default_rng(1).integers(0, 255, (1, 2, 4, 5)).astype(np.uint8)
    check(*one_node("Resize", [x], {2: scales(1, 1, 2, 2)}, opset=13))


def test_upsample_and_resize_of_opset_10() -> None:
    for mode in ("nearest", "linear"):
        check(*one_node("Upsample", [X], {1: scales(1, 1, 2, 3)}, opset=9, mode=mode))
        check(*one_node("Upsample", [X], opset=7, scales=[1.0, 1.0, 2.0, 3.0], mode=mode))
        for by in ((1, 1, 2, 1.5), (1, 1, 0.6, 0.7)):
            check(*one_node("Resize", [X], {1: scales(*by)}, opset=10, mode=mode))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("outside", [0, 1])
def test_antialias(mode: str, coordinates: str, outside: int) -> None:
    attrs: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "exclude_outside": outside,
        "antialias": 1,
    }
    x = np.random.default_rng(6).standard_normal((2, 3, 17, 25)).astype(np.float32)
    for by in ((1, 1, 0.5, 0.5), (1, 1, 0.3, 2), (1, 1, 1, 0.7)):
        check(*one_node("Resize", [x], {2: scales(*by)}, opset=18, **attrs))
    for size in ((2, 3, 5, 4), (2, 3, 1, 9), (2, 3, 17, 1)):
        check(*one_node("Resize", [x], {3: np.array(size)}, opset=18, **attrs))


def test_antialias_of_integers_and_cropping_run_on_the_host() -> None:
    by = {2: scales(1, 1, 0.5, 0.5)}
    x = np.random.default_rng(1).integers(0, 255, (1, 2, 4, 5)).astype(np.uint8)
    model, _ = one_node("Resize", [x], by, opset=18, mode="linear", antialias=1)
    assert host_ops(imported(model)) == ["Resize"]
    roi = scales(0, 0, 0.1, 0.2, 1, 1, 0.8, 0.9)
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    constants = {1: roi, 3: np.array([2, 3, 4, 4])}
    check(*one_node("Resize", [X], constants, opset=18, **crop), host=True)


def positions(axis: Axis, mode: str) -> np.ndarray:
    assert isinstance(axis.out, int)
    return E.evaluate(coordinates_of(axis, mode), [np.arange(axis.out, dtype=np.float64)])


def test_coordinates_by_hand() -> None:
    double = Axis(2, 4, 2.0)
    assert positions(double, "half_pixel").tolist() == [-0.25, 0.25, 0.75, 1.25]
    assert positions(double, "asymmetric").tolist() == [0.0, 0.5, 1.0, 1.5]
    third = positions(double, "align_corners")
    np.testing.assert_allclose(third, [0, 1 / 3, 2 / 3, 1], rtol=1e-6)


def weights_at(coordinate: float, outside: bool) -> tuple[np.ndarray, np.ndarray]:
    table: Table = cubic_table(E.const(coordinate, f64), 4, -0.75, outside)
    return table.arrays(1)


def test_cubic_weights_by_hand() -> None:
    index, weight = weights_at(1.5, False)
    assert index.tolist() == [[0, 1, 2, 3]]
    assert weight.tolist() == [[-0.09375, 0.59375, 0.59375, -0.09375]]
    index, weight = weights_at(0.5, True)
    assert index.tolist() == [[0, 0, 1, 2]]
    assert weight[0, 0] == 0.0
    assert weight.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("size", "out"), [(640, 224), (100, 70), (97, 31), (480, 300)])
def test_the_middle_of_two_pixels_is_found_by_sizes(size: int, out: int) -> None:
    """round_prefer_floor takes the lower pixel there; a scale that is rounded first misses some."""
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest")
    graph = helper.make_graph(
        [node],
        "ties",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, out])],
        [numpy_helper.from_array(np.array([1, 1, 1, out]), "sizes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    x = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    # ceil((i + 1/2) * size / out - 1), in whole numbers
    want = [max(0, -(-((2 * i + 1) * size - 2 * out) // (2 * out))) for i in range(out)]
    got = interpret(import_onnx(model), {"x": x})["y"]
    np.testing.assert_array_equal(got.reshape(-1), np.array(want, np.float32))
