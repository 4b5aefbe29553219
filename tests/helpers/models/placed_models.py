"""Nets with QuantizeLinear and DequantizeLinear where various tools put them, made node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

SCALE, POINT = 1 / 37, 120
"""Of activations, where a test says nothing else."""


class Placed:
    """A model in the making; tensors go by their names."""

    def __init__(self, opset: int = 17, domain: str = "", activations: Any = np.uint8) -> None:
        """domain: of quantizing operators.  activations: the type of quantized ones."""
        self.opset, self.domain, self.activations = opset, domain, activations
        self.rng = np.random.default_rng(opset)
        self.nodes: list[onnx.NodeProto] = []
        self.fixed: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def constant(self, array: Any, dtype: Any = None) -> str:
        """An initializer."""
        name = f"c{len(self.fixed)}"
        self.fixed.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def input(self, *shape: int | str, dtype: int = TensorProto.FLOAT) -> str:
        """An input of the model."""
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def node(self, op_type: str, *inputs: str, count: int = 1, **attrs: Any) -> Any:
        """A node's output, or its `count` outputs."""
        name = f"{op_type}{len(self.nodes)}"
        outputs = [f"{name}:{i}" for i in range(count)]
        domain = self.domain if op_type in ("QuantizeLinear", "DequantizeLinear") else ""
        made = helper.make_node(op_type, inputs, outputs, name=name, domain=domain, **attrs)
        self.nodes.append(made)
        return outputs[0] if count == 1 else outputs

    def params(self, scale: Any = SCALE, zero: Any = POINT, dtype: Any = None) -> tuple[str, str]:
        """Scale and zero point; the latter counts from 0 of u8, also of signed activations."""
        kind = np.dtype(dtype or self.activations)
        middle = 128 if kind == np.int8 else 0
        return self.constant(scale, np.float32), self.constant(np.asarray(zero) - middle, kind)

    def q(self, x: str, params: tuple[str, str] | None = None, **attrs: Any) -> str:
        return str(self.node("QuantizeLinear", x, *(params or self.params()), **attrs))

    def dq(self, x: str, params: tuple[str, str], **attrs: Any) -> str:
        return str(self.node("DequantizeLinear", x, *params, **attrs))

    def qdq(self, x: str, *args: Any, **attrs: Any) -> str:
        """Quantized and dequantized again; args as of `params`."""
        params = self.params(*args)
        return self.dq(self.q(x, params, **attrs), params, **attrs)

    def weight(self, *shape: int, axis: int | None = 0, dtype: Any = np.int8) -> str:
        """Dequantized weights that all runtimes multiply exactly, scaled along `axis` or as a whole."""
        low, points = (-60, 0) if np.dtype(dtype) == np.int8 else (70, 128)
        w = self.constant(self.rng.integers(low, low + 120, shape), dtype)
        count = () if axis is None else shape[axis]
        scale = self.constant(self.rng.uniform(0.01, 0.02, count), np.float32)
        zero = self.constant(np.full(count, points), dtype)
        return self.dq(
            w, (scale, zero), **({} if axis is None or self.opset < 13 else {"axis": axis})
        )

    def model(self, *outputs: str, types: Sequence[int] = ()) -> ModelProto:
        """The model.  types: of its outputs, floats where not given."""
        kinds = [*types, *[TensorProto.FLOAT] * len(outputs)]
        made = [
            helper.make_tensor_value_info(n, k, None) for n, k in zip(outputs, kinds, strict=False)
        ]
        graph = helper.make_graph(self.nodes, "placed", self.inputs, made, self.fixed)
        opsets = [helper.make_opsetid("", self.opset)]
        if self.domain:
            opsets.append(helper.make_opsetid(self.domain, 1))
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=min(10, 3 + self.opset // 2)
        )
