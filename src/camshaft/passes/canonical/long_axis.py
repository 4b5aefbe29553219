"""One-dimensional convolutions and pools run along the width, which the register tile follows.

Exporters write Conv1D as a convolution of images of one column: H is long, W is 1.  H and W change
places, which moves no element.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir.attrs import extents_attr, ints_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import CONV, POOL, RESHAPE
from camshaft.passes.canonical.shapes import reshaped
from camshaft.passes.rewrite import Rewrite, Rewriter

_PAIRS = ("strides", "dilations", "kernel")


class LongAxisIsWidth(Rewrite):
    """conv or pool of [N, H, 1, C] with a window of one column -> that of [N, 1, H, C]."""

    name = "long-axis-is-width"
    ops = (CONV, POOL)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if node.attrs["layout"] != "NHWC" or not _is_column(node):
            return None
        out = node.output
        images = 2 if node.op is CONV else 1  # weights [K, R, 1, C/groups] turn like images
        inputs = [reshaped(r, t, _turned(t.shape), node, "turned") for t in node.args[:images]]
        for t in node.args[images:]:
            along_height = t.type.rank >= 3 and t.shape[-3] != 1
            shape = _turned((1,) * (4 - t.type.rank) + t.shape) if along_height else t.shape
            inputs.append(reshaped(r, t, shape, node, "turned"))
        top, left, bottom, right = ints_attr(node, "pads")
        attrs: dict[str, Attr] = {**node.attrs, "pads": (left, top, right, bottom)}
        for name in _PAIRS:
            if name in attrs:
                attrs[name] = extents_attr(node, name)[::-1]
        y = r.emit(node.op, inputs, attrs, like=node, output=f"{out.name}:turned")
        return [r.emit(RESHAPE, [y], {"shape": out.shape}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("column")
        x = b.input("x", TensorType(f32, (1, 9, 1, 4)))
        w = b.constant(np.random.default_rng(0).standard_normal((3, 5, 1, 4), np.float32), "w")
        attrs: dict[str, Attr] = {"layout": "NHWC", "pads": (2, 0, 1, 0), "strides": (2, 1)}
        return b.graph({"y": b.emit(CONV, [x, w], attrs, name="conv")})


def _is_column(node: Node) -> bool:
    """Whether only the height has more than one place."""
    window = node.args[1].shape[2] if node.op is CONV else extents_attr(node, "kernel")[1]
    one_column = node.args[0].shape[2] == 1 and node.output.shape[2] == 1 and window == 1
    return one_column and node.args[0].shape[1] != 1


def _turned(shape: Shape) -> Shape:
    n, h, w, c = shape
    return n, w, h, c


LONG_AXIS_RULES: tuple[Rewrite, ...] = (LongAxisIsWidth(),)
