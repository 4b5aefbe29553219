"""Which nodes of a model can be parsed, before any is."""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.handlers import HANDLERS
from camshaft.frontends.onnx.hosted import is_known
from camshaft.frontends.onnx.model import opsets_of
from camshaft.frontends.onnx.scripts.control import CONTROL
from camshaft.tensorrt.network.names import graphs_of, nodes_within


def is_supported(domain: str, op_type: str, opset: int) -> bool:
    """Whether an operator is one that the import knows."""
    own = domain == "" and op_type in CONTROL
    return own or (domain, op_type) in HANDLERS or is_known(domain, op_type, opset)


def unsupported(model: ModelProto) -> list[tuple[int, NodeProto]]:
    """Nodes of unknown operators, or with such nodes in their graphs, by index in the model's graph."""
    opsets = opsets_of(model)
    local = {(domain_of(f.domain), f.name) for f in model.functions}

    def known(node: NodeProto) -> bool:
        domain = domain_of(node.domain)
        if (domain, node.op_type) in local:
            return True
        return is_supported(domain, node.op_type, opsets.get(domain, 1))

    return [
        (i, node)
        for i, node in enumerate(model.graph.node)
        if not all(known(n) for n in (node, *(m for g in graphs_of(node) for m in nodes_within(g))))
    ]


def groups_of(count: int, faulty: set[int]) -> list[tuple[list[int], bool]]:
    """The nodes in their order, in runs between those at fault; each True if none is at fault.  count: of nodes."""
    groups: list[tuple[list[int], bool]] = []
    for i in range(count):
        if i in faulty:
            continue
        if not groups or i - 1 in faulty:
            groups.append(([], not faulty))
        groups[-1][0].append(i)
    return groups
