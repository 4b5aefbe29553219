"""A backend of ONNX's tests: parser, builder, engine and context of camshaft.tensorrt.

As a pytest plugin (`-p onnx_through_tensorrt`) it stands in for onnx-tensorrt's own, whose table of element types is shorter than
DataType: an array of another type than its binding's is cast to that, and results to what the model declares.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

import camshaft.tensorrt as trt

Array = np.ndarray[Any, Any]


class Rep(BackendRep):
    """A parsed model, built when its inputs are known: those that say shapes are told by a profile."""

    def __init__(self, model: ModelProto) -> None:
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._builder = trt.Builder(self._logger)
        self._network = self._builder.create_network()
        parser = trt.OnnxParser(self._network, self._logger)
        if not parser.parse(model.SerializeToString()):
            raise RuntimeError(str(parser.get_error(0)))
        self._declared = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}

    def run(self, inputs: Sequence[Array], **_: Any) -> tuple[Array, ...]:
        """Results in the model's order.  RuntimeError if there is no engine, or it does not run."""
        network = self._network
        names = [network.get_input(i).name for i in range(network.num_inputs)]
        engine = self._build(dict(zip(names, inputs, strict=True)))
        context = engine.create_execution_context()
        held = {}
        for name, array in zip(names, inputs, strict=True):
            held[name] = np.ascontiguousarray(array, numpy_of(engine.get_tensor_dtype(name)))
            context.set_input_shape(name, array.shape)
            context.set_tensor_address(name, held[name].ctypes.data)
        allocator = Allocator()
        outputs = [network.get_output(i).name for i in range(network.num_outputs)]
        for name in outputs:
            context.set_output_allocator(name, allocator)
        if not context.execute_async_v3(0):
            raise RuntimeError("the context did not run")
        return tuple(self._result(name, engine, allocator) for name in outputs)

    def _build(self, inputs: dict[str, Array]) -> trt.ICudaEngine:
        config, network = self._builder.create_builder_config(), self._network
        config.builder_optimization_level = 0
        profile = self._builder.create_optimization_profile()
        for i in range(network.num_inputs):
            tensor = network.get_input(i)
            array = inputs[tensor.name]
            if tensor.is_shape_tensor:
                profile.set_shape_input(tensor.name, *[array.reshape(-1).tolist()] * 3)
            if -1 in tensor.shape:
                profile.set_shape(tensor.name, *[array.shape] * 3)
        config.add_optimization_profile(profile)
        plan = self._builder.build_serialized_network(network, config)
        engine = None if plan is None else trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise RuntimeError("there is no engine")
        return engine

    def _result(self, name: str, engine: trt.ICudaEngine, allocator: Allocator) -> Array:
        dtype = np.dtype(numpy_of(engine.get_tensor_dtype(name)))
        shape = allocator.shapes[name]
        count = int(np.prod(shape, dtype=np.int64))
        found = allocator.buffers[name][: count * dtype.itemsize].view(dtype).reshape(shape)
        return found.astype(helper.tensor_dtype_to_np_dtype(self._declared[name]))


class Allocator(trt.IOutputAllocator):
    """Gives NumPy's memory, and keeps shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def reallocate_output_async(self, name: str, memory: int, size: int, *_: int) -> int:
        self.buffers[name] = np.empty(size, np.uint8)
        return int(self.buffers[name].ctypes.data)

    def notify_shape(self, name: str, shape: trt.Dims) -> None:
        self.shapes[name] = tuple(shape)


def numpy_of(kind: trt.DataType) -> Any:
    """NumPy's type of a binding's elements, BF16 included."""
    if kind == trt.DataType.BF16:
        return helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    return trt.nptype(kind)


class Through(Backend):
    """What ONNX's test runner calls."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **_: Any) -> Rep:
        return Rep(model)

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Any, device: str = "CPU", **_: Any) -> Any:
        raise RuntimeError("all tests are models")

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return Device(device).type == DeviceType.CUDA


def pytest_configure() -> None:
    package, module = ModuleType("onnx_tensorrt"), ModuleType("onnx_tensorrt.backend")
    for name in ("prepare", "run_node", "supports_device"):
        setattr(module, name, getattr(Through, name))
    package.backend = module  # type: ignore[attr-defined]
    sys.modules |= {"onnx_tensorrt": package, "onnx_tensorrt.backend": module}
