"""Precision by whole-graph time (design decision 2).

INT8 permits; time decides.  The fully quantized graph and the float graph are both tuned; layers
that lose by being quantized are put back to float as long as the *whole* graph, with its quantize,
dequantize and reformat steps, gets faster by it.  The float graph itself is always a candidate,
so permitting INT8 never costs time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.ir.graph import Graph

Quantize = Callable[[frozenset[str]], Graph]
"""Origins (source layer names) that must stay float -> the lowered graph."""

MOST_ROUNDS = 4


@dataclass(frozen=True)
class Decision:
    """The graph that won, the layers it keeps in float by choice, and the story in words."""

    tuned: Tuned
    kept_float: frozenset[str]
    story: str


def choose_precision(
    builder: Builder, float_graph: Graph, quantize: Quantize, *, obeyed: bool
) -> Decision:
    """The fastest of: float, fully quantized, quantized with losing layers left in float.

    obeyed: some layer is constrained to INT8, so the pure float graph is no candidate.
    """
    best = builder.tune(quantize(frozenset()), "tuning int8")
    if not builder.times:
        return Decision(best, frozenset(), "int8: permitted, nothing is timed at this level")
    as_float = builder.tune(float_graph, "tuning fp32")
    kept: frozenset[str] = frozenset()
    all_int8 = best.time_us
    for _ in range(MOST_ROUNDS):
        losers = _losers(as_float, best) - kept
        if not losers:
            break
        attempt = builder.tune(quantize(kept | losers), "tuning mixed")
        if attempt.time_us >= best.time_us:
            break
        best, kept = attempt, kept | losers
    times = (
        f"fp32 {as_float.time_us / 1e3:.3f} ms, int8 {all_int8 / 1e3:.3f} ms, "
        f"chosen {min(best.time_us, as_float.time_us) / 1e3:.3f} ms"
    )
    if as_float.time_us < best.time_us and not obeyed:
        return Decision(as_float, frozenset(), f"fp32 is fastest as a whole: {times}")
    story = f"int8 with {len(kept)} layers kept in fp32 by time" if kept else "int8"
    return Decision(best, kept, f"{story}: {times}")


def _losers(as_float: Tuned, quantized: Tuned) -> frozenset[str]:
    """Source layers of 8-bit tasks slower than the float tasks made from the same layers."""
    before = as_float.time_by_origin()
    after = quantized.time_by_origin()
    lost: set[str] = set()
    for task in quantized.tasks:
        integer = task.precision in ("u8", "i8") and task.macs
        if integer and after[task.origin] > before.get(task.origin, float("inf")):
            lost.update(task.origin)
    return frozenset(lost)
