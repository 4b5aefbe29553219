"""Nodes of a file of one version of ONNX's operators in a network of another."""

from __future__ import annotations

from functools import cache

import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper, version_converter

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.tensorrt.network.names import graphs_of, nodes_within, rename_graph


def upgraded(net: Network, node: NodeProto, old: int, new: int) -> list[NodeProto]:
    """Nodes that compute in the new version what the node does in the old one; they have its name and outputs.

    ModelError if ONNX's converter cannot make them.
    """
    nodes = [node, *(n for graph in graphs_of(node) for n in nodes_within(graph))]
    if all(_since(n, old) == _since(n, new) for n in nodes):
        return [node]
    refusal = f"{node.op_type} of opset {old} cannot stand beside layers of opset {new}; export the model for opset {new}"
    if len(nodes) > 1:
        raise ModelError(refusal)
    try:
        found = version_converter.convert_version(_alone(net, node, old), new).graph
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{refusal} ({' '.join(str(error).split())})") from error
    ends = {*node.input, *node.output}
    made = [o for n in found.node for o in n.output if o not in ends]
    made += [c.name for c in found.initializer if c.name not in ends]
    rename_graph(found, {name: net.free(f"{node.name}.{name}") for name in made})
    for constant in found.initializer:
        if constant.name not in ends:
            net.constant(numpy_helper.to_array(constant), name=constant.name)
    for each in found.node:
        is_last = any(o in node.output for o in each.output)
        each.name = node.name if is_last else net.free(f"{node.name}.{each.op_type}")
    return list(found.node)


def _alone(net: Network, node: NodeProto, opset: int) -> ModelProto:
    """A model of the node: its inputs' types, and the elements of those that are constants, as the network knows them."""
    inputs, constants = [], []
    for name in dict.fromkeys(n for n in node.input if n):
        tensor = net.value(name)
        elements = net.constant_value(tensor)
        if elements is not None:
            constants.append(numpy_helper.from_array(elements, name))
        else:
            info = ValueInfoProto(name=name)
            info.type.CopyFrom(net.type_of(tensor).proto)
            inputs.append(info)
    outputs = [ValueInfoProto(name=o) for o in node.output if o]
    for info in outputs:
        info.type.tensor_type.elem_type = 1
    graph = helper.make_graph([node], node.name or "node", inputs, outputs, constants)
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return model


@cache
def _since_version(op_type: str, opset: int) -> int:
    try:
        return int(onnx.defs.get_schema(op_type, opset, "").since_version)
    except onnx.defs.SchemaError:
        return 0


def _since(node: NodeProto, opset: int) -> int:
    """The version that changed the operator last; 0 for those of other domains."""
    return 0 if node.domain not in ("", "ai.onnx") else _since_version(node.op_type, opset)
