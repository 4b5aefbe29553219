"""Runs named passes in order, with a check and a dump after each where wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import Graph
from camshaft.ir.verify import verify

OnPass = Callable[[str, Graph], None]


@dataclass(frozen=True)
class Pass:
    """A function from graph to graph under a name.

    level: lowest optimization level at which it runs (0: needed for correctness).  highest: beyond which it does not.
    """

    name: str
    run: Callable[[Graph], Graph]
    level: int = 0
    highest: int = 5


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    *,
    level: int,
    check: bool = False,
    on_pass: OnPass | None = None,
) -> Graph:
    """Apply the passes that belong to `level`, in order.

    check: verify the graph after every pass (ModelError names the pass that broke it).
    on_pass: called with (pass name, graph) after every pass, for dumps.
    ModelError too if a pass changes the graph's inputs or outputs.
    """
    face = _face(graph)
    for step in passes:
        if not step.level <= level <= step.highest:
            continue
        try:
            graph = step.run(graph)
        except UndecidedExtent as error:
            raise ModelError(f"pass {step.name!r}: {error}") from error
        if check:
            try:
                verify(graph)
            except ModelError as error:
                raise ModelError(f"pass {step.name!r} broke the graph: {error}") from error
        if _face(graph) != face:
            raise ModelError(f"pass {step.name!r} changed the graph's inputs or outputs")
        if on_pass:
            on_pass(step.name, graph)
    return graph


def _face(graph: Graph) -> tuple[object, ...]:
    inputs = tuple((t.name, t.type) for t in graph.inputs)
    types = tuple(t.type for t in graph.outputs)
    return inputs, tuple(zip(graph.output_names, types, strict=True))
