"""Interleaved images as movements that standard ONNX has."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.ir.attrs import ints_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr, OpDef
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONCAT, INTERLEAVE, RESHAPE, TRANSPOSE
from camshaft.passes.layout.shapes import CHANNELS_FIRST, CHANNELS_LAST
from camshaft.passes.rewrite import Rewrite, Rewriter


class InterleaveInParts(Rewrite):
    """interleave -> concat along channels, whose groups are then laid between each other (depth to space)."""

    name = "interleave-in-parts"
    ops = (INTERLEAVE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        by_h, by_w = ints_attr(node, "blocks")
        n, h, w, c = node.args[0].shape
        base = node.output.name

        def moved(op: OpDef, x: list[Tensor], attrs: dict[str, Attr], what: str) -> Tensor:
            return r.emit(op, x, attrs, like=node, output=f"{base}:{what}")

        first: dict[str, Attr] = {"perm": CHANNELS_FIRST}
        parts = [moved(TRANSPOSE, [t], first, "part") for t in node.args]
        joined = moved(CONCAT, parts, {"axis": 1}, "parts")
        split = moved(RESHAPE, [joined], {"shape": (n, by_h, by_w, c, h, w)}, "split")
        between = moved(TRANSPOSE, [split], {"perm": (0, 3, 4, 1, 5, 2)}, "between")
        whole = moved(RESHAPE, [between], {"shape": (n, c, h * by_h, w * by_w)}, "whole")
        return [r.emit(TRANSPOSE, [whole], {"perm": CHANNELS_LAST}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("interleave")
        parts = [b.input(n, TensorType(f32, (1, 2, 3, 4))) for n in "abcdef"]
        return b.graph({"y": b.emit(INTERLEAVE, parts, {"blocks": (2, 3)}, name="interleave")})
