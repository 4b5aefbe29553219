"""From a channels-last Q/DQ graph to integer kernels: the rules of `qdq` in their order.

Runs on what `pipeline.optimize` yields, for models that come quantized and for graphs in which
`quant` has placed Q/DQ alike.  A graph without Q/DQ passes through unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.types import TensorType, f32, u8
from camshaft.ops import DEQUANTIZE, POINTWISE, QUANTIZE, TRANSPOSE
from camshaft.passes.cse import merge_equal
from camshaft.passes.fusions.pointwise import LATE_FUSIONS, PullWidening
from camshaft.passes.manager import OnPass, Pass, run_passes
from camshaft.passes.pipeline import FUSIONS
from camshaft.passes.qdq.few_bits import COLUMN_RULES
from camshaft.passes.qdq.integer import BIAS_RULES, EXPAND_RULES, INTEGER_RULES
from camshaft.passes.qdq.plugins import PLUGIN_RULES
from camshaft.passes.qdq.requantize import REQUANTIZE_RULES
from camshaft.passes.qdq.rules import LEVEL_RULES, MOVE_RULES, unsign
from camshaft.passes.rewrite import Rewrite, Rewriter, rewrite


def is_quantized(graph: Graph) -> bool:
    """Whether the graph holds quantize or dequantize nodes."""
    return any(n.op in (QUANTIZE, DEQUANTIZE) for n in graph.nodes)


def quantizes_activations(graph: Graph) -> bool:
    """Whether the graph says itself which activations are quantized, not of weights alone what they are."""
    return any(n.op is QUANTIZE for n in graph.nodes)


def lower_quantization(
    graph: Graph,
    *,
    integer: bool = True,
    level: int = 1,
    check: bool = False,
    on_pass: OnPass | None = None,
) -> Graph:
    """Integer convolutions for [DQ, DQ] > conv, pointwise expressions for the rest, then fused.

    integer: False computes every layer in float on dequantized values (INT8 not permitted).
    level: 0 leaves out the fusions, as `optimize` does.  check, on_pass: see `run_passes`.
    """
    if not is_quantized(graph):
        return graph
    passes = [p for p in LOWERING if integer or p is not INTEGER]
    return run_passes(graph, passes, level=level, check=check, on_pass=on_pass)


class TransposeFirst(Rewrite):
    """transpose(pointwise(x)) -> pointwise(transpose(x)), which is one step: a pointwise kernel
    reads through any strides, so the image is quantized and made channels-last in one go."""

    name = "transpose-first"
    ops = (TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        made = r.producer(node.args[0], POINTWISE)
        if made is None or not r.single_use(node.args[0]):
            return None
        if any(t.shape != made.output.shape and t.type.size != 1 for t in made.args):
            return None
        turned = [
            r.emit(TRANSPOSE, [t], node.attrs, like=node, output=f"{t.name}:turned")
            if t.shape == made.output.shape and t.type.rank
            else t
            for t in made.args
        ]
        return [r.emit(POINTWISE, turned, made.attrs, like=[made, node])]

    def example(self) -> Graph:
        b = GraphBuilder("transpose first")
        x = b.input("x", TensorType(f32, (1, 3, 2, 4)))
        q = b.emit(POINTWISE, [x], {"expr": E.cast(E.inp(0), u8)}, name="q")
        return b.graph({"y": b.emit(TRANSPOSE, [q], {"perm": (0, 2, 3, 1)}, name="t")})


INTEGER = Pass("integer", partial(rewrite, rules=(*LEVEL_RULES, *INTEGER_RULES, *PLUGIN_RULES)))
LOWERING: tuple[Pass, ...] = (
    Pass("unsign", unsign),
    Pass("move-quantization", partial(rewrite, rules=(*BIAS_RULES, *MOVE_RULES))),
    Pass("merge-equal", merge_equal),
    INTEGER,
    Pass("keep-weights", partial(rewrite, rules=COLUMN_RULES)),
    Pass("expand-quantization", partial(rewrite, rules=EXPAND_RULES)),
    Pass("pull-widening", partial(rewrite, rules=(PullWidening(),)), level=1),
    Pass("fuse", partial(rewrite, rules=FUSIONS), level=1),
    Pass("fold-requantization", partial(rewrite, rules=REQUANTIZE_RULES)),
    Pass("fuse-again", partial(rewrite, rules=FUSIONS), level=1),
    Pass("fuse-late", partial(rewrite, rules=(*FUSIONS, *LATE_FUSIONS)), level=1),
    Pass("merge-equal-again", merge_equal),
    Pass("transpose-first", partial(rewrite, rules=(TransposeFirst(),))),
)
