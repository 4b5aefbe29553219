"""Layers of ONNX files: what their properties say, and what becomes of weights that a script exchanges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import camshaft.tensorrt as trt
from trt_networks import Log, computed, network

RNG = np.random.default_rng(5)
KERNEL, BIAS = RNG.standard_normal((4, 3, 3, 3), np.float32), RNG.standard_normal(4, np.float32)
IMAGE = RNG.standard_normal((2, 3, 8, 8), np.float32)


def proto(kernel: Any = KERNEL, bias: Any = BIAS) -> Any:
    """x -> convolution -> y."""
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, channels, side, side])]
        for name, channels, side in (("x", 3, 8), ("y", 4, 6))
    ]
    held = [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "g", *ends, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convolution(net: Any) -> Any:
    layer = next(each for each in net if each.type == trt.LayerType.CONVOLUTION)
    layer.__class__ = trt.IConvolutionLayer
    return layer


def parsed(made: Any) -> Any:
    net = network()
    assert trt.OnnxParser(net, Log()).parse(made.SerializeToString())
    return net


def check(net: Any, kernel: Any, bias: Any) -> None:
    want = ReferenceEvaluator(proto(kernel, bias)).run(None, {"x": IMAGE})[0]
    np.testing.assert_allclose(computed(net, x=IMAGE)["y"], want, rtol=1e-4, atol=1e-4)


def test_weights_that_a_script_gives_take_the_place_of_the_files() -> None:
    net, other = parsed(proto()), np.ascontiguousarray(KERNEL[::-1])
    conv = convolution(net)
    conv.kernel = other
    check(net, other, BIAS)
    conv.bias = -BIAS
    check(net, other, -BIAS)
    conv.bias = trt.Weights()
    check(net, other, np.zeros(4, np.float32))


@pytest.mark.parametrize("emptied", ["before", "after", "not"])
def test_a_tensor_takes_the_place_of_weights(emptied: str) -> None:
    """Scripts that put quantizers before a kernel empty it first, last or not at all."""
    net, other = parsed(proto()), np.ascontiguousarray(KERNEL[::-1])
    conv, given = convolution(net), net.add_constant(KERNEL.shape, other).get_output(0)
    if emptied == "before":
        conv.kernel = trt.Weights()
    conv.set_input(1, given)
    if emptied == "after":
        conv.kernel = trt.Weights()
    assert conv.kernel.size == 0
    check(net, other, BIAS)
    conv.kernel = KERNEL
    check(net, KERNEL, BIAS)


def one(op: str, *held: Any, opset: int = 17, **attributes: Any) -> Any:
    """The layer of a node that reads x, [2, 3, 8, 8], and constants."""
    names = [f"c{i}" if v is not None else "" for i, v in enumerate(held)]
    made_here = ["y", "i"] if op == "TopK" else ["y"]
    node = helper.make_node(op, ["x", *names], made_here, "node", **attributes)
    constants = [
        numpy_helper.from_array(np.asarray(v), n)
        for n, v in zip(names, held, strict=True)
        if v is not None
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return next(layer for layer in parsed(made) if layer.name == "node")


def longs(*values: int) -> Any:
    return np.array(values, np.int64)


STRICT, BY_HAND = trt.SampleMode.STRICT_BOUNDS, trt.DataType.INT64
READ: list[tuple[Any, Any, dict[str, Any]]] = [
    (
        lambda: one("Slice", longs(-6), longs(9), longs(-2), longs(2)),
        trt.ISliceLayer,
        {"start": (0, 0, 2, 0), "shape": (2, 3, 3, 8), "stride": (1, 1, 2, 1), "mode": STRICT},
    ),
    (
        lambda: one("Slice", longs(99), longs(-99), longs(3), longs(-1)),
        trt.ISliceLayer,
        {"start": (0, 0, 0, 7), "shape": (2, 3, 8, 8), "stride": (1, 1, 1, -1)},
    ),
    (
        lambda: one("Pad", longs(0, 0, 1, 2, 0, 0, 3, 4), mode="reflect"),
        trt.ISliceLayer,
        {"start": (0, 0, -1, -2), "shape": (2, 3, 12, 14), "mode": trt.SampleMode.REFLECT},
    ),
    (
        lambda: one("Expand", longs(5, 2, 3, 8, 8)),
        trt.ISliceLayer,
        {"shape": (5, 2, 3, 8, 8), "stride": (0, 1, 1, 1, 1)},
    ),
    (lambda: one("ReduceSum", longs(1, -1)), trt.IReduceLayer, {"axes": 0b1010}),
    (lambda: one("ReduceMax"), trt.IReduceLayer, {"axes": 0b1111}),
    (lambda: one("GlobalAveragePool"), trt.IReduceLayer, {"axes": 0b1100, "keep_dims": True}),
    (lambda: one("Softmax"), trt.ISoftMaxLayer, {"axes": 0b1000}),
    (lambda: one("Softmax", opset=11), trt.ISoftMaxLayer, {"axes": 0b10}),
    (
        lambda: one("ArgMin", axis=-2),
        trt.ITopKLayer,
        {"axes": 0b100, "k": 1, "op": trt.TopKOperation.MIN, "indices_type": BY_HAND},
    ),
    (lambda: one("TopK", longs(2), axis=1), trt.ITopKLayer, {"axes": 0b10, "k": 2}),
    (
        lambda: one("Gather", longs(0), axis=-1),
        trt.IGatherLayer,
        {"axis": 3, "mode": trt.GatherMode.DEFAULT},
    ),
    (lambda: one("Concat", axis=-1), trt.IConcatenationLayer, {"axis": 3}),
    (
        lambda: one("Resize", None, None, longs(2, 3, 4, 4), mode="linear"),
        trt.IResizeLayer,
        {
            "shape": (2, 3, 4, 4),
            "resize_mode": trt.InterpolationMode.LINEAR,
            "coordinate_transformation": trt.ResizeCoordinateTransformation.HALF_PIXEL,
            "nearest_rounding": trt.ResizeRoundMode.HALF_DOWN,
        },
    ),
    (lambda: one("LRN", size=3, bias=2.0), trt.ILRNLayer, {"window_size": 3, "k": 2.0}),
    (
        lambda: one("InstanceNormalization", *np.ones((2, 3), np.float32)),
        trt.INormalizationLayer,
        {"axes": 0b1100, "num_groups": 1, "is_v2": False},
    ),
    (
        lambda: one("LayerNormalization", np.ones((8, 8), np.float32), axis=-2, epsilon=0.5),
        trt.INormalizationLayer,
        {"axes": 0b1100, "epsilon": 0.5},
    ),
    (
        lambda: one("QuantizeLinear", np.ones(3, np.float32), np.zeros(3, np.int8), axis=-3),
        trt.IQuantizeLayer,
        {"axis": 1, "to_type": trt.int8, "block_shape": ()},
    ),
    (
        lambda: one("QuantizeLinear", np.float32(1), np.int8(0)),
        trt.IQuantizeLayer,
        {"axis": -1},
    ),
    (
        lambda: one("CumSum", np.int64(1), exclusive=1),
        trt.ICumulativeLayer,
        {"exclusive": True, "reverse": False},
    ),
    (lambda: one("Einsum", equation="bchw->bhwc"), trt.IEinsumLayer, {"equation": "bchw->bhwc"}),
]


@pytest.mark.parametrize("case", READ, ids=[cls.__name__ for _, cls, _ in READ])
def test_properties_say_what_the_node_does(case: Any) -> None:
    make, cls, want = case
    layer = make()
    layer.__class__ = cls
    assert {name: getattr(layer, name) for name in want} == want


def test_batch_normalization_shows_scale_and_shift() -> None:
    scale, bias, mean, variance = RNG.random((4, 3), np.float32)
    layer = one("BatchNormalization", scale, bias, mean, variance)
    layer.__class__ = trt.IScaleLayer
    x = RNG.standard_normal(3).astype(np.float32)
    want = (x - mean) / np.sqrt(variance + 1e-5) * scale + bias
    np.testing.assert_allclose(x * layer.scale + layer.shift, want, rtol=1e-5)
    assert layer.mode == trt.ScaleMode.CHANNEL
    assert layer.power.size == 0
