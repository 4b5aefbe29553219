"""Nodes, initializers and names of one ONNX graph that is being written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import DType

OPSET = 21
"""The first with blocks of scales; older readers know no newer one."""
_MADE = re.compile(r"(:nhwc|:nchw|:rows|:reordered|:turned|:reshape|:int8|:corrected|#\d+)+$")
"""What passes append to the name of a tensor that they make of another one."""


class Writer:
    """One graph's nodes in order.  Values are known by their names in the file.

    `node` belongs to the canonical node that `begin` named last: the nodes that are written for it carry the
    names of the source layers it came from.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._names: dict[str, str] = {}
        self._outputs = {t.name: n for n, t in reversed(_outputs(graph))}
        self._taken = {*graph.output_names, *(t.name for t in graph.inputs)}
        self._node_names: set[str] = set()
        self._begun: list[NodeProto] = []
        self._base = ""
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._parameters: dict[tuple[str, str], str] = {}
        for t in graph.inputs:
            self._names[t.name] = t.name

    # -- values --------------------------------------------------------------------------------

    def value(self, tensor: Tensor, like: str | None = None) -> str:
        """The name of a tensor that exists by now: an input, a constant, or what a node made.

        like: what a constant is called in place of its own name.
        """
        if tensor.name not in self._names:
            self._names[tensor.name] = self.stored(tensor.array, like or plain_name(tensor.name))
        return self._names[tensor.name]

    def made(self, tensor: Tensor, like: str | None = None) -> str:
        """The name of a tensor that the current node makes.  like: what it is called in place of its own name."""
        name = self._outputs.get(tensor.name)
        if name is None:
            name = self.fresh(like or plain_name(tensor.name))
        self._names[tensor.name] = name
        return name

    def fresh(self, base: str) -> str:
        """`base`, or `base` with a number where a value is called so."""
        return _unique(base, self._taken)

    def constant(self, array: np.ndarray, name: str) -> str:
        """An initializer that says how to compute; equal ones are one."""
        key = (array.tobytes(), array.dtype.name, array.shape)
        if key not in self._constants:
            self._constants[key] = self.stored(array, name)
        return self._constants[key]

    def parameter(self, tensor: Tensor, name: str) -> str:
        """A constant scale or zero point of what `name` is called after, which has them to itself: ONNX Runtime
        takes no zero points that several weights share where it makes unsigned ones of them."""
        key = tensor.name, name
        if key not in self._parameters:
            self._parameters[key] = self.stored(tensor.array, name)
        return self._parameters[key]

    def stored(self, array: np.ndarray, name: str) -> str:
        """An initializer of its own."""
        return self.initializer(numpy_helper.from_array(np.asarray(array), self.fresh(name)))

    def packed(self, integers: np.ndarray, kind: int, name: str) -> str:
        """An initializer of integers of an ONNX element type that may have fewer than 8 bits."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        array = np.ascontiguousarray(integers).astype(dtype)
        return self.initializer(numpy_helper.from_array(array, self.fresh(name)))

    def initializer(self, tensor: TensorProto) -> str:
        """Take over an initializer, whose name is fresh."""
        self.initializers.append(tensor)
        return str(tensor.name)

    def ints(self, values: Sequence[int], name: str = "ints") -> str:
        """An i64 constant of one axis."""
        return self.constant(np.asarray(values, np.int64).reshape(-1), name)

    # -- nodes ---------------------------------------------------------------------------------

    def node(
        self,
        op_type: str,
        inputs: Sequence[str],
        output: str | None = None,
        *,
        name: str | None = None,
        **attrs: Any,
    ) -> str:
        """Write a node with one output; returns the output's name.

        output: its name, or a fresh one.  name: the node's, in place of a source layer's.
        """
        result = self.fresh(f"{self._base}_{op_type}") if output is None else output
        proto = onnx.helper.make_node(op_type, list(inputs), [result], **attrs)
        if name is not None:
            proto.name = _unique(name, self._node_names)
        self.append(proto)
        return result

    def append(self, proto: NodeProto) -> None:
        """Write a node as it is."""
        self.nodes.append(proto)
        self._begun.append(proto)

    def begin(self, node: Node) -> None:
        """What is written from now on belongs to this canonical node."""
        self._base = plain_name(node.outputs[0].name)
        self._begun = []

    def end(self, node: Node) -> None:
        """Name what was written for a canonical node after the layers it came from."""
        nameless = [p for p in self._begun if not p.name]
        first, last = node.origin[0], node.origin[-1]
        for i, proto in enumerate(nameless):
            if i == 0 and (len(nameless) == 1 or first != last):
                name = first
            elif i == len(nameless) - 1:
                name = last
            else:
                name = f"{last}/{proto.op_type}"
            proto.name = _unique(name, self._node_names)

    def cast(self, value: str, have: DType, want: DType) -> str:
        """A value in another element type."""
        if have == want:
            return value
        return self.node("Cast", [value], to=onnx_dtype(want))


def _outputs(graph: Graph) -> list[tuple[str, Tensor]]:
    """Outputs that a node makes: name and tensor."""
    pairs = zip(graph.output_names, graph.outputs, strict=True)
    return [(n, t) for n, t in pairs if t.name in graph.producers]


def plain_name(name: str) -> str:
    """A tensor's name without what the passes added to it."""
    return _MADE.sub("", name) or name


def typed(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return onnx.helper.make_tensor_value_info(
        name, onnx_dtype(tensor.type.dtype), [_dimension(d) for d in tensor.type.shape]
    )


def _dimension(extent: Extent) -> int | str:
    return str(extent) if isinstance(extent, Dim) else extent


def _unique(base: str, taken: set[str]) -> str:
    """`base`, or `base` with a number where it is taken; it is now."""
    name, count = base, 0
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name
