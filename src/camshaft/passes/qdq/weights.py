"""Quantized weights as i8 numbers, whatever zero point they came with.

A weight whose distance from its zero point fits i8 is stored as that distance.  Where some do not (u8
weights quantized asymmetrically use all 256 levels), q - 128 is stored and

    sum (x - zx) (w - zw) = sum (x - zx) w' - zw' sum (x - zx),    w' = w - 128,  zw' = zw - 128

so that the convolution stays one of bytes.  The last term, the zero point times what the window of x
sums to, is subtracted from it; it does not depend on the output channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.constants import loose_constant
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.graph import Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import f32
from camshaft.ops import CONV, REDUCE
from camshaft.ops.quantize import along_axis
from camshaft.passes.qdq.rules import QuantNode
from camshaft.passes.rewrite import Rewriter

_I8 = np.iinfo(np.int8)


@dataclass(frozen=True)
class IntegerWeights:
    """values: i8, shaped as the weights.  points: what is to be subtracted from them, f32, for each
    output channel or (rank 0) for all."""

    values: Tensor
    points: np.ndarray

    @property
    def symmetric(self) -> bool:
        """Whether nothing is to be subtracted."""
        return not self.points.any()


def integer_weights(q: QuantNode, axis: int) -> IntegerWeights | None:
    """Constant 8-bit weights quantized per tensor or along `axis`, or None if they are not."""
    by_channel = q.scale.ndim or q.zero.ndim
    if not q.source.is_const or (by_channel and q.axis != axis):
        return None
    if q.zero.dtype not in (np.int8, np.uint8):
        return None
    if q.zero.dtype == np.int8 and not q.zero.any():
        return IntegerWeights(q.source, q.zero.astype(np.float32))
    stored = q.source.array.astype(np.int16)
    zero = q.zero.astype(np.int16)
    distance = stored - along_axis(zero, axis, stored.ndim)
    outside = (distance < _I8.min) | (distance > _I8.max)
    others = tuple(a for a in range(stored.ndim) if a != axis) if zero.ndim else None
    middle = 128 if q.zero.dtype == np.uint8 else 0
    points = np.where(outside.any(axis=others), zero - middle, 0).astype(np.int16)
    values = distance + along_axis(points, axis, stored.ndim)
    whole = loose_constant(values.astype(np.int8), q.source.name)
    return IntegerWeights(whole, points.astype(np.float32))


def last_axis_sums(x: QuantNode, node: Node, r: Rewriter) -> Tensor:
    """f32 sums of x - zero over the last axis, which stays with an extent of 1."""
    centred = E.sub(E.cast(E.inp(0), f32), E.const(float(x.zero)))
    attrs: dict[str, Attr] = {"kind": "sum", "axes": (x.source.type.rank - 1,), "prologue": centred}
    return r.emit(REDUCE, [x.source], attrs, like=node, output=f"{node.output.name}:sums")


def window_sums(x: QuantNode, node: Node, r: Rewriter) -> Tensor:
    """f32 sums of x - zero over every window of the NHWC convolution `node`.

    [N,OH,OW,1], or with an own channel for each output channel where the convolution is grouped.
    """
    k, height, width, depth = fixed(node.args[1].shape, "the shape of filters")
    kept = ("strides", "pads", "dilations", "layout", "groups")
    attrs: dict[str, Attr] = {n: node.attrs[n] for n in kept}
    name = node.output.name
    if node.attrs["groups"] != 1:
        ones = r.builder.constant(np.ones((k, height, width, depth), np.int8), f"{name}:ones")
        attrs |= {"x_zero_point": int(x.zero), "epilogue": E.cast(E.inp(0), f32)}
        return r.emit(CONV, [x.source, ones], attrs, like=node, output=f"{name}:window sums")
    pixels = last_axis_sums(x, node, r)
    ones = r.builder.constant(np.ones((1, height, width, 1), np.float32), f"{name}:ones")
    return r.emit(CONV, [pixels, ones], attrs, like=node, output=f"{name}:window sums")
