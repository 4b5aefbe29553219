"""ONNX models with declared extents: ints, names, None where nothing is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from camshaft.ir.extents.extent import symbols_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph

Dims = Sequence[int | str | None]


def model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Dims],
    outputs: Sequence[str] = ("y",),
    weights: dict[str, np.ndarray] | None = None,
    integers: Sequence[str] = (),
) -> ModelProto:
    kinds = {n: TensorProto.INT64 if n in integers else TensorProto.FLOAT for n in inputs}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, kinds[n], list(d)) for n, d in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def node(op: str, inputs: str, output: str = "y", **attrs: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attrs)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def relu(**inputs: Dims) -> ModelProto:
    names = list(inputs)
    nodes = [node("Relu", n, f"y{i}") for i, n in enumerate(names)]
    return model(nodes, inputs, [f"y{i}" for i in range(len(names))])


def symbols(graph: Graph) -> dict[str, Symbol]:
    return {s.name: s for s in symbols_of(*(d for t in graph.inputs for d in t.shape))}
