"""Debug listeners: tensors that a network marks one by one, and those between fused layers."""

from __future__ import annotations

from typing import Any

import numpy as np

import camshaft.tensorrt as trt
from trt_engines import Workshop, host, run_v3

F32 = np.float32
X = np.ones((1, 3, 8, 8), F32)


class Listener(trt.IDebugListener):
    def __init__(self) -> None:
        trt.IDebugListener.__init__(self)
        self.seen: dict[str, Any] = {}

    def process_debug_tensor(
        self, addr: int, location: Any, type: Any, shape: Any, name: str, stream: int
    ) -> bool:
        self.seen[name] = host(addr, shape, trt.nptype(type))
        return True


def test_a_listener_sees_debug_tensors() -> None:
    shop = Workshop().convolution()
    inner = shop.network[0].get_output(0)
    inner.name = "inner"
    shop.network.mark_debug(inner)
    engine = shop.engine()
    assert engine.num_io_tensors == 2
    assert engine.is_debug_tensor("inner")
    context, listener = engine.create_execution_context(), Listener()
    assert context.set_debug_listener(listener)
    x = np.ones((1, 3, 8, 8), F32)
    run_v3(context, {"x": x})
    assert not listener.seen
    assert not context.set_tensor_debug_state("x", True)
    assert context.set_tensor_debug_state("inner", True)
    assert context.get_debug_state("inner")
    y = run_v3(context, {"x": x})["y"]
    np.testing.assert_allclose(np.maximum(listener.seen["inner"], 0), y, rtol=1e-5)


def test_tensors_between_fused_layers_are_shown_together() -> None:
    shop = Workshop().convolution()
    again = shop.network.add_softmax(shop.network.get_output(0))
    shop.output(again, "z")
    shop.network.unmark_output(shop.network.get_output(0))
    shop.config.builder_optimization_level = 1
    assert shop.network.mark_unfused_tensors_as_debug_tensors()
    engine = shop.engine()
    assert [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)] == ["x", "z"]
    context, listener = engine.create_execution_context(), Listener()
    assert context.set_debug_listener(listener)
    assert not context.unfused_tensors_debug_state
    run_v3(context, {"x": X})
    assert not listener.seen
    context.unfused_tensors_debug_state = True
    run_v3(context, {"x": X})
    assert list(listener.seen) == ["y"]  # between the fused convolution and the softmax
    want = run_v3(Workshop().convolution().engine().create_execution_context(), {"x": X})["y"]
    np.testing.assert_allclose(listener.seen["y"], want, rtol=1e-5, atol=1e-6)
    assert shop.network.unmark_unfused_tensors_as_debug_tensors()
    assert not shop.engine()._plan.unfused


def test_unfused_tensors_that_kernels_have_in_another_shape_are_shown() -> None:
    shop = Workshop()
    rng = np.random.default_rng(0)
    x = shop.network.add_input("x", trt.float32, (4, 8))
    wanted = rng.standard_normal((4, 8)).astype(F32)
    given = {"x": wanted}
    tensor, none = x, trt.MatrixOperation.NONE
    for name, shape in (("a", (8, 16)), ("b", (16, 4))):
        weights = rng.standard_normal(shape).astype(F32)
        held = shop.network.add_constant(shape, trt.Weights(weights)).get_output(0)
        tensor = shop.network.add_matrix_multiply(tensor, none, held, none).get_output(0)
        tensor.name = name
        if name == "a":
            wanted = wanted @ weights
    shop.network.mark_output(tensor)
    shop.config.builder_optimization_level = 1
    shop.network.mark_unfused_tensors_as_debug_tensors()
    context, listener = shop.engine().create_execution_context(), Listener()
    context.set_debug_listener(listener)
    assert context.set_all_tensors_debug_state(True)  # as Polygraphy does, of unfused ones too
    run_v3(context, given)
    assert list(listener.seen) == ["a"]
    np.testing.assert_allclose(listener.seen["a"], wanted, rtol=1e-4, atol=1e-5)
    assert context.set_all_tensors_debug_state(False)
    assert not context.unfused_tensors_debug_state
