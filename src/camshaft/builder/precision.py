"""Precision by whole-graph time.

Where INT8 is permitted, measured time decides.  The fully quantized graph and the float graph are
both tuned; layers that are slower quantized are put back to float as long as the *whole* graph,
with its quantize, dequantize and reformat steps, gets faster by it.  The float graph, in the form that a
float build would have, is always a candidate, so permitting INT8 never costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.timing_cache import MARGIN
from camshaft.ir.graph import Graph

MOST_ROUNDS = 4
VARIANT = " merged siblings"
"""What names the stage in which a variant of the float graph is tuned."""


@dataclass(frozen=True)
class Attempt:
    """One choice of precisions.

    graph: ready to be tuned.  quantized: the Q/DQ graph it was lowered from, None for a float one.
    reasons: source layer -> why it has its precision in this graph.
    apart: source layer -> input channels that its INT8 product leaves to floats.
    """

    graph: Graph
    quantized: Graph | None
    reasons: Mapping[str, str]
    apart: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_int8(self) -> bool:
        """Whether some layer is INT8."""
        return any(why.startswith("int8") for why in self.reasons.values())


Quantize = Callable[[frozenset[str]], Attempt]
"""Source layers that must stay float -> the graph with all others in INT8."""


@dataclass(frozen=True)
class Decision:
    """The attempt that won, with its kernels, and the decision in words."""

    attempt: Attempt
    tuned: Tuned
    summary: str


def fastest_float(
    builder: Builder, plain: Tuned, variants: Sequence[Graph], stage: str = "tuning"
) -> Tuned:
    """The float graph, or one of its variants that is faster by more than noise.

    variants: graphs of the same meaning, such as the one with sibling convolutions merged.
    """
    best = plain
    for graph in variants:
        tuned = builder.tune(graph, f"{stage}{VARIANT}")
        if tuned.time_us < best.time_us * (1 - MARGIN):
            best = tuned
    return best


def announce_variants(
    builder: Builder, before: Sequence[Graph], variants: Sequence[Graph], stage: str = "tuning"
) -> None:
    """Tell progress what `fastest_float` will have to time of the variants.  before: graphs that are tuned first."""
    for graph in variants:
        builder.announce(graph, f"{stage}{VARIANT}", before)


def choose_precision(
    builder: Builder,
    as_float: Attempt,
    quantize: Quantize,
    variants: Sequence[Graph] = (),
    *,
    int8_required: bool,
) -> Decision:
    """The fastest of: float, fully quantized, quantized with losing layers left in float.

    variants: as for `fastest_float`.  int8_required: some layer must be INT8, so pure float graphs are
    no candidates.
    """
    best = quantize(frozenset())
    builder.announce(as_float.graph, "tuning fp32", [best.graph])
    if builder.times and not int8_required:
        announce_variants(builder, [best.graph, as_float.graph], variants, "tuning fp32,")
    tuned = builder.tune(best.graph, "tuning int8")
    if not builder.times:
        what = "int8: permitted, nothing is timed at this level" if best.has_int8 else "fp32"
        return Decision(best, tuned, what)
    float_tuned = builder.tune(as_float.graph, "tuning fp32")
    kept: frozenset[str] = frozenset()
    all_int8 = tuned.time_us
    for _ in range(MOST_ROUNDS):
        lost = losers(float_tuned, tuned, lambda task: task.is_int8) - kept
        if not lost:
            break
        attempt = quantize(kept | lost)
        mixed = builder.tune(attempt.graph, "tuning mixed")
        if mixed.time_us >= tuned.time_us:
            break
        best, tuned, kept = attempt, mixed, kept | lost
    if not int8_required:
        float_tuned = fastest_float(builder, float_tuned, variants, "tuning fp32,")
        as_float = replace(as_float, graph=float_tuned.graph)
    times = (
        f"fp32 {float_tuned.time_us / 1e3:.3f} ms, int8 {all_int8 / 1e3:.3f} ms, "
        f"chosen {min(tuned.time_us, float_tuned.time_us) / 1e3:.3f} ms"
    )
    if float_tuned.time_us < tuned.time_us and not int8_required:
        return Decision(as_float, float_tuned, f"fp32 is fastest as a whole: {times}")
    what = f"int8 with {len(kept)} layers kept in fp32 by time" if kept else "int8"
    return Decision(best, tuned, f"{what}: {times}")


def losers(before: Tuned, after: Tuned, changed: Callable[[Task], bool]) -> frozenset[str]:
    """Source layers of changed tasks with products that are slower than those made of the same layers
    before."""
    was, now = before.time_by_origin(), after.time_by_origin()
    lost: set[str] = set()
    for task in after.tasks:
        slower = now[task.origin] > was.get(task.origin, float("inf"))
        if slower and task.macs != 0 and changed(task):
            lost.update(task.origin)
    return frozenset(lost)
