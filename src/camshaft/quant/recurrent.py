"""INT8 weights of recurrent layers, which need no calibration: hidden states of tanh and sigmoid lie between -1 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from camshaft.ir.attrs import expr_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import f32
from camshaft.ops import RECURRENT
from camshaft.ops.recurrent import given_of, has_bounded_states
from camshaft.quant.placement import asked_of
from camshaft.quant.scheme import FEWEST_TERMS, quantize, weight_params


def may_have_bytes(node: Node) -> bool:
    """Whether a recurrent layer's weights are floats that may become bytes: its states are bounded."""
    functions = [expr_attr(node, name) for name in "fgh" if name in node.attrs]
    floats = node.args[1].is_const and node.args[1].type.dtype == f32
    return floats and has_bounded_states(str(node.attrs["cell"]), functions)


def with_bytes(b: GraphBuilder, node: Node) -> Sequence[Tensor]:
    """The results of a recurrent layer with weights of bytes, a scale for each row of gates."""
    gates, r, *rest = node.args
    names = [f"{r.name}:int8", f"{r.name}:scale"]
    constants = b.all_derived(_bytes_of, [r], names, of=r.name)
    attrs: dict[str, Attr] = {**node.attrs, "given": ("scale", *given_of(node))}
    return b.add(node.op, [gates, *constants, *rest], attrs, like=node, name=node.name)


def _bytes_of(r: np.ndarray, of: str) -> tuple[np.ndarray, np.ndarray]:
    """Recurrent weights f32 [.., gates, K] as i8, and a scale f32 for each row."""
    rows = r.reshape(-1, r.shape[-1])
    params = weight_params(rows, 0, of)
    scale = np.asarray(params.scale, np.float32).reshape(r.shape[:2])
    return quantize(rows, params).reshape(r.shape), scale


def with_recurrent_bytes(
    graph: Graph, wanted: Mapping[str, str], keep_float: frozenset[str]
) -> tuple[Graph, dict[str, str]]:
    """The graph with such weights in all recurrent layers that may have them, and why layers have them.

    wanted: source layer -> precision.  keep_float: layers that stay as they are.
    """
    rebuild, reasons = Rebuild(graph), dict[str, str]()
    for old in graph.nodes:
        node = rebuild.present(old)
        asked = asked_of(old, wanted) if old.op is RECURRENT else ""
        if old.op is RECURRENT and _becomes_bytes(old, asked, keep_float):
            rebuild.replace(old, with_bytes(rebuild.builder, node))
            why = "layer_precision" if asked else "permitted"
            reasons.update(
                (layer, f"int8: {why}, weights; states need no ranges") for layer in old.origin
            )
        else:
            rebuild.replace(old, rebuild.carry(node))
    return (rebuild.finish(), reasons) if reasons else (graph, reasons)


def _becomes_bytes(node: Node, asked: str, keep_float: frozenset[str]) -> bool:
    """asked: the precision that a recurrent layer must have, if any."""
    if asked == "fp32" or not may_have_bytes(node):
        return False
    large = node.args[1].shape[-1] >= FEWEST_TERMS
    return asked == "int8" or (large and keep_float.isdisjoint(node.origin))
