"""Explicit padding moves into the window that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.attrs import extents_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent, is_positive, is_static
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONV, PAD, POOL
from camshaft.ops.pooling import pool_divisors
from camshaft.passes.ranges import value_bounds
from camshaft.passes.rewrite import Rewrite, Rewriter


def _value(pad: Node) -> float | None:
    """The constant that is padded with, or None for other modes."""
    value = pad.attrs["value"]
    return (
        float(value) if pad.attrs["mode"] == "constant" and isinstance(value, int | float) else None
    )


def _window_pads(pad: Node, node: Node) -> tuple[int, int, int, int] | None:
    """top, left, bottom, right of the pad and the window together; None if it pads other axes."""
    rows, cols = (1, 2) if node.attrs["layout"] == "NHWC" else (2, 3)
    before, after = ints_attr(pad, "before"), ints_attr(pad, "after")
    if any(before[a] or after[a] for a in range(4) if a not in (rows, cols)):
        return None
    top, left, bottom, right = ints_attr(node, "pads")
    return top + before[rows], left + before[cols], bottom + after[rows], right + after[cols]


def _fits(node: Node, x: Tensor, attrs: dict[str, Attr]) -> bool:
    """Whether the node yields the same type when reading `x` with these attributes."""
    try:
        types = node.op.infer([x.type, *(t.type for t in node.args[1:])], attrs)
    except ModelError:
        return False
    return list(types) == [t.type for t in node.outputs]


class MergePads(Rewrite):
    """pad > pad with one constant: amounts add up."""

    name = "merge-pads"
    ops = (PAD,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], PAD)
        if first is None or _value(first) is None or _value(first) != _value(node):
            return None
        attrs = dict(node.attrs)
        for name in ("before", "after"):
            pairs = zip(extents_attr(first, name), extents_attr(node, name), strict=True)
            attrs[name] = tuple(a + b for a, b in pairs)
        return [r.emit(PAD, first.inputs, attrs, like=[first, node])]

    def example(self) -> Graph:
        b = GraphBuilder("pad-twice")
        x = b.input("x", TensorType(f32, (2, 3)))
        y = b.emit(PAD, [x], {"before": (0, 1), "after": (0, 0), "value": 2.0}, name="left")
        attrs: dict[str, Attr] = {"before": (0, 0), "after": (1, 1), "value": 2.0}
        return b.graph({"y": b.emit(PAD, [y], attrs, name="rest")})


class PadIntoConv(Rewrite):
    """pad > conv: the convolution pads, if the value is the one it pads with anyway."""

    name = "pad-into-conv"
    ops = (CONV,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        pad = r.producer(node.args[0], PAD)
        if pad is None or _value(pad) != node.attrs["x_zero_point"]:
            return None
        pads = _window_pads(pad, node)
        if pads is None:
            return None
        inputs = [pad.args[0], *node.args[1:]]
        return [r.emit(CONV, inputs, {**node.attrs, "pads": pads}, like=[pad, node])]

    def example(self) -> Graph:
        b = GraphBuilder("pad-conv")
        x = b.input("x", TensorType(f32, (1, 2, 5, 5)))
        attrs: dict[str, Attr] = {"before": (0, 0, 1, 0), "after": (0, 0, 2, 1)}
        y = b.emit(PAD, [x], attrs, name="pad")
        w = b.constant(np.random.default_rng(0).standard_normal((3, 2, 3, 3), np.float32), "w")
        conv: dict[str, Attr] = {"layout": "NCHW", "pads": (0, 1, 0, 1)}
        return b.graph({"y": b.emit(CONV, [y, w], conv, name="conv")})


class PadIntoPool(Rewrite):
    """pad > pool: the pool pads.

    A max pool ignores padding, so the value must be no larger than anything the input holds
    (minus infinity, or zero behind a ReLU).  An average counts zeros it padded itself only with
    count_include_pad, which therefore must describe all of the padding.
    """

    name = "pad-into-pool"
    ops = (POOL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        pad = r.producer(node.args[0], PAD)
        value = _value(pad) if pad is not None else None
        if pad is None or value is None or not is_static(extents_attr(node, "kernel")):
            return None
        pads = _window_pads(pad, node)
        if pads is None:
            return None
        x = pad.args[0]
        attrs: dict[str, Attr] = {**node.attrs, "pads": pads}
        if node.attrs["kind"] == "avg":
            padded = ints_attr(node, "pads") != (0, 0, 0, 0)
            if value != node.attrs["x_zero_point"] or (padded and not attrs["count_include_pad"]):
                return None
            attrs["count_include_pad"] = True
        elif value != -np.inf and (value > value_bounds(x, r)[0] or not _all_real(node, x, attrs)):
            return None
        if not _fits(node, x, attrs):
            return None
        return [r.emit(POOL, [x, *node.args[1:]], attrs, like=[pad, node])]

    def example(self) -> Graph:
        b = GraphBuilder("pad-pool")
        x = b.input("x", TensorType(f32, (1, 2, 6, 6)))
        attrs: dict[str, Attr] = {"before": (0, 0, 1, 1), "after": (0, 0, 1, 1)}
        y = b.emit(PAD, [x], attrs, name="pad")
        pool: dict[str, Attr] = {"kind": "avg", "kernel": (3, 3), "strides": (2, 2)}
        return b.graph({"y": b.emit(POOL, [y], {**pool, "layout": "NCHW"}, name="pool")})


def _all_real(node: Node, x: Tensor, attrs: dict[str, Attr]) -> bool:
    """Whether every window holds at least one element that is not padding."""
    first = 1 if node.attrs["layout"] == "NHWC" else 2
    sizes, outs = x.shape[first : first + 2], node.output.shape[first : first + 2]
    return all(_all_real_along(a, sizes[a], outs[a], attrs) for a in (0, 1))


def _all_real_along(axis: int, size: Extent, out: Extent, attrs: Mapping[str, Any]) -> bool:
    if not isinstance(size, int):
        # A window without gaps that ends within the padded image and is longer than the padding.
        pads = attrs["pads"][axis], attrs["pads"][axis + 2]
        whole = attrs["dilations"][axis] == 1 and not attrs["ceil_mode"]
        return bool(whole and max(pads) < attrs["kernel"][axis]) and is_positive(size)
    windows = fixed_extent(out, "windows of a pool")
    divisors = pool_divisors(size, windows, axis, {**attrs, "count_include_pad": False})
    return bool(np.all(divisors > 0))


PAD_RULES: tuple[Rewrite, ...] = (MergePads(), PadIntoConv(), PadIntoPool())
