"""Q/DQ and the operators that carry scales or zero points.

Two judges of integer products: their definition in NumPy's int64, for any weights; and ONNX Runtime,
for weights with which it is exact on every processor (`onnx_models.SMALL_WEIGHTS`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_models import SMALL_WEIGHTS, check, compare, imported, model_of, one_node, run

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(3)
SCALE = np.array(0.05, np.float32)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def q(dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, int(info.max) + 1, shape).astype(dtype)


def small(*shape: int) -> np.ndarray:
    """Weights (i8) that ONNX Runtime multiplies exactly on every processor."""
    low, high = SMALL_WEIGHTS
    return RNG.integers(low, high + 1, shape).astype(np.int8)


WEIGHTS = {"any weights": lambda *shape: q(np.int8, *shape), "small weights": small}
each_weights = pytest.mark.parametrize("weights", WEIGHTS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_quantize_and_back(dtype: Any) -> None:
    zero = np.array(3, dtype)
    check(*one_node("QuantizeLinear", [f(3, 4) * 9], {1: SCALE, 2: zero}, opset=21))
    check(*one_node("DequantizeLinear", [q(dtype, 3, 4)], {1: SCALE, 2: zero}, opset=21))


def test_defaults() -> None:
    check(*one_node("QuantizeLinear", [f(3, 4) * 9], {1: SCALE}))
    check(*one_node("DequantizeLinear", [q(np.int8, 3, 4)], {1: SCALE}))
    check(*one_node("DequantizeLinear", [q(np.int32, 3, 4)], {1: SCALE}))
    integers = RNG.integers(-20, 300, (3, 4)).astype(np.int32)
    model, feeds = one_node("QuantizeLinear", [integers], {1: np.array(2.0, np.float32)})
    want = np.clip(np.rint(integers / 2.0), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(run(model, feeds)["y0"], want)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_per_axis(axis: int) -> None:
    x = f(4, 4, 4) * 9
    scale, zero = np.abs(f(4)) + 0.01, q(np.int8, 4)
    check(*one_node("QuantizeLinear", [x], {1: scale, 2: zero}, axis=axis))
    check(*one_node("DequantizeLinear", [q(np.int8, 4, 4, 4)], {1: scale, 2: zero}, axis=axis))


def test_scale_of_one_element_counts_for_the_whole_tensor() -> None:
    check(*one_node("QuantizeLinear", [f(1, 3)], {1: SCALE.reshape(1), 2: np.zeros(1, np.int8)}))


@pytest.mark.parametrize("axis", [0, 1])
def test_blocked(axis: int) -> None:
    shape = (3, 6) if axis == 0 else (6, 3)
    scale, zero = np.abs(f(*shape)) + 0.01, q(np.int8, *shape)
    attrs = {"axis": axis, "block_size": 2}
    check(*one_node("DequantizeLinear", [q(np.int8, 6, 6)], {1: scale, 2: zero}, opset=21, **attrs))
    check(*one_node("QuantizeLinear", [f(6, 6)], {1: scale, 2: zero}, opset=21, **attrs))


def test_four_bit_integers() -> None:
    packed = helper.make_tensor("w", TensorProto.INT4, [2, 3], [-8, 7, -1, 0, 3, -4])
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["d"])]
    nodes.append(helper.make_node("Add", ["d", "x"], ["y"]))
    x = np.zeros((2, 3), np.float32)
    model = model_of(nodes, {"x": x}, ["y"], {"s": SCALE}, opset=21)
    model.graph.initializer.append(packed)
    want = np.array([[-8, 7, -1], [0, 3, -4]], np.float32) * SCALE
    np.testing.assert_array_equal(run(model, {"x": x})["y"], want)
    four = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], output_dtype=TensorProto.INT4)
    graph = model_of([four], {"x": x}, [], {"s": np.array(1.0, np.float32)}, opset=21)
    graph.graph.output.append(helper.make_tensor_value_info("y", TensorProto.INT4, [2, 3]))
    values = np.array([[-20, -8, -7.6], [6.5, 7.5, 20]], np.float32)
    assert run(graph, {"x": values})["y"].tolist() == [[-8, -8, -8], [6, 7, 7]]


def test_weights_stay_recognisable_through_gemm_and_conv() -> None:
    """Transposes and reshapes of a dequantized constant happen to the integers."""
    constants = {"w": q(np.int8, 5, 4), "s": np.abs(f(5)) + 0.1, "z": np.zeros(5, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0),
        helper.make_node("Gemm", ["x", "d"], ["y"], transB=1),
    ]
    model = model_of(nodes, {"x": f(2, 4)}, ["y"], constants)
    graph = imported(model)
    assert [n.op.name for n in graph.nodes if n.op.name != "dequantize"] == ["matmul"]
    (dequantize,) = (n for n in graph.nodes if n.op.name == "dequantize")
    assert dequantize.args[0].is_const
    assert dequantize.output.shape == (4, 5)
    check(model, {"x": f(2, 4)})

    constants = {"w": q(np.int8, 3, 2, 1, 1), "s": SCALE, "b": q(np.int32, 3) // 9999}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["dw"]),
        helper.make_node("DequantizeLinear", ["b", "s"], ["db"]),
        helper.make_node("Conv", ["x", "dw", "db"], ["y"]),
    ]
    model = model_of(nodes, {"x": f(1, 2, 3, 3)}, ["y"], constants)
    graph = imported(model)
    assert {n.op.name for n in graph.nodes} == {"dequantize", "conv"}
    check(model, {"x": f(1, 2, 3, 3)})


CONV: dict[str, Any] = {"pads": [1, 0, 1, 2], "strides": [1, 2]}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("zero", [None, 0, 7])
def test_conv_integer(dtype: Any, zero: int | None) -> None:
    x, w = q(np.uint8, 2, 3, 5, 6), q(np.int8, 4, 3, 3, 2)
    want = integer_conv(x.astype(np.int64) - (zero or 0), w)
    if dtype is np.uint8:
        w = (w.astype(np.int16) + 128).astype(np.uint8)
    constants: dict[int, np.ndarray] = {1: w}
    if zero is not None:
        constants[2] = np.array(zero, np.uint8)
    if dtype is np.uint8:
        constants.setdefault(2, np.array(0, np.uint8))
        constants[3] = np.array(128, np.uint8)
    got = check(*one_node("ConvInteger", [x], constants, **CONV))
    np.testing.assert_array_equal(got["y0"], want)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("by_channel", [False, True])
def test_conv_integer_whose_weights_use_all_unsigned_levels(
    dynamic: bool, group: int, by_channel: bool
) -> None:
    x, zero = q(np.uint8, 2, 3, 5, 6), np.array(9, np.uint8)
    points = q(np.uint8, 6) if by_channel else np.array(31, np.uint8)
    constants: dict[int, np.ndarray] = {1: q(np.uint8, 6, 3 // group, 3, 2), 3: points}
    if not dynamic:
        constants[2] = zero
    attrs = {**CONV, "group": group}
    if by_channel:  # ONNX Runtime takes one zero point only
        model, feeds = one_node(
            "ConvInteger", [x, None, zero][: 1 + 2 * dynamic], constants, **attrs
        )
        wide = constants[1].astype(np.int64) - points.reshape(-1, 1, 1, 1)
        shifted = {1: wide.astype(np.float32)}
        floats, given = one_node("Conv", [x.astype(np.float32) - 9], shifted, **attrs)
        np.testing.assert_array_equal(run(model, feeds)["y0"], run(floats, given)["y0"])
        return
    check(*one_node("ConvInteger", [x, None, zero][: 1 + 2 * dynamic], constants, **attrs))


@pytest.mark.parametrize("dynamic", [False, True])
def test_matmul_integer_whose_weights_use_all_unsigned_levels(dynamic: bool) -> None:
    a, zero = q(np.uint8, 2, 4, 6), np.array(9, np.uint8)
    constants = {1: q(np.uint8, 6, 5), 3: q(np.uint8, 5)}
    if not dynamic:
        constants[2] = zero
    check(*one_node("MatMulInteger", [a, None, zero][: 1 + 2 * dynamic], constants))


def test_conv_integer_with_a_zero_point_known_at_run_time() -> None:
    x, zero = q(np.uint8, 2, 3, 5, 6), np.array(9, np.uint8)
    check(*one_node("ConvInteger", [x, None, zero], {1: q(np.int8, 4, 3, 3, 2)}, **CONV))
    check(*one_node("ConvInteger", [x, None, zero], {1: q(np.int8, 4, 3, 3, 2)}))


@each_weights
@pytest.mark.parametrize("zero", ["none", "constant", "dynamic"])
def test_matmul_integer(zero: str, weights: str) -> None:
    a, b, point = q(np.uint8, 2, 4, 6), WEIGHTS[weights](6, 5), np.array(9, np.uint8)
    constants = {1: b} | ({2: point} if zero == "constant" else {})
    operands = [a, None, point] if zero == "dynamic" else [a]
    model, feeds = one_node("MatMulInteger", operands, constants)
    want = (a.astype(np.int64) - (0 if zero == "none" else 9)) @ b.astype(np.int64)
    np.testing.assert_array_equal(run(model, feeds)["y0"], want)
    if weights == "small weights":
        check(model, feeds)


def test_matmul_integer_with_zero_points_by_column_runs_exactly() -> None:
    a, b = q(np.uint8, 4, 6), RNG.integers(0, 128, (6, 5)).astype(np.uint8)
    zeros = RNG.integers(0, 100, 5).astype(np.uint8)
    check(*one_node("MatMulInteger", [a], {1: b, 2: np.array(3, np.uint8), 3: zeros}))


def test_dynamic_quantization() -> None:
    model, feeds = one_node("DynamicQuantizeLinear", [f(3, 5)], outputs=3)
    check(model, feeds)
    assert {n.op.name for n in imported(model).nodes} <= {
        "pointwise",
        "reduce",
        "quantize",
        "reshape",
    }


def integer_conv(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The sums (i64) of a convolution with CONV's attributes; x: zero point taken off."""
    (top, left, bottom, right), strides = CONV["pads"], CONV["strides"]
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]
    return np.einsum("nchwrs,kcrs->nkhw", windows, w.astype(np.int64))


def check_requantized(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], exact: np.ndarray, *, peer: bool
) -> None:
    """The u8 result is `exact` (f64, in quanta, before it saturates) rounded to the nearest, where
    float32 scales leave no doubt which that is.  peer: ONNX Runtime's is at most one quantum off."""
    got = run(model, feeds)["y0"]
    assert got.dtype == np.uint8
    distance = np.abs(got - np.clip(exact, 0, 255))
    assert distance.max() <= 0.5 + 1e-6 * np.abs(exact).max()
    if not peer:
        return
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, feeds)
    assert theirs.dtype == np.uint8
    assert np.abs(got.astype(int) - theirs.astype(int)).max() <= 1
    assert np.mean(got == theirs) >= 0.9


@each_weights
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_qlinear_conv(bias: bool, per_channel: bool, weights: str) -> None:
    w_scale = np.abs(f(4)) * 0.01 + 0.01 if per_channel else np.array(0.02, np.float32)
    x, w = q(np.uint8, 2, 3, 5, 6), WEIGHTS[weights](4, 3, 3, 2)
    constants = {
        1: SCALE,
        2: np.array(120, np.uint8),
        3: w,
        4: w_scale,
        5: np.zeros(w_scale.shape, np.int8),
        6: np.array(0.7, np.float32),
        7: np.array(100, np.uint8),
    }
    sums = integer_conv(x.astype(np.int64) - 120, w)
    if bias:
        constants[8] = q(np.int32, 4) // 9999
        sums += constants[8].reshape(-1, 1, 1)
    model, feeds = one_node("QLinearConv", [x], constants, **CONV)
    scale = np.float64(SCALE) * w_scale.astype(np.float64) / np.float64(constants[6])
    exact = sums * scale.reshape(-1, 1, 1) + 100
    check_requantized(model, feeds, exact, peer=weights == "small weights")


@each_weights
def test_qlinear_matmul(weights: str) -> None:
    a, b = q(np.uint8, 4, 6), WEIGHTS[weights](6, 5)
    constants = {
        1: SCALE,
        2: np.array(120, np.uint8),
        3: b,
        4: np.array(0.02, np.float32),
        5: np.array(0, np.int8),
        6: np.array(0.3, np.float32),
        7: np.array(100, np.uint8),
    }
    model, feeds = one_node("QLinearMatMul", [a], constants)
    sums = (a.astype(np.int64) - 120) @ b.astype(np.int64)
    scale = np.float64(SCALE) * np.float64(constants[4]) / np.float64(constants[6])
    check_requantized(model, feeds, sums * scale + 100, peer=weights == "small weights")


def test_operators_of_microsofts_domain_that_quantize() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], domain="com.microsoft"),
    ]
    x = f(3, 4)
    constants = {"s": SCALE, "z": np.array(5, np.uint16)}
    model = model_of(nodes, {"x": x}, ["y"], constants, domains=["com.microsoft"])
    compare(run(model, {"x": x})["y"], np.round(x / SCALE).clip(-5, 65530) * SCALE, 1e-6)


def test_half_precision_scales() -> None:
    scale = np.array(0.125, np.float16)
    proto = numpy_helper.from_array(scale, "s")
    node = helper.make_node("DequantizeLinear", ["x", "s"], ["y"])
    model = model_of([node], {"x": q(np.int8, 3, 4)}, ["y"], {}, opset=19)
    model.graph.initializer.append(proto)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT16, [3, 4]))
    x = q(np.int8, 3, 4)
    got = run(model, {"x": x})["y"]
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, x.astype(np.float16) * scale)
