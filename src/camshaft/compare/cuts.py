"""Models cut at their tensors: parts run on values that are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper


def declared(name: str, array: np.ndarray) -> ValueInfoProto:
    """An input or output of the array's type and shape."""
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
    )


def cut_at(
    proto: ModelProto, values: Mapping[str, np.ndarray]
) -> tuple[ModelProto, dict[str, str]]:
    """A copy of the model in which whatever reads one of the tensors `values` reads an input in its place; the tensor is
    still computed.

    Returns the copy, and tensor -> name of its input.
    """
    copy = ModelProto()
    copy.CopyFrom(proto)
    taken = {v.name for v in proto.graph.input}
    taken.update(o for n in proto.graph.node for o in n.output)
    inputs: dict[str, str] = {}
    for name, array in values.items():
        inputs[name] = _fresh(f"{name}:given", taken)
        copy.graph.input.append(declared(inputs[name], array))
    for node in copy.graph.node:
        _read_instead(node, inputs)
    return copy, inputs


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def _read_instead(node: NodeProto, inputs: Mapping[str, str]) -> None:
    """Rename what the node and its subgraphs read; names of one model are unique, those of subgraphs included."""
    for i, name in enumerate(node.input):
        node.input[i] = inputs.get(name, name)
    for attribute in node.attribute:
        graphs: list[GraphProto] = [*attribute.graphs]
        if attribute.HasField("g"):
            graphs.append(attribute.g)
        for graph in graphs:
            for inner in graph.node:
                _read_instead(inner, inputs)
