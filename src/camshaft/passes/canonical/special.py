"""Ops whose attributes or tables make them something simpler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import axis_attr, expr_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import GATHER, POINTWISE, POOL, RESAMPLE, RESHAPE, SLICE
from camshaft.passes.canonical.slices import slice_attrs
from camshaft.passes.rewrite import Rewrite, Rewriter


class GatherToSlice(Rewrite):
    """A gather whose constant indices are evenly spaced is a slice."""

    name = "gather-to-slice"
    ops = (GATHER,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x, index = node.args
        axis = axis_attr(node, x.type.rank)
        if index.data is None or index.data.size == 0:
            return None
        extent = x.shape[axis]
        at = index.data.reshape(-1).astype(np.int64)
        if isinstance(extent, int):
            at = np.where(at < 0, at + extent, at)
        elif at.min() < 0 <= at.max():  # where the two kinds meet depends on the extent
            return None
        step = int(at[1] - at[0]) if at.size > 1 else 1
        if step < 1 or np.any(np.diff(at) != step):
            return None
        first: Extent = int(at[0])
        if first < 0 and not isinstance(extent, int):
            first = extent + first
        attrs = slice_attrs(x.shape, axis, first, at.size, step)
        label = f"{node.output.name}:slice"
        y = r.emit(SLICE, [x], attrs, like=node, output=label)
        return [r.emit(RESHAPE, [y], {"shape": node.output.shape}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("last-token")
        x = b.input("x", TensorType(f32, (2, 5, 3)))
        index = b.constant(np.asarray(-1, np.int64), "index")
        return b.graph({"y": b.emit(GATHER, [x, index], {"axis": 1}, name="gather")})


class UnitPool(Rewrite):
    """A pool with a 1x1 window and no padding only picks pixels and applies its epilogue."""

    name = "unit-pool"
    ops = (POOL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = node.args[0]
        plain = node.attrs["kernel"] == (1, 1) and node.attrs["pads"] == (0, 0, 0, 0)
        if not plain or not x.type.dtype.is_float:
            return None
        first = 1 if node.attrs["layout"] == "NHWC" else 2
        steps = [1] * 4
        steps[first : first + 2] = ints_attr(node, "strides")
        attrs: dict[str, Attr] = {
            "starts": (0,) * 4,
            "sizes": node.output.shape,
            "steps": tuple(steps),
        }
        label = f"{node.output.name}:pixels"
        y = r.emit(SLICE, [x], attrs, like=node, output=label)
        expr = expr_attr(node, "epilogue")
        return [r.emit(POINTWISE, [y, *node.args[1:]], {"expr": expr}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("subsample")
        x = b.input("x", TensorType(f32, (1, 5, 5, 2)))
        attrs: dict[str, Attr] = {
            "kind": "max",
            "kernel": (1, 1),
            "strides": (2, 2),
            "layout": "NHWC",
            "epilogue": E.unary("neg", E.inp(0)),
        }
        return b.graph({"y": b.emit(POOL, [x], attrs, name="pool")})


class IdentityResample(Rewrite):
    """A resize to the same size copies every pixel."""

    name = "identity-resize"
    ops = (RESAMPLE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = node.args[0]
        if x.shape != node.output.shape:
            return None
        for index, weight in (node.args[1:3], node.args[3:5]):
            if index.data is None or weight.data is None:
                return None
            own = np.arange(len(index.data))[:, None]
            share = np.where(index.data == own, weight.data, 0).sum(axis=1)
            rest = np.where(index.data == own, 0, weight.data)
            if np.any(share != 1.0) or np.any(rest):
                return None
        expr = expr_attr(node, "epilogue")
        return [r.emit(POINTWISE, [x, *node.args[5:]], {"expr": expr}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("resize-by-one")
        x = b.input("x", TensorType(f32, (1, 2, 3, 4)))
        tables = []
        for extent in (2, 3):
            tables.append(b.constant(np.arange(extent, dtype=np.int32)[:, None]))
            tables.append(b.constant(np.ones((extent, 1), np.float32)))
        return b.graph({"y": b.emit(RESAMPLE, [x, *tables], {"layout": "NHWC"}, name="resize")})


SPECIAL_RULES: tuple[Rewrite, ...] = (
    GatherToSlice(),
    UnitPool(),
    IdentityResample(),
)
