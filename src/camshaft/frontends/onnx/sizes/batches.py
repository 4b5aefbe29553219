"""Which axes of inputs are batches because recurrent layers read them so: their steps come first, [T, N, I]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, helper

from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.sizes.declared import Place
from camshaft.frontends.onnx.sizes.pasts import MICROSOFT

_RECURRENT = (("", "LSTM"), ("", "GRU"), ("", "RNN"), (MICROSOFT, "DynamicQuantizeLSTM"))
_OPERANDS = {0: (1, 0), 4: (0, 0), 5: (1, 0), 6: (1, 0)}
"""X, sequence_lens, initial_h, initial_c -> their axis of the batch, by layout."""
_KEEPING = frozenset(
    [
        "Identity",
        "Cast",
        "Dropout",
        "Relu",
        "Tanh",
        "Sigmoid",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "MatMul",
        "LayerNormalization",
        "Gather",
        "LeakyRelu",
        "Gelu",
        "Erf",
    ]
)
"""Operators whose results have the leading axes of what they read."""
_DEEPEST = 40


def batches_of(graph: GraphProto) -> frozenset[Place]:
    """(input, axis) of the batches that recurrent layers read, as far as simple ops lead to them."""
    makers = {name: node for node in graph.node for name in node.output}
    inputs = {v.name for v in graph.input} - {t.name for t in graph.initializer}
    constants = {t.name for t in graph.initializer}
    found: set[Place] = set()
    for node in graph.node:
        if (domain_of(node.domain), node.op_type) not in _RECURRENT:
            continue
        (layout,) = _integers(node, "layout", (0,))
        for operand, axes in _OPERANDS.items():
            if operand < len(node.input) and node.input[operand]:
                found |= set(_sources(node.input[operand], axes[layout], makers, inputs, constants))
    return frozenset(found)


def _sources(
    name: str, axis: int, makers: Mapping[str, NodeProto], inputs: set[str], constants: set[str]
) -> Iterator[Place]:
    for _ in range(_DEEPEST):
        if name in inputs:
            yield name, axis
            return
        node = makers.get(name)
        if node is None:
            return
        if node.op_type == "Transpose":
            perm = _integers(node, "perm", ())
            if axis >= len(perm):
                return
            axis = perm[axis]
        elif node.op_type not in _KEEPING:
            return
        data = [n for n in node.input if n not in constants and not _is_constant(makers.get(n))]
        if len(data) != 1 or (node.op_type == "Gather" and data[0] != node.input[1]):
            return  # a gather keeps the axes of its numbers alone
        name = data[0]


def _is_constant(node: NodeProto | None) -> bool:
    return node is not None and node.op_type == "Constant"


def _integers(node: NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    values = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return tuple(np.atleast_1d(values[0]).tolist()) if values else default
