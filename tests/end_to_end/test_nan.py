"""NaN through whole engines, as ONNX's reference (NumPy) treats it, on every CPU target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import camshaft
from camshaft.backends.cpu.target import CpuTarget
from onnx_models import model_of, one_node
from targets import each_target, skip_unless_buildable

pytestmark = pytest.mark.codegen


def holes(*shape: int) -> np.ndarray:
    """Normal floats, every fifth NaN, and an infinity of either sign."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    flat = x.reshape(-1)
    flat[::5] = np.nan
    flat[1], flat[2] = np.inf, -np.inf
    return x


def run(model: Any, feeds: dict[str, np.ndarray], target: CpuTarget) -> np.ndarray:
    skip_unless_buildable(model, target)
    engine = camshaft.build(model, optimization_level=1, threads=1, target=target.name)
    with engine.create_context(check_finite=False) as context:
        (y,) = context.run(feeds).values()
    return y


ZERO = np.zeros((), np.float32)
SIX = np.full((), 6, np.float32)
OPS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Relu": ([holes(3, 37)], {}),
    "LeakyRelu": ([holes(3, 37)], {}),
    "HardSwish": ([holes(3, 37)], {}),
    "HardSigmoid": ([holes(3, 37)], {}),
    "Clip": ([holes(3, 37), ZERO, SIX], {}),
    "Max": ([holes(3, 37), holes(37)[::-1].copy()], {}),
    "Min": ([holes(3, 37), holes(37)[::-1].copy()], {}),
    "ReduceMax": ([holes(3, 7, 37)], {"axes": [2]}),
    "ReduceMin": ([holes(3, 7, 37)], {"axes": [1]}),
    "ReduceMean": ([holes(3, 7, 37)], {"axes": [1]}),
    "Softmax": ([holes(4, 33)], {}),
    "LogSoftmax": ([holes(4, 3)], {}),
    "Sigmoid": ([holes(3, 37)], {}),
    "Tanh": ([holes(3, 37)], {}),
    "Erf": ([holes(3, 37)], {}),
    "GlobalAveragePool": ([holes(1, 7, 5, 5)], {}),
}


@each_target
@pytest.mark.parametrize("op", OPS)
def test_nan_goes_through(op: str, target: CpuTarget) -> None:
    inputs, attrs = OPS[op]
    model, feeds = one_node(op, inputs, **attrs)
    with np.errstate(all="ignore"):
        (want,) = ReferenceEvaluator(model).run(None, feeds)
    got = run(model, feeds, target)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@each_target
def test_clip_with_bounds_that_are_inputs(target: CpuTarget) -> None:
    model, feeds = one_node("Clip", [holes(5, 9), ZERO, SIX])
    got = run(model, {**feeds, "x1": np.full((), np.nan, np.float32)}, target)
    assert np.isnan(got).all()
    low = np.where(np.isnan(feeds["x0"]), np.nan, np.clip(feeds["x0"], 0, 6))
    np.testing.assert_array_equal(run(model, feeds, target), low)


@each_target
def test_a_broken_pixel_is_seen_behind_a_convolution_and_its_activation(target: CpuTarget) -> None:
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.standard_normal((8, 4, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(8).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Clip", ["r", "", "six"], ["y"]),
    ]
    x = rng.standard_normal((1, 4, 9, 9)).astype(np.float32)
    x[0, 2, 4, 4] = np.nan
    model = model_of(nodes, {"x": x}, ["y"], {**weights, "six": SIX})
    got = run(model, {"x": x}, target)
    broken = np.zeros((9, 9), bool)
    broken[3:6, 3:6] = True
    np.testing.assert_array_equal(np.isnan(got[0]), np.broadcast_to(broken, (8, 9, 9)))


@each_target
def test_max_pooling_looks_at_numbers_only(target: CpuTarget) -> None:
    """The documented exception: NaN beside numbers is passed over."""
    x = holes(1, 3, 8, 8)
    x[:, :, 1::2, 1::2] = -3
    model, feeds = one_node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    windows = x.reshape(1, 3, 4, 2, 4, 2)
    np.testing.assert_array_equal(run(model, feeds, target), np.fmax.reduce(windows, axis=(3, 5)))


@each_target
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_nan_quantizes_to_the_smallest_value(target: CpuTarget, dtype: type) -> None:
    x = holes(4, 33)
    scale, zero = np.float32(0.02), dtype(17)
    model, feeds = one_node(
        "QuantizeLinear", [x], {1: np.asarray(scale), 2: np.asarray(zero)}, opset=19
    )
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    want = np.clip(np.where(np.isnan(x), low, np.rint(x / scale) + zero), low, high)
    got = run(model, feeds, target)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, want.astype(dtype))
