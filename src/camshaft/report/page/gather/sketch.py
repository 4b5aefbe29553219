"""A graph as a drawing: names, operators and types, without weights, so that it outlives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from camshaft.ir.dumps.dot import attribute_lines, kind
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.report.page.data import Box, Drawing, Step


def sketch(graph: Graph) -> Drawing:
    """The graph as it is; `joined_to` says later what became of its layers."""
    boxes = [Box("input", t.name, (str(t.type),), _ends(t)) for t in graph.inputs]
    made = {t.name: i for i, t in enumerate(graph.inputs)}
    for node in graph.nodes:
        boxes.append(_layer(node, _sources(node.args, made)))
        made.update((t.name, len(boxes) - 1) for t in node.outputs)
    for name, t in zip(graph.output_names, graph.outputs, strict=True):
        boxes.append(Box("output", name, (str(t.type),), _ends(t), _sources([t], made)))
    return Drawing(graph.name, tuple(boxes))


def _sources(tensors: Iterable[Tensor], made: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(made[t.name] for t in tensors if t.name in made))


def _ends(t: Tensor) -> tuple[str, ...]:
    return (f"{t.name}: {t.type}", *(["constant"] if t.is_const else []))


def _layer(node: Node, reads: tuple[int, ...]) -> Box:
    details = (
        node.name,
        *([] if node.origin == (node.name,) else [f"from {', '.join(node.origin)}"]),
        kind(node),
        *attribute_lines(node),
        *(f"gives {t.name}: {t.type}" for t in node.outputs),
    )
    names = node.origin or (node.name,)
    return Box("layer", node.op.title(node.attrs), names, details, reads)


def joined_to(drawing: Drawing, steps: Sequence[Step]) -> Drawing:
    """The model's drawing, whose layers know what steps they became, and in which precision."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.origin if step.runs else ():
            found.setdefault(name, []).append(step)
    return replace(drawing, boxes=tuple(_joined(box, found) for box in drawing.boxes))


def _joined(box: Box, steps: Mapping[str, Sequence[Step]]) -> Box:
    if box.kind != "layer":
        return box
    became = [step for name in box.lines for step in steps.get(name, ())]
    said = (
        "became " + ", ".join(f"step {s.number}, {s.name}" for s in became)
        if became
        else "no step of its own: computed during the build, or only another view of the same bytes"
    )
    return replace(
        box,
        steps=tuple(dict.fromkeys(s.number for s in became)),
        precision=became[0].precision if became else "",
        kind=became[0].kind if became and became[0].kind in ("host", "script") else "layer",
        details=(*box.details, said),
    )
