"""Where quantization goes in a float graph: Q/DQ at the inputs of convolutions and what feeds them.

The implicit path's front door (see architecture.md, quantization semantics).  It works on the
fused, channels-last graph: `plan_quantization` decides which tensors become u8 and which of them must share a range,
`calibrate` finds the ranges, `insertion` writes them into the graph as Q/DQ pairs, and
`passes.qdq` lowers that like any quantized model.

Quantized are the inputs of convolutions, the skip branch of a residual addition, and, so that
bytes travel between convolutions, the inputs of average pools and elementwise nodes that lie
between them.  Never what is read by sigmoid, tanh, exp and the like or by a function that jumps
(an equality, a rounding), and nothing behind the last smoothing layer (convolution or matrix
product): outputs keep the precision of float sums, which is TensorRT's quantization noise reduction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from camshaft.errors import ConfigError
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr, nodes, used_inputs
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import f32
from camshaft.passes.qdq.rules import commutes
from camshaft.quant.apart.choice import Apart
from camshaft.quant.apart.products import is_carried
from camshaft.quant.channels.equalize import Equalized, is_depthwise
from camshaft.quant.fine import WORDS, Fine

_STEEP = {"exp", "log", "tanh", "erf", "sqrt", "pow", "reciprocal", "sin", "cos"}
_JUMPING = {"eq", "floor", "ceil", "round", "mod"}
_SENSITIVE = frozenset(_STEEP | _JUMPING)
Use = tuple[str, int]
"""(node output name, input position): one place where a tensor is read."""


@dataclass
class QuantizationPlan:
    """Decisions about one graph.

    uses: where quantized values are read.  group: tensor -> the group of tensors that share one
    range.  sources: group -> the tensors whose values make up its range.
    convs: output names of the convolutions to run in INT8.  reasons: source layer -> why (not).
    apart: tensor -> what is carried apart where products of rows read it; no planned use is of it.
    equalized: tensor -> how its channels are scaled; convolutions that read it as bytes undo it by their weights.
    fine: convolutions that read floats, which they quantize in two parts (see `quant.fine`).
    carriers: results of movements that are bytes, since all that read them want these.
    """

    uses: set[Use] = field(default_factory=set)
    group: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    convs: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    apart: Mapping[str, Apart] = field(default_factory=dict)
    equalized: Mapping[str, Equalized] = field(default_factory=dict)
    fine: Fine = field(default_factory=dict)
    carriers: set[str] = field(default_factory=set)

    @property
    def observed(self) -> tuple[str, ...]:
        """Tensors whose values must be seen, in a fixed order."""
        return tuple(dict.fromkeys(t for names in self.sources.values() for t in names))


def plan_quantization(
    graph: Graph,
    keep_float: frozenset[str] = frozenset(),
    layer_precision: Mapping[str, str] | None = None,
    *,
    noise_reduction: bool = True,
    apart: Mapping[str, Apart] | None = None,
    equalized: Mapping[str, Equalized] | None = None,
    fine: Fine | None = None,
) -> QuantizationPlan:
    """Decide what to quantize.

    keep_float: source layers that stay float because that is faster.
    layer_precision: source layer -> "fp32" or "int8", obeyed; ConfigError names a layer that does
        not exist, or cannot be INT8 and why.
    apart: tensor -> what is carried apart of it, where products of rows read it.
    equalized: tensor -> how its channels are scaled, of those that `equalizable` or `families` names.
    fine: convolutions whose input is in two parts.
    """
    wanted = dict(layer_precision or {})
    check_layer_names(graph, wanted)
    _check_possible(graph, wanted)
    plan = QuantizationPlan(apart=apart or {}, equalized=equalized or {}, fine=fine or {})
    for node in graph.nodes:
        _consider_conv(graph, node, keep_float, wanted, plan)
    smooth, normalized = _before_smoothing(graph), _normalized(graph)
    for node in graph.nodes:
        if node.outputs[0].name in smooth or not noise_reduction:
            _consider_passage(node, wanted, normalized, plan)
    _share_ranges(graph, plan)
    return plan


def equalizable(graph: Graph, plan: QuantizationPlan) -> list[str]:
    """Tensors of which each channel may have a scale of its own: nothing but depthwise convolutions reads them as
    bytes, and they share their range with no other tensor."""
    readers: dict[str, list[bool]] = {}
    for node in graph.nodes:
        for i, t in enumerate(node.args):
            if (node.outputs[0].name, i) in plan.uses:
                readers.setdefault(t.name, []).append(i == 0 and is_depthwise(node))
    return [n for n, only in readers.items() if all(only) and plan.sources[plan.group[n]] == (n,)]


def check_layer_names(graph: Graph, layers: Iterable[str], option: str = "layer_precision") -> None:
    """ConfigError names a layer that an option has and the model lacks."""
    check_layer_names_of([graph], layers, option)


def check_layer_names_of(
    graphs: Sequence[Graph], layers: Iterable[str], option: str = "layer_precision"
) -> None:
    """As `check_layer_names`, of a model of several graphs."""
    known = {o for g in graphs for n in g.nodes for o in n.origin}
    for layer in layers:
        if layer not in known:
            near = get_close_matches(layer, known, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ConfigError(
                f"{option} names {layer!r}, which no layer of the model is called (layers that change nothing are left out); "
                + (hint or "`camshaft inspect MODEL.onnx` lists them")
            )


def impossible(graph: Graph, wanted: Mapping[str, str]) -> dict[str, str]:
    """Layers that must be INT8 and of which no node can be with ranges of tensors, and why."""
    possible = {layer for n in graph.nodes if not _obstacle(n) for layer in n.origin}
    return {
        layer: _obstacle(node)
        for node in graph.nodes
        for layer in node.origin
        if wanted.get(layer) == "int8" and layer not in possible
    }


def formless(graph: Graph, wanted: Mapping[str, str]) -> dict[str, str]:
    """Of the `impossible` layers those whose operators have no INT8 form of their own, as pools and softmax; such a pool
    reads bytes where products beside it do."""
    with_form = {layer for n in graph.nodes if _has_weights(n) for layer in n.origin}
    return {n: why for n, why in impossible(graph, wanted).items() if n not in with_form}


def asked_of(node: Node, wanted: Mapping[str, str]) -> str:
    """What the layers that a node was made of must be, "" where nothing is said; ConfigError where they contradict."""
    asked = {wanted[o] for o in node.origin if o in wanted}
    if len(asked) > 1:
        said = " and for ".join(sorted(asked, reverse=True))
        raise ConfigError(
            f"layer_precision asks for {said} in {node.name!r}, which is one kernel; ask for one"
        )
    return asked.pop() if asked else ""


def _check_possible(graph: Graph, wanted: Mapping[str, str]) -> None:
    """ConfigError names a layer that must be INT8 and cannot be."""
    for layer, why in impossible(graph, wanted).items():
        raise ConfigError(f"layer_precision asks for int8 in {layer!r}, but {why}")


def _consider_conv(
    graph: Graph,
    node: Node,
    keep_float: frozenset[str],
    wanted: Mapping[str, str],
    plan: QuantizationPlan,
) -> None:
    if not _has_weights(node):
        return
    asked, obstacle = asked_of(node, wanted), _obstacle(node)
    if obstacle:
        _explain(plan, node, f"fp32: {obstacle}")
    elif asked == "fp32":
        _explain(plan, node, "fp32: layer_precision")
    elif keep_float.intersection(node.origin) and not asked:
        _explain(plan, node, "fp32: the whole graph is faster so")
    else:
        _plan_conv(node, "int8: layer_precision" if asked else "int8: permitted", plan)


def _plan_conv(node: Node, reason: str, plan: QuantizationPlan) -> None:
    """A convolution in INT8, with the skip branch that is added to it.

    Rows of which channels are carried apart are there in floats, so that a skip branch reads these.
    """
    plan.convs.add(node.output.name)
    if is_carried(node, plan.apart):
        reason = f"{reason}; {plan.apart[node.args[0].name].words}"
    elif node.output.name not in plan.fine:
        plan.uses.add((node.output.name, activation_of(node)))
    scaled = plan.equalized.get(node.args[activation_of(node)].name)
    reason = reason if scaled is None else f"{reason}; {scaled.words}"
    reason = f"{reason}; {WORDS}" if node.output.name in plan.fine else reason
    _explain(plan, node, reason)
    anchors = node.op.own_inputs(node.attrs) or 0
    for i, t in enumerate(node.args[anchors:], anchors):
        skip = _is_activation(t) and t.shape == node.output.shape and t.name not in plan.apart
        if skip and not _is_sensitive(_expr(node), i - anchors + 1):
            plan.uses.add((node.output.name, i))


def _explain(plan: QuantizationPlan, node: Node, reason: str) -> None:
    plan.reasons.update((layer, reason) for layer in node.origin)


def _has_weights(node: Node) -> bool:
    """Whether INT8 makes the node's own arithmetic faster (see `Int8Form`)."""
    return node.op.int8 is not None and node.op.int8.weights is not None


def _int8_inputs(node: Node) -> Sequence[int]:
    """Inputs that may be activations of 8 bits."""
    assert node.op.int8 is not None
    return node.op.int8.inputs([t.type for t in node.args], node.outputs[0].type, node.attrs)


def activation_of(node: Node) -> int:
    """The input that a node with weights multiplies by them."""
    (index,) = _int8_inputs(node)
    return index


def _obstacle(node: Node) -> str:
    """Why a node cannot be computed in INT8 for its own sake, or ""."""
    form = node.op.int8
    if form is None or form.weights is None:
        return f"its op ({node.op.name}) has no INT8 form of its own"
    x, w = node.args[activation_of(node)], node.args[form.weights]
    if x.type.dtype != f32 or x.is_const:
        return f"its input is {x.type}, not a float activation"
    if not w.is_const:
        return "its weights are not constant"
    return ""


def _consider_passage(
    node: Node, wanted: Mapping[str, str], normalized: set[Use], plan: QuantizationPlan
) -> None:
    """What lies between convolutions and has an INT8 form (elementwise nodes, average pools) reads
    bytes too."""
    if any(wanted.get(o) == "fp32" for o in node.origin):
        return
    if node.op.int8 is None or _has_weights(node):
        return
    for i in _int8_inputs(node):
        use = (node.output.name, i)
        sensitive = node.op.anchors == 0 and _is_sensitive(_expr(node), i)
        if use not in normalized and not sensitive and _is_activation(node.args[i]):
            plan.uses.add(use)


def _is_activation(t: Tensor) -> bool:
    return t.type.dtype == f32 and not t.is_const


def _expr(node: Node) -> Expr:
    assert node.op.expression is not None
    return expr_attr(node, node.op.expression)


def _is_sensitive(e: Expr, index: int) -> bool:
    """Whether input `index` reaches a function whose input must not be quantized."""
    return any(x.op in _SENSITIVE and index in used_inputs(x) for x in nodes(e))


def _before_smoothing(graph: Graph) -> set[str]:
    """Tensors from which some path leads to a smoothing layer."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op.smooths or any(t.name in found for t in node.outputs):
            found.update(t.name for t in node.args)
    return found


def _normalized(graph: Graph) -> set[Use]:
    """Where a normalization reads its input.

    That is an elementwise node that combines a tensor with a mean or variance of it, and the node
    that makes the mean.

    Gates like squeeze-and-excitation's, whose means go through convolutions, are no normalization.
    """
    averaged: dict[str, frozenset[str]] = {}  # tensor -> what it is a statistic of
    statistics: dict[str, set[Use]] = {}  # tensor -> where its statistics read it
    found: set[Use] = set()
    for node in graph.nodes:
        name = node.outputs[0].name
        below = frozenset[str]().union(*(averaged.get(t.name, ()) for t in node.args))
        if node.op.anchors == 0:
            for i, t in enumerate(node.args):
                others = (averaged.get(u.name, ()) for u in node.args if u is not t)
                if any(t.name in names for names in others):
                    found.add((name, i))
                    found |= statistics.get(t.name, set())
        if node.op.smooths:
            continue
        types = [t.type for t in node.args]
        if node.op.statistic(types, node.outputs[0].type, node.attrs):
            statistics.setdefault(node.args[0].name, set()).add((name, 0))
            below |= {node.args[0].name}
        averaged[name] = below
    return found


# --- shared ranges ----------------------------------------------------------------------------


def _share_ranges(graph: Graph, plan: QuantizationPlan) -> None:
    """Tensors on both sides of a commuting op get one range, so that no requantization is needed."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    made_by_commuting: set[str] = set()
    for node in graph.nodes:
        if commutes(node):
            joined = [t for t in node.args if _is_activation(t)]
            for t in joined:
                parent[find(t.name)] = find(node.output.name)
            if joined:
                made_by_commuting.add(node.output.name)
    by_output = {n.outputs[0].name: n for n in graph.nodes}
    needed = {find(by_output[name].args[i].name) for name, i in plan.uses}
    members: dict[str, list[str]] = {}
    for name, t in graph.tensors.items():
        if _is_activation(t) and find(name) in needed:
            plan.group[name] = find(name)
            if name not in made_by_commuting:
                members.setdefault(find(name), []).append(name)
    plan.sources = {g: tuple(names) for g, names in members.items()}
    _quantize_at_sources(graph, plan, by_output)


def _quantize_at_sources(
    graph: Graph, plan: QuantizationPlan, by_output: Mapping[str, Node]
) -> None:
    """Move planned uses from the results of commuting ops to what these read.

    A concat, say, of which everybody reads bytes is then a concat of bytes, also where its parts and
    prefixes belong to other concats.  It stays as it is where somebody wants its floats.
    """
    outputs = {t.name for t in graph.outputs}
    carriers = plan.carriers
    for node in reversed(graph.nodes):
        name = node.outputs[0].name
        if not commutes(node) or name not in plan.group or name in outputs:
            continue
        reads = [
            (reader.outputs[0].name, i)
            for reader in graph.consumers.get(name, ())
            for i, t in enumerate(reader.args)
            if t.name == name
        ]
        if reads and all(use in plan.uses or use[0] in carriers for use in reads):
            carriers.add(name)
    plan.uses = {(n, i) for n, i in plan.uses if by_output[n].args[i].name not in carriers}
    for name in carriers:
        for i, t in enumerate(by_output[name].args):
            if t.name in plan.group and t.name not in carriers:
                plan.uses.add((name, i))
