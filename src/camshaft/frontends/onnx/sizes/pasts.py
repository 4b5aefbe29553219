"""Inputs that hold what earlier calls computed, such as the keys and values of attention: the first call
of a sequence has none, so they may be empty."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from onnx import GraphProto, NodeProto, ValueInfoProto, helper

from camshaft.frontends.onnx.context import domain_of

MICROSOFT = "com.microsoft"
PASTS: Mapping[tuple[str, str], Mapping[int, int]] = {
    ("", "Attention"): {4: 2, 5: 2},
    (MICROSOFT, "Attention"): {4: 3},
    (MICROSOFT, "QAttention"): {8: 3},
    (MICROSOFT, "MultiHeadAttention"): {6: 2, 7: 2},
    (MICROSOFT, "DecoderMaskedMultiHeadAttention"): {5: 2, 6: 2},
    (MICROSOFT, "GroupQueryAttention"): {3: 2, 4: 2},
}
"""(domain, operator) -> operand -> its axis along which new elements are appended."""


def pasts_of(graph: GraphProto) -> frozenset[tuple[str, int]]:
    """(input, axis) where an open axis is nothing but the length of a past: each input that has an axis of
    its name is appended to there, by Concat or by attention."""
    inputs = {v.name: v for v in graph.input}
    found = {
        (name, axis % _rank(inputs[name]))
        for name, axis in _appended(graph)
        if name in inputs and _rank(inputs[name])
    }
    elsewhere = {
        name
        for value in graph.input
        for axis, name in enumerate(_names(value))
        if name and (value.name, axis) not in found
    }
    return frozenset(
        (name, axis) for name, axis in found if _names(inputs[name])[axis] not in elsewhere
    )


def _appended(graph: GraphProto) -> Iterator[tuple[str, int]]:
    """(tensor, axis) of what the nodes append to, those of subgraphs included."""
    for node in graph.node:
        yield from _appended_by(node)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _appended(inner)


def _appended_by(node: NodeProto) -> Collection[tuple[str, int]]:
    domain = domain_of(node.domain)
    if not domain and node.op_type == "Concat":
        axes = [helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"]
        return [(name, axis) for name in node.input[:1] for axis in axes]
    operands = PASTS.get((domain, node.op_type), {})
    return [(node.input[i], axis) for i, axis in operands.items() if i < len(node.input)]


def _rank(value: ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def _names(value: ValueInfoProto) -> list[str]:
    return [d.dim_param for d in value.type.tensor_type.shape.dim]
