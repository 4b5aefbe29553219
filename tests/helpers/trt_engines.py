"""Engines of TensorRT's API in tests: small networks, built, and run on memory at addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

import camshaft.tensorrt as trt
from camshaft.tensorrt import memory
from trt_networks import Log

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
RNG = np.random.default_rng(5)
KERNEL = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)


class Workshop:
    """A builder with its log, a network and a configuration."""

    def __init__(self, flags: int = 0) -> None:
        self.log = Log()
        self.builder = trt.Builder(self.log)
        self.network = self.builder.create_network(flags)
        self.config = self.builder.create_builder_config()
        self.config.builder_optimization_level = 0

    def convolution(self, shape: Shape = (1, 3, 8, 8), kind: Any = trt.float32) -> Workshop:
        """x -> convolution of 4 filters -> relu -> y."""
        x = self.network.add_input("x", kind, shape)
        conv = self.network.add_convolution_nd(x, 4, (3, 3), KERNEL, np.zeros(4, np.float32))
        conv.name, conv.padding_nd = "conv", (1, 1)
        relu = self.network.add_activation(conv.get_output(0), trt.ActivationType.RELU)
        relu.name = "relu"
        return self.output(relu, "y")

    def double(self, shape: Shape = (-1,), kind: Any = trt.float32) -> Workshop:
        """x -> x + x -> y."""
        x = self.network.add_input("x", kind, shape)
        layer = self.network.add_elementwise(x, x, trt.ElementWiseOperation.SUM)
        layer.name = "sum"
        return self.output(layer, "y")

    def output(self, layer: Any, name: str) -> Workshop:
        layer.get_output(0).name = name
        self.network.mark_output(layer.get_output(0))
        return self

    def profile(self, *shapes: Shape, name: str = "x") -> Workshop:
        """Add a profile: least, typical, most of one input."""
        profile = self.builder.create_optimization_profile()
        profile.set_shape(name, *shapes)
        assert self.config.add_optimization_profile(profile) >= 0
        return self

    def plan(self) -> Any:
        return self.builder.build_serialized_network(self.network, self.config)

    def engine(self) -> Any:
        plan = self.plan()
        assert plan is not None, self.log.errors
        self.runtime = trt.Runtime(self.log)
        engine = self.runtime.deserialize_cuda_engine(plan)
        assert engine is not None, self.log.errors
        return engine


def device(array: Array) -> int:
    """The address of device memory that holds a copy."""
    address = memory.allocate(array.nbytes)
    memory.copy(address, array.ctypes.data, array.nbytes)
    return address


def host(address: int, shape: Iterable[int], dtype: Any = np.float32) -> Array:
    """A copy of what device memory holds."""
    return memory.as_array(address, tuple(shape), dtype, "test").copy()


def run_v3(context: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run through names."""
    engine = context.engine
    for name, array in inputs.items():
        assert context.set_input_shape(name, array.shape)
        assert context.set_tensor_address(name, device(array))
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    outputs = {}
    for name in names:
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
            shape = tuple(context.get_tensor_shape(name))
            outputs[name] = np.zeros(shape, trt.nptype(engine.get_tensor_dtype(name)))
            assert context.set_tensor_address(name, device(outputs[name]))
    assert context.execute_async_v3(0)
    return {n: host(context.get_tensor_address(n), a.shape, a.dtype) for n, a in outputs.items()}


Maker = Callable[[], Workshop]
