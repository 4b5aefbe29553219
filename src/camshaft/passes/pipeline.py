"""The order of the passes: from an imported graph to the one that is placed, tuned and built.

Level 0 is the unfused graph: channels-last and without superfluous movement, but one node for one
source operator.  From level 1 on everything is fused.
"""

from __future__ import annotations

from functools import partial

from camshaft.ir.graph import Graph
from camshaft.passes.canonicalize import CANONICALIZATIONS, canonicalize
from camshaft.passes.cse import merge_equal
from camshaft.passes.fusions_affine import AFFINE_FUSIONS
from camshaft.passes.fusions_pointwise import POINTWISE_FUSIONS
from camshaft.passes.layout import to_channels_last
from camshaft.passes.manager import OnPass, Pass, run_passes
from camshaft.passes.rewrite import Rewrite, rewrite

FUSIONS: tuple[Rewrite, ...] = (*CANONICALIZATIONS, *AFFINE_FUSIONS, *POINTWISE_FUSIONS)
ALL_REWRITES: tuple[Rewrite, ...] = FUSIONS

PIPELINE: tuple[Pass, ...] = (
    Pass("canonicalize", canonicalize),
    Pass("layout", to_channels_last),
    Pass("clean", canonicalize),
    Pass("fuse", partial(rewrite, rules=FUSIONS), level=1),
    Pass("merge-equal", merge_equal, level=1),
)


def optimize(
    graph: Graph, *, level: int = 1, check: bool = False, on_pass: OnPass | None = None
) -> Graph:
    """The graph in the form that the build wants; its inputs and outputs stay as they are.

    level: 0 for the unfused graph, 1 or more for all fusions.  check, on_pass: see `run_passes`.
    """
    return run_passes(graph, PIPELINE, level=level, check=check, on_pass=on_pass)
