"""Where the engine would quantize a module: its own plan (`quant.placement`), told of the nodes of the exported program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node

from camshaft.frontends.torch.importer import Program
from camshaft.frontends.torch.walk import name_of
from camshaft.ir import graph as ir
from camshaft.passes.pipeline import optimize
from camshaft.quant.placement import QuantizationPlan, plan_quantization

_WEIGHT: Mapping[str, tuple[int, int]] = {
    "conv1d": (1, 0),
    "conv2d": (1, 0),
    "conv3d": (1, 0),
    "conv_transpose1d": (1, 1),
    "conv_transpose2d": (1, 1),
    "conv_transpose3d": (1, 1),
    "linear": (1, 0),
    "mm": (1, 1),
    "matmul": (1, -1),
    "bmm": (1, -1),
    "addmm": (2, 1),
}
"""Operators with weights -> which argument these are, and the axis of its output channels."""


@dataclass(frozen=True)
class Edge:
    """A node's argument that is to be quantized: what `reader` reads of `source`."""

    source: Node
    reader: Node


@dataclass(frozen=True)
class Weight:
    """A weight that is to be quantized.  axis: its output channels; None: one scale for all."""

    source: Node
    reader: Node
    axis: int | None


@dataclass
class Places:
    """edges: group of tensors that share a range -> where they are read.  weights: of INT8 products."""

    edges: dict[str, list[Edge]] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)


def by_name(program: ExportedProgram, graph: Graph) -> dict[str, Node]:
    """Names of a program's inputs and operators -> the nodes of its module's graph, where those of which Python has functions
    (`input`) are called otherwise."""
    held = {
        s.arg.name for s in program.graph_signature.input_specs if s.kind != InputKind.USER_INPUT
    }
    of = [[n for n in g.nodes if n.op in ("placeholder", "call_function")] for g in (program.graph, graph)]  # fmt: skip
    names = [n.name for n in of[0] if n.op == "call_function" or n.name not in held]
    return dict(zip(names, of[1], strict=True))


def places(program: Program, nodes: Mapping[str, Node], keep_float: Iterable[str]) -> Places:
    """Where a program is quantized.

    program: what was imported of the exported program; nodes: its module's, as `by_name` says.  keep_float: names of those that stay float.
    """
    fused = optimize(program.imported.graphs[0], level=3)
    plan = plan_quantization(fused, frozenset(keep_float))
    found = Places()
    for group, source, readers in _uses(fused, plan, nodes):
        known = found.edges.setdefault(group, [])
        known += [e for e in _edges(source, readers) if e not in known]
    for node in fused.nodes:
        if node.outputs[0].name in plan.convs:
            found.weights += [w for w in _weights_in(node, nodes) if w not in found.weights]
    found.edges = {group: edges for group, edges in found.edges.items() if edges}
    return found


def _uses(
    fused: ir.Graph, plan: QuantizationPlan, nodes: Mapping[str, Node]
) -> Iterator[tuple[str, Node, frozenset[Node]]]:
    """Planned uses: group, the node that makes the tensor, and the nodes that were fused into its reader."""
    producers = fused.producers
    for name, index in sorted(plan.uses):
        reader = producers[name]
        if name in plan.convs and not _weights_in(reader, nodes):
            continue  # those of a recurrent layer, which stays float
        tensor = reader.args[index]
        group = plan.group[tensor.name]
        made = tensor.name.partition(":")[0]
        if made not in nodes and tensor.name in producers:
            made = next((o for o in reversed(producers[tensor.name].origin) if o in nodes), made)
        if made in nodes:
            yield group, _value(nodes[made]), _readers(fused, reader, nodes)


def _readers(fused: ir.Graph, reader: ir.Node, nodes: Mapping[str, Node]) -> frozenset[Node]:
    """The nodes that a fused layer was made of; where it is a movement that passes put in, those of what reads that."""
    known = frozenset(nodes[o] for o in reader.origin if o in nodes)
    if known:
        return known
    made = {t.name for t in reader.outputs}
    behind = [n for n in fused.nodes if any(t.name in made for t in n.args)]
    return frozenset().union(*(_readers(fused, n, nodes) for n in behind))


def _value(node: Node) -> Node:
    """The tensor that a node stands for: of several results, the first."""
    if isinstance(node.meta.get("val"), tuple | list):
        return next((u for u in node.users if name_of(u) == "getitem" and u.args[1] == 0), node)
    return node


def _edges(source: Node, readers: frozenset[Node]) -> list[Edge]:
    """Where these readers read a node's value, also by way of movements and getitems that belong to no fused layer."""
    found: list[Edge] = []
    waiting, seen = [source], {source}
    while waiting:
        at = waiting.pop()
        for user in at.users:
            if user in readers:
                found.append(Edge(at, user))
            elif user not in seen and _moves(user):
                seen.add(user)
                waiting.append(user)
    return found


_MOVEMENTS = frozenset(
    f"aten::{n}"
    for n in (
        "view", "reshape", "_unsafe_view", "permute", "transpose", "t", "expand", "unsqueeze", "squeeze", "flatten",
        "clone", "contiguous", "slice", "select", "alias", "detach", "split", "split_with_sizes", "unbind",
    )
)  # fmt: skip


def _moves(node: Node) -> bool:
    """Whether a node gives elements as they are."""
    return node.op == "call_function" and (
        name_of(node) in _MOVEMENTS or name_of(node) == "getitem"
    )


def _weights_in(fused: ir.Node, nodes: Mapping[str, Node]) -> list[Weight]:
    """The weights of the nodes that a fused layer was made of."""
    return [w for o in fused.origin if o in nodes for w in _weights(nodes[o])]


def _weights(node: Node) -> list[Weight]:
    """The weights of a node that multiplies by some."""
    at, axis = _WEIGHT.get(name_of(node).removeprefix("aten::"), (None, 0))
    if at is None or len(node.args) <= at:
        return []
    source = node.args[at]
    if not isinstance(source, Node) or not _is_constant(source):
        return []
    rank = source.meta["val"].dim()
    whole = axis == 1 and rank > 2 and _groups(node) != 1
    return [Weight(source, node, None if whole else axis % rank)]


def _is_constant(node: Node) -> bool:
    """Whether a node hangs on parameters and buffers alone, as what a parametrization makes does."""
    waiting, seen = [node], {node}
    while waiting:
        at = waiting.pop()
        if at.op not in ("get_attr", "call_function"):
            return False
        new = [n for n in at.all_input_nodes if n not in seen]
        seen.update(new)
        waiting += new
    return True


def _groups(node: Node) -> object:
    """Groups of a transposed convolution."""
    return node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
