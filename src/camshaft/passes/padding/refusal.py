"""Why no padding can be skipped, for a user who wants it to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.errors import ConfigError
from camshaft.ir.attrs import int_attr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ops import ATTENTION
from camshaft.passes.padding.hiding import UNDERFLOW, USUAL_PRODUCT
from camshaft.passes.padding.lengths import Mask
from camshaft.passes.padding.needs import Plan, labelled
from camshaft.passes.padding.rows import Rows


def refusal(
    graph: Graph, masks: Sequence[Mask], plans: Sequence[Plan], *, level: int
) -> ConfigError:
    """What stands against it.

    masks: inputs that may say which rows are kept.  plans: for those by which attention hides keys.  level: the optimization level.
    """
    return ConfigError(f"skip_padding is True, but {_reason(graph, masks, plans, level)}")


def _reason(graph: Graph, masks: Sequence[Mask], plans: Sequence[Plan], level: int) -> str:
    attentions = [n for n in graph.nodes if n.op is ATTENTION]
    if not masks:
        inputs = ", ".join(f"{t.name} {t.type}" for t in graph.inputs)
        return (
            f"no input of {graph.name!r} ({inputs}) can be a mask, which is bool, i32, i64, f32 or f64 [batch, length] "
            "or [batch, 1, 1, length], or lengths, which are i32 or i64 [batch]: give the model such an input, or leave skip_padding out"
        )
    if not attentions:
        if level < 1:
            return "attention is not recognized at optimization_level 0: raise it, or leave skip_padding out"
        return f"no attention is found in {graph.name!r}, whose keys a mask could hide: leave skip_padding out"
    if not plans:
        return _not_hidden(graph, masks, attentions)
    plan = max(plans, key=lambda p: len(p.hidings))
    hidden = f"rows that {plan.mask.source.name!r} hides"
    reader = _reader(graph, plan)
    if reader is None:
        return f"no product with weights would have fewer rows without the {hidden}: leave skip_padding out"
    node, t = reader
    if node.op is ATTENTION:
        what = f"attention {node.name!r} does not certainly hide the {hidden}"
        fix = "apply the mask to its scores"
    else:
        what = f"{node.op.title(node.attrs)} {node.name!r} reads {hidden}, of {t.name!r}"
        fix = "read kept ones alone (pool by the mask, or read one place)"
    return f"{what}: {fix}, or leave skip_padding out"


def _not_hidden(graph: Graph, masks: Sequence[Mask], attentions: Sequence[Node]) -> str:
    """Of attention that hides no keys, as far as is certain."""
    read = {n.output.name: _read_by_scores(graph, n) for n in attentions}
    found = [(n, m) for n in attentions for m in masks if m.source.name in read[n.output.name]]
    if not found:
        names = " or ".join(dict.fromkeys(repr(m.source.name) for m in masks))
        return (
            f"no scores of attention depend on {names}, so nothing hides the keys of padding: add a mask to them, or leave "
            "skip_padding out"
        )
    node, mask = found[0]
    title, name = f"attention {node.name!r}", mask.source.name
    queries, keys = (node.args[i].shape[-2] for i in (0, 1))
    if queries != keys:
        return (
            f"{title} has {queries} queries and {keys} keys, not the rows of one batch (an export that fixed a length does this): "
            "export the model with open sizes, or leave skip_padding out"
        )
    lost = _lost(graph, node, labelled(graph, mask))
    if lost is not None:
        return (
            f"the rows of {name!r} cannot be followed to {title}: {lost.op.title(lost.attrs)} {lost.name!r} mixes or moves them; leave "
            "skip_padding out"
        )
    hidden = f"behind the lengths {name!r}" if mask.lengths else f"for which {name!r} is 0"
    return (
        f"{title} does not certainly hide keys {hidden}: its scores must become less there by "
        f"{2 * USUAL_PRODUCT + UNDERFLOW:g} or more (minus infinity, -10000; of numbers whose 1 means hidden, give the model the opposite); or "
        "leave skip_padding out"
    )


def _read_by_scores(graph: Graph, node: Node) -> set[str]:
    """Inputs on which the scores depend otherwise than by queries and keys."""
    names = {t.name for t in node.args[3 : 3 + int_attr(node, "operands")]}
    for other in reversed(graph.nodes):
        if not names.isdisjoint(t.name for t in other.outputs):
            names |= {t.name for t in other.args}
    return names & {t.name for t in graph.inputs}


def _lost(graph: Graph, node: Node, rows: Mapping[str, Rows]) -> Node | None:
    """The node before attention whose results have no known rows, though what it reads has."""
    for t in node.args[:3]:
        made = graph.producers.get(t.name)
        while made is not None and made.output.name not in rows:
            if any(a.name in rows for a in made.args):
                return made
            made = next(
                (graph.producers[a.name] for a in made.args if a.name in graph.producers), None
            )
    return None if node.output.name in rows else node


def _reader(graph: Graph, plan: Plan) -> tuple[Node, Tensor] | None:
    """The last node that reads hidden rows of computed tensors for what is no row, and that tensor."""
    computed = set(plan.hidings)
    found: tuple[Node, Tensor] | None = None
    for node in graph.nodes:
        read = [t for t in node.args if t.name in computed]
        if read:
            computed |= {t.name for t in node.outputs if t.name in plan.rows}
        mixes = node.op is ATTENTION or not plan.rows.keys() & {t.name for t in node.outputs}
        needed = [t for t in read if t.name in plan.rows and not plan.packs(t)]
        hides = node.op is ATTENTION and node.output.name in plan.hidings
        if needed and mixes and not hides:
            found = node, needed[0]
    return found
