"""Half precision by whole-graph time: weights alone or with activations, layer by layer where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.precision import MOST_ROUNDS, Decision, losers
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.timing_cache import MARGIN
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph, Node
from camshaft.ir.types import f16, f32
from camshaft.passes.half import (
    HALF_PRECISIONS,
    Halving,
    asked_for,
    has_sums_within,
    obstacle,
    permitted_for,
    with_halves,
)
from camshaft.passes.pipeline import fuse_casts

ROOM = 4.0
"""Activations become FP16 where so many times what calibration saw would fit."""


@dataclass(frozen=True)
class HalfPrecision:
    """What is permitted, and what layers must be.

    permitted: names of half precisions.  layer_precision: source layer -> precision.
    fast: half types whose products the target has; activations are halves only there.
    magnitudes: of activations, the largest that calibration saw; without it they are not FP16.
    """

    permitted: Sequence[str]
    layer_precision: Mapping[str, str]
    fast: Sequence[str]
    magnitudes: Mapping[str, float] = field(default_factory=dict)

    @property
    def required(self) -> bool:
        """Whether some layer must be half."""
        return any(p in HALF_PRECISIONS for p in self.layer_precision.values())

    def halvings(self) -> list[Halving]:
        """Ways to try, the usual one first."""
        found = [
            Halving(HALF_PRECISIONS[n], activations=True) for n in self.permitted if n in self.fast
        ]
        return found + [Halving(HALF_PRECISIONS[n], activations=False) for n in self.permitted]

    def check(self, graph: Graph) -> None:
        """ConfigError names a layer that must be half and cannot be."""
        for layer, why in unable(graph, self.layer_precision).items():
            asked = self.layer_precision[layer]
            raise ConfigError(f"layer_precision asks for {asked} in {layer!r}, but {why}")

    def chosen(self, graph: Graph, halving: Halving, kept: frozenset[str]) -> dict[str, Halving]:
        """Output name of each layer -> how it becomes half.  kept: source layers that do not."""
        found: dict[str, Halving] = {}
        for node in graph.nodes:
            how = self._asked(node, halving)
            if how is None and not kept.intersection(node.origin) and not self._is_float(node):
                how = permitted_for(node, halving)
            if how is not None and how.activations and how.dtype == f16 and not self._fits(node):
                how = replace(how, activations=False)
            if how is not None and not obstacle(node, how):
                found[node.outputs[0].name] = how
        return found

    def _fits(self, node: Node) -> bool:
        """Whether a layer's input and sums are within FP16's range, with room for other data than were seen."""
        largest = self.magnitudes.get(node.args[0].name)
        if largest is None or not node.args[1].is_const:
            return False
        return has_sums_within(node, f16.largest / (ROOM * max(largest, f32.tiny)))

    def _asked(self, node: Node, halving: Halving) -> Halving | None:
        asked = {self.layer_precision.get(o) for o in node.origin} & set(HALF_PRECISIONS)
        if not asked:
            return None
        dtype = HALF_PRECISIONS[sorted(filter(None, asked))[0]]
        return asked_for(node, dtype, activations=halving.activations and dtype == halving.dtype)

    def _is_float(self, node: Node) -> bool:
        return any(self.layer_precision.get(o) in ("fp32", "int8") for o in node.origin)


def unable(graph: Graph, layer_precision: Mapping[str, str]) -> dict[str, str]:
    """Layers that must be half and cannot be, and why."""
    found: dict[str, str] = {}
    for layer, precision in layer_precision.items():
        if precision not in HALF_PRECISIONS:
            continue
        nodes = [n for n in graph.nodes if layer in n.origin]
        dtype = HALF_PRECISIONS[precision]
        reasons = [obstacle(n, asked_for(n, dtype, activations=True)) for n in nodes]
        if all(reasons):
            telling = [
                why for why in reasons if not why.startswith("its op")
            ]  # not of reshapes beside
            found[layer] = (telling or reasons or ["no layer of the model is called so"])[0]
    return found


def with_half_precision(builder: Builder, decision: Decision, half: HalfPrecision) -> Decision:
    """A decision so far, with layers in half precision where the whole graph is faster so, or must be."""
    half.check(decision.attempt.graph)
    tried = [made for h in half.halvings() if (made := _halved(builder, decision, half, h))]
    if not tried:
        return decision
    if not builder.times:
        return tried[0]
    fastest = min(tried, key=lambda made: made.tuned.time_us)
    if half.required or fastest.tuned.time_us < decision.tuned.time_us * (1 - MARGIN):
        return fastest
    times = ", ".join(
        f"{made.summary.partition(' in ')[0]} {made.tuned.time_us / 1e3:.3f} ms" for made in tried
    )
    without = decision.tuned.time_us / 1e3
    return replace(decision, summary=f"{decision.summary}: {without:.3f} ms; {times}")


def _halved(
    builder: Builder, decision: Decision, half: HalfPrecision, halving: Halving
) -> Decision | None:
    """The fastest graph with one way of halving; None where no layer can have it."""
    before, graph = decision.tuned, decision.attempt.graph
    kept: frozenset[str] = frozenset()
    best: tuple[Tuned, Graph, dict[str, Halving]] | None = None
    for _ in range(MOST_ROUNDS):
        how = half.chosen(graph, halving, kept)
        if not how:
            break
        made = fuse_casts(with_halves(graph, how), level=builder.level)
        tuned = builder.tune(made, f"tuning {halving}")
        if best is not None and tuned.time_us >= best[0].time_us:
            break
        best = tuned, made, how
        lost = losers(before, tuned, _of_layers(graph, how)) - kept
        if not builder.times or not lost:
            break
        kept |= lost
    if best is None:
        return None
    tuned, made, how = best
    reasons = dict(decision.attempt.reasons)
    for node in graph.nodes:
        if node.outputs[0].name in how:
            asked = any(half.layer_precision.get(o) in HALF_PRECISIONS for o in node.origin)
            why = "layer_precision" if asked else "permitted"
            reasons.update((o, f"{how[node.outputs[0].name]}: {why}") for o in node.origin)
    summary = f"{halving} in {len(how)} layers, {decision.summary or 'fp32'}"
    if builder.times:
        summary += f"; {before.time_us / 1e3:.3f} ms without, {tuned.time_us / 1e3:.3f} ms so"
    return Decision(replace(decision.attempt, graph=made, reasons=reasons), tuned, summary)


def _of_layers(graph: Graph, how: Mapping[str, Halving]) -> Callable[[Task], bool]:
    """Whether a task computes one of the layers."""
    layers = {o for n in graph.nodes if n.outputs[0].name in how for o in n.origin}
    return lambda task: not layers.isdisjoint(task.origin)
