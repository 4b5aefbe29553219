"""Bias correction and kernel rounding: what INT8 weights add to a convolution's mean is taken off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from camshaft.errors import CalibrationError
from camshaft.ir import expr as E
from camshaft.ir.constants import loose_constant
from camshaft.ir.graph import Graph, GraphBuilder, Node
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONV, POINTWISE
from camshaft.ops.common import IDENTITY
from camshaft.ops.contraction import conv_nhwc, taps_inside
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.quant.channels.bias import ChannelMeans, less_shift
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.quant.rounding import quantize_kernels
from camshaft.quant.scheme import dequantize, quantize, weight_params
from graph_checks import interpreted

RELU = {"expr": E.maximum(E.inp(0), E.const(0.0))}
SHAPES = {
    "dense 3x3": ((1, 7, 7, 5), (4, 3, 3, 5), {"pads": (1, 1, 1, 1)}),
    "depthwise": ((1, 7, 9, 6), (6, 3, 3, 1), {"pads": (1, 1, 1, 1), "groups": 6}),
    "grouped, strided": (
        (1, 8, 6, 8),
        (12, 3, 5, 2),
        {"pads": (0, 2, 1, 2), "strides": (2, 1), "groups": 4},
    ),
    "dilated": ((1, 9, 9, 3), (2, 3, 3, 3), {"pads": (2, 2, 2, 2), "dilations": (2, 2)}),
    "1x1": ((1, 4, 4, 6), (3, 1, 1, 6), {}),
}


def conv(x: tuple[int, ...], w: np.ndarray, attrs: dict, operands: tuple = ()) -> tuple:
    b = GraphBuilder("conv")
    inputs = [b.input("x", TensorType(f32, x)), b.constant(w, "w")]
    inputs += [b.constant(a, f"operand{i}") for i, a in enumerate(operands)]
    y = b.emit(CONV, inputs, {"layout": "NHWC", **attrs}, name="conv")
    return b, b.graph({"y": y}).nodes[0]


def types_of(node: Node) -> list[TensorType]:
    return [t.type for t in node.args]


@pytest.mark.parametrize("case", SHAPES)
def test_shift_is_exact_where_every_channel_is_constant(case: str) -> None:
    x, w, attrs = SHAPES[case]
    rng = np.random.default_rng(3)
    error = rng.standard_normal(w)
    means = rng.standard_normal(x[-1])
    _, node = conv(x, error.astype(np.float32), attrs)
    measured = conv_nhwc(np.broadcast_to(means, x), error, node.attrs).mean(axis=(0, 1, 2))
    assert CONV.int8 is not None and CONV.int8.mean_shift is not None
    shift = CONV.int8.mean_shift(types_of(node), node.output.type, node.attrs, error, means)
    np.testing.assert_allclose(shift, measured, rtol=1e-10)


def test_taps_in_the_padding_by_hand() -> None:
    _, node = conv((1, 4, 2, 1), np.ones((1, 3, 3, 1), np.float32), {"pads": (1, 1, 1, 1)})
    shares = taps_inside(types_of(node), node.output.type, node.attrs)
    np.testing.assert_array_equal(shares, np.outer([3 / 4, 1, 3 / 4], [1 / 2, 1, 1 / 2]))


BIAS = np.array([1.0, -2.0, 3.0], np.float32)
SCALED = E.add(E.mul(E.inp(0), E.const(2.0)), E.inp(1))
EPILOGUES = {
    "none": (IDENTITY, (), 1),
    "bias": (E.add(E.inp(0), E.inp(1)), (BIAS,), 1),
    "bias and relu": (E.maximum(E.add(E.inp(1), E.inp(0)), E.const(0.0)), (BIAS,), 1),
    "scaled first": (SCALED, (BIAS,), 2),
    "read twice": (E.mul(E.add(E.inp(0), E.inp(1)), E.inp(0)), (BIAS,), 2),
    "bias read twice": (E.mul(E.add(E.inp(0), E.inp(1)), E.inp(1)), (BIAS,), 2),
    "one bias for all": (E.add(E.inp(0), E.inp(1)), (BIAS[:1],), 2),
}


@pytest.mark.parametrize("case", EPILOGUES)
def test_correction_is_taken_off_the_accumulator(case: str) -> None:
    epilogue, operands, wanted_operands = EPILOGUES[case]
    w = np.ones((3, 1, 1, 2), np.float32)
    b, node = conv((1, 2, 2, 2), w, {"epilogue": epilogue}, operands)
    shift = np.array([0.5, 0.25, -4.0])
    new, new_operands = less_shift(b, node, list(node.args[2:]), loose_constant(shift, "shift"))
    assert len(new_operands) == wanted_operands
    acc = np.random.default_rng(1).standard_normal((1, 2, 2, 3)).astype(np.float32)
    want = E.evaluate(epilogue, [acc - shift.astype(np.float32), *operands])
    got = E.evaluate(new, [acc, *(t.array for t in new_operands)])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_means_do_not_depend_on_batches() -> None:
    data = np.random.default_rng(2).gamma(1.0, 5.0, (12, 3, 5, 7)).astype(np.float32)
    exact = data.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    for size in (1, 4, 12):
        for order in (1, -1):
            means = ChannelMeans("t")
            for i in range(0, 12, size)[::order]:
                part = data[i : i + size].reshape(-1, 7)
                means.add(part.sum(axis=0, dtype=np.float64), len(part))
            np.testing.assert_array_equal(means.mean, exact)
    with pytest.raises(CalibrationError, match="'empty'"):
        ChannelMeans("empty").mean  # noqa: B018 (reading it is the test)


# --- rounding ---------------------------------------------------------------------------------

WEIGHTS = arrays(np.float32, (3, 3, 2, 4), elements=st.floats(-1e3, 1e3, width=32))


@given(WEIGHTS)
def test_kernels_keep_their_sums(weight: np.ndarray) -> None:
    p = weight_params(weight, 0)
    exact = weight.astype(np.float64) / p.scale.astype(np.float64)[:, None, None, None]
    error = quantize_kernels(weight, p) - exact
    assert np.abs(error.sum(axis=(1, 2))).max() <= 0.5 + 1e-6
    assert np.abs(error).max() < 1.0 + 1e-6
    assert quantize_kernels(weight, p).min() >= -127


def test_single_weights_round_to_nearest() -> None:
    weight = np.random.default_rng(0).standard_normal((8, 1, 1, 16)).astype(np.float32)
    p = weight_params(weight, 0)
    np.testing.assert_array_equal(quantize_kernels(weight, p), quantize(weight, p))


def test_rounding_by_hand() -> None:
    weight = np.array([127.0, 1.4, 2.4, 3.3, 4.4], np.float32).reshape(1, 5, 1, 1)
    # To nearest the sum is 1.5 too low: the two of largest error go up (1.5 rounds to 2).
    assert quantize_kernels(weight, weight_params(weight, 0)).ravel().tolist() in (
        [127, 2, 3, 3, 4],
        [127, 1, 3, 3, 5],
        [127, 2, 2, 3, 5],
    )


# --- a whole net ------------------------------------------------------------------------------


def separable_net() -> Graph:
    """Three blocks of depthwise and 1x1 convolutions with ReLUs."""
    b, rng = GraphBuilder("separable"), np.random.default_rng(8)
    y = b.input("x", TensorType(f32, (1, 8, 12, 12)))
    for i, k in enumerate((16, 16, 10)):
        c = y.shape[1]
        for kind, shape, groups in (("dw", (c, 1, 3, 3), c), ("pw", (k, c, 1, 1), 1)):
            w = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
            attrs = {"layout": "NCHW", "pads": (shape[2] // 2,) * 4, "groups": groups}
            inputs = [y, b.constant(w.astype(np.float32), f"{kind}{i}.w")]
            y = b.emit(CONV, inputs, attrs, name=f"{kind}{i}", output=f"{kind}{i}:y")
            if (i, kind) != (2, "pw"):
                y = b.emit(POINTWISE, [y], RELU, name=f"{kind}{i}.relu")
    return b.graph({"y": y})


def images(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Smooth: channels with a mean, some gradient and a little noise."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-1, 1, 12)
    result = []
    for _ in range(count):
        level = 2.0 + 0.3 * rng.standard_normal((1, 8, 1, 1))
        slope = 0.5 * rng.standard_normal((1, 8, 1, 1)) * ramp
        x = level + slope + 0.05 * rng.standard_normal((1, 8, 12, 12))
        result.append({"x": x.astype(np.float32)})
    return result


def output_errors(graph: Graph, bias_correction: bool) -> np.ndarray:
    """Error of the integer graph on images it was not calibrated with, [images,C,H,W]."""
    q = ImplicitQuantization(graph, bias_correction=bias_correction, kernel_rounding=False)

    q.calibrate(images(16, 1), interpreted, "minmax", 100.0)
    low = lower_quantization(q.quantized()[0])
    assert all(n.args[0].type.dtype.name == "u8" for n in convs(low))
    return np.concatenate([interpret(low, x)["y"] - interpret(graph, x)["y"] for x in images(8, 2)])


def convs(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op is CONV]


def test_bias_correction_removes_the_mean_error_of_a_net_and_adds_none() -> None:
    graph = optimize(separable_net())
    plain, corrected = output_errors(graph, False), output_errors(graph, True)
    assert rms(corrected.mean(axis=(0, 2, 3))) < 0.4 * rms(plain.mean(axis=(0, 2, 3)))
    assert rms(corrected) < rms(plain)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def test_kernel_rounding_reduces_the_error_on_smooth_images() -> None:
    rng = np.random.default_rng(6)
    w = rng.standard_normal((64, 3, 3, 1)).astype(np.float32)
    ramp = np.linspace(1.0, 2.0, 16)
    x = np.broadcast_to(
        (ramp[:, None] + 0.1 * rng.standard_normal((16, 16)))[..., None], (16, 16, 64)
    )
    _, node = conv((1, 16, 16, 64), w, {"groups": 64})
    p = weight_params(w, 0)

    def error(integers: np.ndarray) -> float:
        lost = (dequantize(integers, p) - w).astype(np.float64)
        return rms(conv_nhwc(x[None].astype(np.float64), lost, node.attrs))

    assert error(quantize_kernels(w, p)) < 0.6 * error(quantize(w, p))
