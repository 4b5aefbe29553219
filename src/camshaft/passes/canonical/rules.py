"""Clean-up that every other pass relies on: one spelling for each meaning, nothing superfluous.

The rules live in small families (the modules of `canonical`); this module lists them in the order
in which they are tried and adds what is not a local rewrite: common subexpressions.  Dead code disappears with
every sweep, and nodes whose inputs are all constant are folded as the builder adds them.
"""

from __future__ import annotations

from camshaft.ir.graph import Graph
from camshaft.passes.canonical.empty import EMPTY_RULES
from camshaft.passes.canonical.pads import PAD_RULES
from camshaft.passes.canonical.pointwise import POINTWISE_RULES
from camshaft.passes.canonical.shapes import SHAPE_RULES
from camshaft.passes.canonical.slices import SLICE_RULES
from camshaft.passes.canonical.special import SPECIAL_RULES
from camshaft.passes.cse import merge_equal
from camshaft.passes.rewrite import Rewrite, rewrite

CANONICALIZATIONS: tuple[Rewrite, ...] = (
    *EMPTY_RULES,
    *SHAPE_RULES,
    *SLICE_RULES,
    *PAD_RULES,
    *SPECIAL_RULES,
    *POINTWISE_RULES,
)


def canonicalize(graph: Graph) -> Graph:
    """Common subexpressions merged, then all clean-up rules until nothing fires."""
    return rewrite(merge_equal(graph), CANONICALIZATIONS)
