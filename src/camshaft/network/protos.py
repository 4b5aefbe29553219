"""Parts of ONNX's messages: what values become in them, and names that they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, ValueInfoProto, numpy_helper


def names_within(node: NodeProto) -> set[str]:
    """The names that the graphs of a node define."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(v.name for v in (*graph.input, *graph.initializer))
            for inner in graph.node:
                names.update(inner.output)
                names |= names_within(inner)
    return names


def array_of(value: Any) -> np.ndarray:
    """As an array; fractions as float32."""
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array


def attribute_of(value: Any) -> Any:
    """As `helper.make_node` takes it."""
    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def forget_open(info: ValueInfoProto) -> None:
    """Take texts that compute with others out of a type: other readers take them for names."""
    if info.type.WhichOneof("value") != "tensor_type":
        return
    for d in info.type.tensor_type.shape.dim:
        if d.HasField("dim_param") and not d.dim_param.isidentifier():
            d.ClearField("dim_param")
