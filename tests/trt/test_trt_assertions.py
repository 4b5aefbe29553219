"""Assertions of networks: conditions that builds and runs check."""

from __future__ import annotations

from typing import Any

import numpy as np

import camshaft.tensorrt as trt
from trt_engines import Workshop

LESS, EQUAL = trt.ElementWiseOperation.LESS, trt.ElementWiseOperation.EQUAL


def constant(shop: Workshop, value: Any) -> Any:
    array = np.asarray(value)
    return shop.network.add_constant(array.shape, array).get_output(0)


def below(limit: int) -> Workshop:
    """x -> x + x -> y, where x has fewer than `limit` elements."""
    shop = Workshop().double().profile((1,), (2,), (9,))
    net = shop.network
    count = net.add_shape(net.get_input(0)).get_output(0)
    condition = net.add_elementwise(count, constant(shop, np.array([limit])), LESS).get_output(0)
    layer = net.add_assertion(condition, "too many")
    assert (layer.num_outputs, layer.message, layer.get_output(0)) == (0, "too many", None)
    layer.name = "limit"
    return shop


def run(context: Any, count: int) -> Any:
    x, y = np.arange(count, dtype=np.float32), np.zeros(count, np.float32)
    context.set_input_shape("x", x.shape)
    return y.tolist() if context.execute_v2([x.ctypes.data, y.ctypes.data]) else None


def test_a_run_fails_where_an_assertion_does_not_hold() -> None:
    shop = below(4)
    engine = shop.engine()
    assert [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)] == ["x", "y"]
    context = engine.create_execution_context()
    assert run(context, 3) == [0, 2, 4]
    assert not shop.log.errors
    assert run(context, 5) is None
    assert "assertion 'limit' does not hold: too many" in shop.log.errors[0]
    assert run(context, 2) == [0, 2]


def test_plans_keep_assertions() -> None:
    shop = below(4)
    engine = trt.Runtime(shop.log).deserialize_cuda_engine(shop.engine().serialize())
    assert run(engine.create_execution_context(), 5) is None


def test_a_build_fails_where_a_constant_does_not_hold() -> None:
    for value in (True, False):
        shop = Workshop().double((3,))
        shop.network.add_assertion(constant(shop, value), "must hold")
        assert (shop.plan() is not None) is value
        assert any("does not hold: must hold" in e for e in shop.log.errors) is not value


def test_a_condition_may_be_data() -> None:
    shop = Workshop().double((3,))
    net = shop.network
    flag = net.add_input("ok", trt.bool, (2,))
    net.add_assertion(flag, "not ok")
    same = net.add_elementwise(net.get_input(0), net.get_output(0), EQUAL).get_output(0)
    net.add_assertion(same, "only zeros")
    context = shop.engine().create_execution_context()
    x, y = np.zeros(3, np.float32), np.ones(3, np.float32)
    ok = np.array([True, True])
    addresses = {"x": x, "y": y, "ok": ok}
    for name, array in addresses.items():
        context.set_tensor_address(name, array.ctypes.data)
    assert context.execute_async_v3(0)
    x[1] = 1
    assert not context.execute_async_v3(0)
    x[1], ok[1] = 0, False
    assert not context.execute_async_v3(0)
    said = [e.rpartition(": ")[2] for e in shop.log.errors]
    assert said == ["only zeros", "not ok"]


def test_a_condition_is_of_bools() -> None:
    shop = Workshop().double((3,))
    shop.network.add_assertion(shop.network.get_input(0), "floats").name = "wrong"
    assert shop.plan() is None
    assert "layer 'wrong': condition is float32, must be bool" in shop.log.errors[0]
