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
