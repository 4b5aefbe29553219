"""The form in which a graph is written as standard ONNX: what the passes made for kernels is taken back."""

from __future__ import annotations

from functools import partial

from camshaft.ir.graph import Graph
from camshaft.passes.canonical.shapes import SHAPE_RULES
from camshaft.passes.layout.channels_last import to_channels_first
from camshaft.passes.manager import Pass, run_passes
from camshaft.passes.rewrite import Rewrite, rewrite
from camshaft.passes.standard.attention import AttentionInParts
from camshaft.passes.standard.interleave import InterleaveInParts
from camshaft.passes.standard.rows import products_of_rows

RULES: tuple[Rewrite, ...] = (AttentionInParts(), InterleaveInParts())
FORM: tuple[Pass, ...] = (
    Pass("take-apart", partial(rewrite, rules=RULES)),
    Pass("products-of-rows", products_of_rows),
    Pass("clean-rows", partial(rewrite, rules=SHAPE_RULES)),
    Pass("channels-first", to_channels_first),
    Pass("clean", partial(rewrite, rules=SHAPE_RULES)),
)


def standard_form(graph: Graph, *, check: bool = False) -> Graph:
    """The same function of the same inputs: images are [N, C, H, W], products of rows with constant weights are
    matrix products, and attention is two of them with a softmax between.  Q/DQ nodes stay where they are.

    graph: as `pipeline.optimize` yields it, with or without Q/DQ nodes.
    """
    return run_passes(graph, FORM, level=0, check=check)
