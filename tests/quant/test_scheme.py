"""Scale and zero point: worked by hand, and the same as ONNX and PyTorch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camshaft.errors import CalibrationError
from camshaft.ir.types import i8, i32, u8
from camshaft.quant.scheme import (
    QuantParams,
    dequantize,
    params_from_amax,
    params_from_range,
    quantize,
    weight_params,
)

F32 = np.float32
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def test_symmetric_by_hand():
    params = params_from_amax(254.0)
    assert (params.scale, params.zero_point, params.dtype, params.axis) == (2.0, 0, i8, None)
    # 3 / 2 and 5 / 2 are ties: half to even.
    x = np.array([0, 2, 3, 5, -3, -5, 254, 255, 300, -256, -300], F32)
    assert quantize(x, params).tolist() == [0, 1, 2, 2, -2, -2, 127, 127, 127, -128, -128]
    assert dequantize(np.array([-128, 3], np.int8), params).tolist() == [-256.0, 6.0]
    assert params_from_amax(127.0 / 128).scale == F32(1 / 128)


def test_affine_by_hand():
    params = params_from_range(-1.0, 254.0)
    assert (params.scale, params.zero_point, params.dtype) == (1.0, 1, u8)
    x = np.array([-5, -1, -0.5, 0, 0.5, 1.5, 254, 300], F32)
    assert quantize(x, params).tolist() == [0, 0, 1, 1, 1, 3, 255, 255]
    assert dequantize(np.array([0, 1, 255], np.uint8), params).tolist() == [-1.0, 0.0, 254.0]
    assert [float(b) for b in params.interval] == [-1.0, 254.0]
    assert params_from_range(-128.0, 127.0, i8).zero_point == 0
    assert params_from_range(0.0, 510.0, i8).zero_point == -128


def test_a_range_is_widened_to_hold_zero():
    assert params_from_range(2.0, 255.0) == params_from_range(0.0, 255.0)
    below = params_from_range(-255.0, -3.0)
    assert (below.scale, below.zero_point) == (1.0, 255)


@settings(max_examples=200, deadline=None)
@given(FINITE, FINITE, st.sampled_from([i8, u8]))
def test_affine_represents_zero_exactly_and_the_range_within_half_a_step(a, b, dtype):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    params = params_from_range(low, high, dtype)
    zero = np.zeros(1, F32)
    assert dequantize(quantize(zero, params), params).tolist() == [0.0]
    scale = Fraction(float(params.scale))
    first, last = (Fraction(float(x)) for x in params.interval)
    half = scale * Fraction(501, 1000)
    assert first <= Fraction(low) + half
    assert last >= Fraction(high) - half
    assert np.isfinite(1 / params.scale)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e4, 1e4, width=32), st.floats(2.0**-10, 1e4, width=32))
def test_quantize_is_the_nearest_level(x, amax):
    params = params_from_amax(amax)
    q = int(quantize(np.array([x], F32), params)[0])
    exact = Fraction(float(F32(x) / params.scale))  # the quotient is rounded to float32 once
    assert q == min(max(round(exact), -128), 127)


def test_nothing_but_zero_gives_scale_one():
    for params in (params_from_amax(0.0), params_from_range(0.0, 0.0), params_from_range(0, 0, i8)):
        assert params.scale == 1.0
        assert dequantize(quantize(np.zeros(3, F32), params), params).tolist() == [0, 0, 0]


def test_subnormal_ranges_keep_a_scale_that_has_a_reciprocal():
    for params in (params_from_amax(1e-44), params_from_range(0.0, 1e-44)):
        assert params.scale == np.finfo(F32).tiny
    weight = np.full((2, 3), 1e-42, F32)
    assert np.isfinite(1 / weight_params(weight, 0).scale).all()


@pytest.mark.parametrize("amax", [-1.0, np.nan, np.inf])
def test_what_is_no_threshold_is_an_error(amax):
    with pytest.raises(CalibrationError, match="no range"):
        params_from_amax(amax)


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_what_is_no_range_is_an_error(low, high):
    with pytest.raises(CalibrationError, match="no range"):
        params_from_range(low, high)


def test_symmetric_needs_a_signed_type():
    with pytest.raises(CalibrationError, match="signed"):
        params_from_amax(1.0, u8)


def test_weights_by_hand():
    weight = np.array([[127, -63.5, 0], [0, 0, 0], [-0.5, 0.25, 0.375]], F32)
    params = weight_params(weight, 0)
    assert params.scale.tolist() == [1.0, 1.0, F32(0.5 / 127)]
    assert params.zero_point.tolist() == [0, 0, 0]
    assert (params.dtype, params.axis, params.levels) == (i8, 0, (-127, 127))
    # -63.5 ties to even; 63.5 and 95.25 come from the third channel.
    assert quantize(weight, params).tolist() == [[127, -64, 0], [0, 0, 0], [-127, 64, 95]]
    whole = weight_params(weight, None)
    assert (whole.scale, whole.axis) == (1.0, None)


@pytest.mark.parametrize("axis", [0, 1, 3, -1])
def test_weights_along_any_axis(axis):
    weight = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(F32)
    params = weight_params(weight, axis)
    q = quantize(weight, params)
    moved = np.moveaxis(q, axis, 0).reshape(weight.shape[axis], -1)
    assert np.abs(moved.astype(int)).max(axis=1).tolist() == [127] * len(moved)
    shape = [1] * 4
    shape[axis] = -1
    step = params.scale.reshape(shape)
    assert (np.abs(dequantize(q, params) - weight) <= step * 0.5001).all()


def test_clipped_weights_stay_narrow():
    params = QuantParams(F32(0.01), np.int8(0), i8, narrow=True)
    assert quantize(np.array([-9.0, 9.0], F32), params).tolist() == [-127, 127]


def test_weights_that_are_not_finite_are_named():
    with pytest.raises(CalibrationError, match="'layer4/conv2' holds NaN"):
        weight_params(np.array([[1.0, np.nan]], F32), 0, "layer4/conv2")


def test_params_are_values():
    a, b = params_from_range(-1, 5), params_from_range(-1, 5)
    assert a == b
    assert hash(a) == hash(b)
    assert a != params_from_range(-1, 5.001)
    assert params_from_amax(1.0) != QuantParams(F32(1 / 127), np.int8(0), i8, narrow=True)
    for array in (a.scale, a.zero_point):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


@pytest.mark.parametrize(
    ("scale", "zero", "axis"),
    [
        (0.0, 0, None),
        (-1.0, 0, None),
        (np.nan, 0, None),
        (1.0, 300, None),
        (1.0, 0.5, None),
        ([1.0, 1.0], [0, 0], None),
        (1.0, 0, 0),
        ([1.0, 1.0], [0], 0),
    ],
)
def test_params_that_do_not_fit_together_are_errors(scale, zero, axis):
    with pytest.raises(CalibrationError):
        QuantParams(np.array(scale, F32), np.array(zero), u8, axis)


def test_dequantize_wants_the_right_type():
    with pytest.raises(CalibrationError, match="i32"):
        dequantize(np.zeros(2, np.int32), params_from_amax(1.0))
    assert QuantParams(F32(0.5), np.int32(0), i32).levels == (-(2**31), 2**31 - 1)


@pytest.mark.parametrize("params", [params_from_amax(2.5), params_from_range(-0.3, 6.1)])
def test_the_same_as_onnx(params):
    reference = pytest.importorskip("onnx.reference", reason="onnx is not installed")
    helper = pytest.importorskip("onnx.helper")
    parser = pytest.importorskip("onnx.parser")
    kind = "uint8" if params.dtype == u8 else "int8"
    graph = parser.parse_graph(
        f"g (float[N] x, float s, {kind} z) => ({kind}[N] q, float[N] y) "
        "{ q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }"
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    x = np.random.default_rng(0).normal(0, 4, 5000).astype(F32)
    ties = np.arange(-300, 300).astype(F32) + F32(0.5)
    x = np.concatenate([x, ties * params.scale])
    feeds = {"x": x, "s": params.scale, "z": params.zero_point}
    q, y = reference.ReferenceEvaluator(model).run(None, feeds)
    assert np.array_equal(quantize(x, params), q)
    assert np.array_equal(dequantize(q, params), y)


@pytest.mark.peers
def test_the_same_as_torch():
    quantization = pytest.importorskip("torch.ao.quantization", reason="torch is not installed")
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).normal(0.3, 2, (6, 50)).astype(F32)
    theirs = quantization.MinMaxObserver(dtype=torch.quint8)
    theirs(torch.from_numpy(x))
    scale, zero = theirs.calculate_qparams()
    ours = params_from_range(float(x.min()), float(x.max()))
    assert ours.scale == pytest.approx(scale.item(), rel=1e-6)
    assert ours.zero_point == zero.item()
    fake = torch.fake_quantize_per_tensor_affine
    result = fake(torch.from_numpy(x), float(ours.scale), zero.item(), 0, 255).numpy()
    steps = np.abs(result - dequantize(quantize(x, ours), ours)) / ours.scale
    assert steps.max() <= 1.001  # PyTorch multiplies by the reciprocal: ties may fall elsewhere
    assert (steps < 0.001).mean() > 0.99
