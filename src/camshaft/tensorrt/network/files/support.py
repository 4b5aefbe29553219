"""Which nodes of a model can be parsed, before any is."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.handlers import HANDLERS
from camshaft.frontends.onnx.hosted import is_known
from camshaft.frontends.onnx.model import opsets_of
from camshaft.frontends.onnx.scripts.control import CONTROL
from camshaft.tensorrt.network.names import graphs_of, nodes_within
from camshaft.tensorrt.plugins.nodes import PLUGINS, creator_of


def is_supported(domain: str, op_type: str, opset: int) -> bool:
    """Whether an operator is one that the import knows."""
    own = domain == "" and op_type in CONTROL
    return own or (domain, op_type) in HANDLERS or is_known(domain, op_type, opset)


def plugins_marked(model: ModelProto) -> ModelProto:
    """The model, whose nodes of unknown operators are of the domain of plugins where the registry has a creator of them."""
    missing = [node for _, node in unsupported(model, plugins=False)]
    if not any(creator_of(node) is not None for node in missing):
        return model
    made = ModelProto()
    made.CopyFrom(model)
    for _, node in unsupported(made, plugins=False):
        if creator_of(node) is not None:
            node.domain = PLUGINS
    if all(o.domain != PLUGINS for o in made.opset_import):
        made.opset_import.append(helper.make_opsetid(PLUGINS, 1))
    return made


def unsupported(model: ModelProto, plugins: bool = True) -> list[tuple[int, NodeProto]]:
    """Nodes of unknown operators, or with such nodes in their graphs, by index in the model's graph.

    plugins: whether those that the registry has a creator of are known.
    """
    opsets = opsets_of(model)
    local = {(domain_of(f.domain), f.name) for f in model.functions}

    def known(node: NodeProto) -> bool:
        domain = domain_of(node.domain)
        if (domain, node.op_type) in local:
            return True
        if plugins and (domain == PLUGINS or creator_of(node) is not None):
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
