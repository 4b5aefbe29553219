"""Other graphs of the same meaning as a float graph, which may be faster."""

from __future__ import annotations

from camshaft.ir.graph import Graph
from camshaft.passes.half import exact_halves, with_halves
from camshaft.passes.pipeline import fuse_casts, with_merged_siblings

MERGE_SIBLINGS_FROM = 3
"""Optimization level from which merged sibling convolutions are tried."""


def float_variants(graph: Graph, level: int) -> list[Graph]:
    """With sibling convolutions merged, and with weights that are half floats stored so."""
    if level < MERGE_SIBLINGS_FROM:
        return []
    merged = with_merged_siblings(graph)
    variants = [] if merged is graph else [merged]
    halves = exact_halves(graph)
    if halves:
        variants.append(fuse_casts(with_halves(graph, halves), level=level))
    return variants
