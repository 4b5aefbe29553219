"""Squeeze without axes, where an open extent may be 1: a choice between Squeezes that name their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import GraphProto, NodeProto, ValueInfoProto, helper
from onnx.onnx_pb import TensorProto

from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.walk.state import State
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.types import TensorType

MOST_OPEN = 3
"""Axes that may be 1; each doubles the number of cases."""


def cases(node: NodeProto, state: State, opsets: Mapping[str, int]) -> list[NodeProto] | None:
    """The nodes that stand for a Squeeze that names no axes; None for other nodes, where it is decided, and
    where too much is open."""
    if node.op_type != "Squeeze" or domain_of(node.domain) or node.input[0] not in state.values:
        return None
    value = state.known(node.input[0])
    named = any(a.name == "axes" for a in node.attribute) or any(node.input[1:])
    if named or not isinstance(value.type, TensorType):
        return None
    shape = value.type.shape
    ones = [i for i, e in enumerate(shape) if e == 1]
    open_ = [
        i
        for i, e in enumerate(shape)
        if not isinstance(e, int) and bounds(e)[0] <= 1 <= bounds(e)[1]
    ]
    if not open_ or len(open_) > MOST_OPEN:
        return None
    return _Cases(node, opsets.get("", 1)).nodes(open_, ones, node.output[0], "")


class _Cases:
    """opset: that the node is written in."""

    def __init__(self, node: NodeProto, opset: int) -> None:
        self.node, self.opset = node, opset
        self.x, self.base = node.input[0], node.name or node.output[0]

    def nodes(
        self, open_: Sequence[int], ones: Sequence[int], output: str, path: str
    ) -> list[NodeProto]:
        """What makes `output`, with the axes `ones` and those of the open ones that are 1 left out."""
        if not open_:
            return self._squeezed(sorted(ones), output, path)
        axis, rest = open_[0], open_[1:]
        at = f"{self.base}:{axis}{path}"
        return [
            helper.make_node("Shape", [self.x], [f"{at}:shape"]),
            _constant(f"{at}:axis", [axis]),
            helper.make_node("Gather", [f"{at}:shape", f"{at}:axis"], [f"{at}:size"]),
            _constant(f"{at}:one", [1]),
            helper.make_node("Equal", [f"{at}:size", f"{at}:one"], [f"{at}:is one"]),
            helper.make_node(
                "If",
                [f"{at}:is one"],
                [output],
                name=f"{self.base}",
                then_branch=self._branch(rest, [*ones, axis], f"{path}y"),
                else_branch=self._branch(rest, ones, f"{path}n"),
            ),
        ]

    def _branch(self, open_: Sequence[int], ones: Sequence[int], path: str) -> GraphProto:
        output = f"{self.base}:{path}"
        nodes = self.nodes(open_, ones, output, path)
        return helper.make_graph(nodes, path, [], [ValueInfoProto(name=output)])

    def _squeezed(self, axes: Sequence[int], output: str, path: str) -> list[NodeProto]:
        if not axes:
            return [helper.make_node("Identity", [self.x], [output])]
        if self.opset < 13:
            return [helper.make_node("Squeeze", [self.x], [output], name=self.base, axes=axes)]
        named = f"{self.base}:axes{path}"
        squeeze = helper.make_node("Squeeze", [self.x, named], [output], name=self.base)
        return [_constant(named, axes), squeeze]


def _constant(name: str, values: Sequence[int]) -> NodeProto:
    tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], list(values))
    return helper.make_node("Constant", [], [name], value=tensor)
