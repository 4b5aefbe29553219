"""Inputs and outputs whose channels lie last in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Log

HWC, DHWC, CHW4 = trt.TensorFormat.HWC, trt.TensorFormat.DHWC, trt.TensorFormat.CHW4
RNG = np.random.default_rng(8)


def built(shape: tuple[int, ...], ins: Any, outs: Any, direct: bool = False) -> tuple[Any, Log]:
    """An engine of y = |x| with these formats."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network()
    x: Any = network.add_input("x", trt.float32, shape)
    y: Any = network.add_unary(x, trt.UnaryOperation.ABS).get_output(0)
    y.name = "y"
    network.mark_output(y)
    for tensor, formats in ((x, ins), (y, outs)):
        if formats:
            tensor.allowed_formats = sum(1 << int(f) for f in formats)
    config = builder.create_builder_config()
    config.builder_optimization_level = 1
    if direct:
        config.set_flag(trt.BuilderFlag.DIRECT_IO)
    plan = builder.build_serialized_network(network, config)
    return plan and trt.Runtime(log).deserialize_cuda_engine(plan), log


def run(engine: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    context = engine.create_execution_context()
    context.set_tensor_address("x", x.ctypes.data)
    context.set_tensor_address("y", y.ctypes.data)
    assert context.execute_async_v3(0)
    first = y.copy()
    x *= -2
    assert context.execute_async_v3(0)
    np.testing.assert_allclose(y, 2 * first)
    return first


@pytest.mark.parametrize(
    ("ins", "outs"), [([HWC], [HWC]), ([HWC], []), ([], [HWC]), ([CHW4, HWC], [])]
)
def test_channels_lie_last_where_nothing_else_is_allowed(ins: Any, outs: Any) -> None:
    engine, _ = built((2, 4, 3, 5), ins, outs)
    assert tuple(engine.get_tensor_shape("x")) == tuple(engine.get_tensor_shape("y")) == (2, 4, 3, 5)  # fmt: skip
    x = RNG.standard_normal((2, 4, 3, 5)).astype(np.float32)
    given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if ins else x.copy()
    y = run(engine, given, np.empty((2, 3, 5, 4) if outs else x.shape, np.float32))
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2) if outs else y, np.abs(x))
    context = engine.create_execution_context()
    assert tuple(context.get_tensor_strides("y")) == ((60, 1, 20, 4) if outs else (60, 15, 5, 1))
    assert (engine.get_tensor_format("x") == HWC) == bool(ins)
    assert ("HWC" in engine.get_tensor_format_desc("y")) == bool(outs)


def test_volumes_too() -> None:
    engine, _ = built((1, 2, 3, 4, 5), [DHWC], [])
    x = RNG.standard_normal((1, 2, 3, 4, 5)).astype(np.float32)
    given = np.ascontiguousarray(x.transpose(0, 2, 3, 4, 1))
    np.testing.assert_allclose(run(engine, given, np.empty_like(x)), np.abs(x))


def test_other_formats_are_linear_or_refused() -> None:
    engine, log = built((2, 4), [HWC], [])
    assert engine.get_tensor_format("x") == trt.TensorFormat.LINEAR
    assert any(kind == "WARNING" and "it is linear" in text for kind, text in log.lines)
    engine, log = built((2, 4, 3, 5), [CHW4], [], direct=True)
    assert engine is None
    assert "allow" in log.errors[-1]
