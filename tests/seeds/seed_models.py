"""The small ResNet that the scripts run, plain and with Q/DQ nodes, and what ONNX Runtime says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
F32 = np.float32
CLASSES = 10


class ResNet:
    """input [batch, channels, size, size] -> output [batch, 10]; the layer of classes is a convolution, as for training with Q/DQ.

    ranges: tensor -> largest magnitude, where Q/DQ nodes stand; none for the plain net.  Weights are random, the same each time; those of
    a net with Q/DQ nodes are bytes, with a scale for each filter.
    """

    def __init__(self, channels: int, size: int, ranges: Mapping[str, float] | None = None) -> None:
        self.ranges = ranges
        self.rng = np.random.default_rng(7)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shape = [channels, size, size]

    def model(self, batch: int | str = 1) -> ModelProto:
        x = self.relu("stem", self.conv("stem", "input", self.shape[0], 16, 3))
        y = self.relu("a1", self.conv("a1", x, 16, 16, 3))
        x = self.relu("a", self.add("a", self.conv("a2", y, 16, 16, 3), x))
        y = self.relu("b1", self.conv("b1", x, 16, 32, 3, 2))
        x = self.relu(
            "b", self.add("b", self.conv("b2", y, 32, 32, 3), self.conv("b0", x, 16, 32, 1, 2))
        )
        x = self.op("GlobalAveragePool", "pooled", x)
        x = self.conv("classes", x, 32, CLASSES, 1)
        self.op("Flatten", "output", x, axis=1)
        graph = helper.make_graph(
            self.nodes, "resnet",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, *self.shape])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, CLASSES])],
            self.constants,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def op(self, kind: str, result: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, [*inputs], [result], name=result, **attributes))
        return result

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def relu(self, name: str, x: str) -> str:
        return self.op("Relu", f"{name}.relu", x)

    def add(self, name: str, x: str, y: str) -> str:
        return self.op("Add", f"{name}.sum", x, y)

    def conv(self, name: str, x: str, inputs: int, outputs: int, size: int, stride: int = 1) -> str:
        shape = (outputs, inputs, size, size)
        kernel = self.rng.standard_normal(shape) * np.sqrt(2 / (inputs * size * size))
        bias = self.constant(f"{name}.bias", self.rng.standard_normal(outputs).astype(F32) / 10)
        if self.ranges is None:
            weight = self.constant(f"{name}.weight", kernel.astype(F32))
        else:
            x, weight = self.quantized(x), self.quantized_weight(name, kernel.astype(F32))
        pads = [size // 2] * 4
        return self.op("Conv", name, x, weight, bias, strides=[stride] * 2, pads=pads)

    def quantized(self, x: str) -> str:
        assert self.ranges is not None
        done = f"{x}.dq"
        if all(n.name != done for n in self.nodes):
            step = self.constant(f"{x}.scale", F32(self.ranges[x] / 127))
            params = [step, self.constant(f"{x}.zero", np.int8(0))]
            self.op(
                "DequantizeLinear", done, self.op("QuantizeLinear", f"{x}.q", x, *params), *params
            )
        return done

    def quantized_weight(self, name: str, kernel: Array) -> str:
        step = np.abs(kernel).max((1, 2, 3)) / F32(127)
        whole = np.rint(kernel / step[:, None, None, None]).astype(np.int8)
        given = [
            self.constant(f"{name}.weight", whole),
            self.constant(f"{name}.step", step),
            self.constant(f"{name}.nothing", np.zeros(len(step), np.int8)),
        ]
        return self.op("DequantizeLinear", f"{name}.kernel", *given, axis=0)


def run(model: ModelProto, images: Array) -> Array:
    """What ONNX Runtime gives for each image, every node by itself."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])  # fmt: skip
    return np.concatenate([session.run(["output"], {"input": x[None]})[0] for x in images])


def largest(model: ModelProto, images: Array) -> dict[str, float]:
    """The largest magnitude of each tensor over images."""
    shown = ModelProto()
    shown.CopyFrom(model)
    names = [n.output[0] for n in model.graph.node]
    del shown.graph.output[:]
    shown.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names
    )
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])  # fmt: skip
    found = dict.fromkeys(["input", *names], 0.0)
    for image in images:
        for name, array in zip(names, session.run(names, {"input": image[None]}), strict=True):
            found[name] = max(found[name], float(np.abs(array).max()))
        found["input"] = max(found["input"], float(np.abs(image).max()))
    return found


def images(count: int, channels: int, size: int, seed: int) -> Array:
    """Smooth random pictures, so that classes differ: float32 about 0."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((count, channels, size // 4, size // 4))
    return np.kron(coarse, np.ones((4, 4))).astype(F32) + rng.normal(0, 0.2, (count, channels, size, size)).astype(F32)  # fmt: skip
