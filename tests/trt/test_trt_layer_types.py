"""Types of elements that layers do not take, and floats of two types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop, run_v3

STRONG = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
UNARY, TWO = trt.UnaryOperation, trt.ElementWiseOperation


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (trt.bool, lambda net, x: net.add_unary(x, UNARY.EXP)),
        (trt.int32, lambda net, x: net.add_unary(x, UNARY.SQRT)),
        (trt.float32, lambda net, x: net.add_unary(x, UNARY.NOT)),
        (trt.uint8, lambda net, x: net.add_unary(x, UNARY.NEG)),
        (trt.float32, lambda net, x: net.add_elementwise(x, x, TWO.AND)),
        (trt.bool, lambda net, x: net.add_elementwise(x, x, TWO.SUM)),
        (trt.int32, lambda net, x: net.add_softmax(x)),
        (trt.bool, lambda net, x: net.add_topk(x, trt.TopKOperation.MAX, 1, 1)),
    ],
)
def test_a_build_fails_by_a_message_that_names_layer_and_type(kind: Any, make: Any) -> None:
    shop = Workshop()
    layer = make(shop.network, shop.network.add_input("x", kind, (3,)))
    layer.name = "wrong"
    assert shop.output(layer, "y").plan() is None
    assert "'wrong'" in shop.log.errors[-1]
    assert "is " + np.dtype(trt.nptype(kind)).name.removesuffix("32") in shop.log.errors[-1]


def mixed(flags: int) -> Workshop:
    shop = Workshop(flags)
    net = shop.network
    x, y = net.add_input("x", trt.float16, (2,)), net.add_input("y", trt.float32, (2,))
    return shop.output(net.add_elementwise(x, y, TWO.SUM), "z")


def test_floats_of_two_types_give_the_wider_one() -> None:
    context = mixed(0).engine().create_execution_context()
    small = np.array([1e-4, 1], np.float32)
    z = run_v3(context, {"x": np.array([2048, 1], np.float16), "y": small})["z"]
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, [2048.0001, 2], rtol=1e-7)


def test_strongly_typed_networks_take_no_two_types() -> None:
    shop = mixed(STRONG)
    assert shop.plan() is None
    assert "input 0 is float16, and input 1 float; cast one" in shop.log.errors[-1]
