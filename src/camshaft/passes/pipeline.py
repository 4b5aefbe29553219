"""The order of the passes: from an imported graph to the one that is placed, tuned and built.

Level 0 is the unfused graph: channels-last and without superfluous movement, but one node for one
source operator, and recurrent layers step by step.  From level 1 on everything is fused.
"""

from __future__ import annotations

from functools import partial

from camshaft.ir.graph import Graph
from camshaft.passes.canonical.conv_transpose import LOWERINGS
from camshaft.passes.canonical.equal_extents import settle_extents
from camshaft.passes.canonical.long_axis import LONG_AXIS_RULES
from camshaft.passes.canonical.rules import CANONICALIZATIONS, canonicalize
from camshaft.passes.canonical.shapes import SHAPE_RULES
from camshaft.passes.canonical.unrolled import unrolled
from camshaft.passes.cse import merge_equal
from camshaft.passes.fusions.affine import AFFINE_FUSIONS
from camshaft.passes.fusions.attention import ATTENTION_FUSIONS
from camshaft.passes.fusions.matmul import MATMUL_FUSIONS, MATMUL_RULES
from camshaft.passes.fusions.movement import MOVEMENT_FUSIONS
from camshaft.passes.fusions.pointwise import LATE_FUSIONS, POINTWISE_FUSIONS, PullWidening
from camshaft.passes.fusions.reduce import REDUCE_FUSIONS
from camshaft.passes.fusions.shuffle import SHUFFLE_FUSIONS
from camshaft.passes.fusions.siblings import merge_siblings
from camshaft.passes.fusions.slices import SLICE_FUSIONS
from camshaft.passes.layout.channels_last import to_channels_last
from camshaft.passes.manager import OnPass, Pass, run_passes
from camshaft.passes.qdq.few_bits import BLOCK_RULES
from camshaft.passes.rewrite import Rewrite, rewrite
from camshaft.passes.stored_halves import HALF_RULES
from camshaft.recurrence.chains import fuse_cells

FUSIONS: tuple[Rewrite, ...] = (
    *CANONICALIZATIONS,
    *REDUCE_FUSIONS,
    *AFFINE_FUSIONS,
    *POINTWISE_FUSIONS,
    *MOVEMENT_FUSIONS,
    *MATMUL_FUSIONS,
    *SLICE_FUSIONS,
    *SHUFFLE_FUSIONS,
)
ALL_REWRITES: tuple[Rewrite, ...] = (
    *LOWERINGS,
    *BLOCK_RULES,
    *FUSIONS,
    *MATMUL_RULES,
    *ATTENTION_FUSIONS,
    *LATE_FUSIONS,
    *LONG_AXIS_RULES,
    PullWidening(),
    *HALF_RULES,
)

PIPELINE: tuple[Pass, ...] = (
    Pass("unroll", unrolled, highest=0),
    Pass("settle-extents", settle_extents),
    Pass("canonicalize", canonicalize),
    Pass("recurrence", fuse_cells, level=1),
    Pass("lower", partial(rewrite, rules=(*LOWERINGS, *BLOCK_RULES))),
    Pass("layout", to_channels_last),
    Pass("clean", canonicalize),
    Pass("fuse", partial(rewrite, rules=FUSIONS), level=1),
    Pass("attention", partial(rewrite, rules=(*CANONICALIZATIONS, *ATTENTION_FUSIONS)), level=1),
    Pass("matmul-to-conv", partial(rewrite, rules=MATMUL_RULES), level=1),
    Pass("fuse-again", partial(rewrite, rules=FUSIONS), level=1),
    Pass("merge-equal", merge_equal, level=1),
    Pass("fuse-late", partial(rewrite, rules=(*FUSIONS, *LATE_FUSIONS)), level=1),
    Pass("long-axis", partial(rewrite, rules=(*LONG_AXIS_RULES, *SHAPE_RULES))),
)
SIBLINGS = Pass("merge-siblings", merge_siblings)


def optimize(
    graph: Graph,
    *,
    level: int = 1,
    check: bool = False,
    on_pass: OnPass | None = None,
) -> Graph:
    """The graph in the form that the build wants; its inputs and outputs stay as they are.

    level: 0 for the unfused graph, 1 or more for all fusions.  check, on_pass: see `run_passes`.
    """
    return run_passes(graph, PIPELINE, level=level, check=check, on_pass=on_pass)


def with_merged_siblings(
    graph: Graph, *, check: bool = False, on_pass: OnPass | None = None
) -> Graph:
    """An optimized graph with sibling convolutions merged (see `fusions.siblings`); `graph` itself
    where there are none."""
    return run_passes(graph, (SIBLINGS,), level=0, check=check, on_pass=on_pass)


CASTS: tuple[Pass, ...] = (
    Pass("fuse-casts", partial(rewrite, rules=FUSIONS), level=1),
    Pass("merge-equal", merge_equal, level=1),
    Pass("fuse-late", partial(rewrite, rules=(*FUSIONS, *LATE_FUSIONS)), level=1),
)


def fuse_casts(graph: Graph, *, level: int = 1, check: bool = False) -> Graph:
    """An optimized graph into which casts were put, with these taken into what makes or reads them."""
    return run_passes(graph, CASTS, level=level, check=check)
