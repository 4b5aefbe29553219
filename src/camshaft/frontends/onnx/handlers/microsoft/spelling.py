"""A Microsoft operator spelled out in standard ones.

An operator that is a standard one with something before or behind it is imported as just that: as
standard nodes of one opset, whatever the model's.  Those become host steps on their own where they
have no canonical form.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, helper

from camshaft.frontends.onnx.context import NodeContext
from camshaft.ir.graph import Tensor

OPSET = 22
"""The opset that nodes are spelled in, where an operator does not say another."""


class Spelling:
    """Standard nodes in the making, in place of the node of `ctx`.  Tensors go by their names."""

    def __init__(self, ctx: NodeContext, opset: int = OPSET) -> None:
        self.ctx = ctx
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.bound: dict[str, Tensor] = {}
        self.ranks: dict[str, int] = {}

    def name(self, index: int) -> str:
        """The name of input `index`, "" where it is left out."""
        if not self.ctx.has(index):
            return ""
        return self.bind(f"in{index}", self.ctx.arg(index))

    def bind(self, name: str, tensor: Tensor) -> str:
        """Call a tensor of the graph `name`."""
        self.bound[name] = tensor
        return name

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """A constant called `name`."""
        array = np.asarray(value, dtype)
        return self.bind(name, self.ctx.builder.constant(array, self.ctx.builder.local(name)))

    def attributes(self, *without: str) -> list[AttributeProto]:
        """The operator's own attributes, but for some."""
        return [a for a in self.ctx.proto.attribute if a.name not in without]

    def node(
        self,
        op_type: str,
        inputs: Sequence[str],
        output: str,
        given: Collection[AttributeProto] = (),
        **attrs: Any,
    ) -> str:
        """Another node, with the attributes `given` and `attrs`; its output's name."""
        return self.node_of(op_type, inputs, [output], given, **attrs)[0]

    def node_of(
        self,
        op_type: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        given: Collection[AttributeProto] = (),
        **attrs: Any,
    ) -> Sequence[str]:
        """Another node of several outputs; their names."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        made = helper.make_node(op_type, names, outputs, name=self.ctx.name, **attrs)
        made.attribute.extend(given)
        self.nodes.append(made)
        return outputs

    def channels_first(self, name: str, rank: int) -> str:
        """[N, ..., C] as [N, C, ...]."""
        perm = (0, rank - 1, *range(1, rank - 1))
        return self.node("Transpose", [name], f"{name}:first", perm=perm)

    def channels_last(self, name: str, rank: int) -> str:
        """[N, C, ...] as [N, ..., C]."""
        return self.node("Transpose", [name], f"{name}:last", perm=(0, *range(2, rank), 1))

    def real(self, index: int, axis: int = 0) -> str:
        """Input `index`, whose scale and zero point follow it, dequantized."""
        inputs = [self.name(index + i) for i in range(3)]
        return self.node("DequantizeLinear", inputs, f"real{index}", axis=axis)

    def quantized(self, real: str, scale: int) -> str:
        """`real` quantized by the scale at position `scale` and the zero point behind it; without one,
        in the type of the node's first input of integers."""
        inputs = [real, self.name(scale), self.name(scale + 1)]
        if not inputs[2]:
            stored = next(t for t in self.ctx.inputs if t is not None and t.type.dtype.is_int)
            zero = np.zeros(self.ctx.arg(scale).array.shape, stored.type.dtype.numpy)
            inputs[2] = self.constant("zero", zero, zero.dtype)
        return self.node("QuantizeLinear", inputs, "quantized")

    def imported(self, result: str, *, named: bool = True) -> Tensor:
        """The tensor `result`, the nodes imported; named: it is the operator's first output."""
        output = self.ctx.proto.output[0]
        last = self.nodes[-1].output
        if named and last[0] == result and output not in self.bound:
            last[0] = result = output
        return self.imported_all([result])[0]

    def imported_all(self, results: Sequence[str]) -> Sequence[Tensor]:
        """Several tensors, the nodes imported."""
        values = [helper.make_tensor_value_info(r, 0, None) for r in results]
        graph = helper.make_graph(self.nodes, self.ctx.proto.op_type, [], values)
        return self.ctx.subgraph(graph, self.bound, {"": self.opset})
