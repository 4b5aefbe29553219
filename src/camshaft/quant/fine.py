"""Activations in two parts of 8 bits, for the layers whose rounding is heard most.

What a convolution reads is x = s1 (q1 - z1) + r with the rest r within half a level, which is quantized again: s2 = s1 / 255.
With W8 the layer's weights,

    y = conv(s1 (q1 - z1), W8) + conv(s2 (q2 - z2), W8),

two products of bytes, which rounds activations to some 16 bits and takes about twice the time of one.  Both are ordinary
integer convolutions; the second one's result is an operand of the first one's epilogue.

Where this pays: a product of bytes takes a quarter of the multiply-add instructions of one of floats with VNNI (`vpdpbusd` makes 4 products
a lane, `vfmadd` 1), so that two take half; without VNNI bytes are widened to pairs of 16 bits (`vpmaddwd`, 2 products a lane, with
instructions beside it that widen), so that two take as long as floats or longer.  A build that times kernels finds out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import GraphBuilder, Node, Tensor
from camshaft.ops import CONV, POINTWISE
from camshaft.quant.scheme import SMALLEST_SCALE, QuantParams

WORDS = "its input in two parts of 8 bits"
"""The decision as part of a layer's reason."""
MIDDLE = 128


def of_rest(params: QuantParams) -> QuantParams:
    """Parameters of what quantizing leaves: half a level of `params` to either side."""
    scale = max(float(params.scale) / 255, SMALLEST_SCALE)
    return QuantParams(
        np.asarray(scale, np.float32), np.asarray(MIDDLE, params.dtype.numpy), params.dtype
    )


def difference(b: GraphBuilder, given: Tensor, high: Tensor) -> Tensor:
    """What quantizing left of a float tensor, in the new graph."""
    attrs = {"expr": E.sub(E.inp(0), E.inp(1))}
    return b.emit(POINTWISE, [given, high], attrs, name=f"rest of {given.name}")


def product_of_rest(b: GraphBuilder, node: Node, low: Tensor, weights: Tensor) -> Tensor:
    """The product of the rest with a convolution's weights.  low: the quantized rest, in the new graph."""
    attrs = {k: v for k, v in node.attrs.items() if k != "epilogue"}
    return b.emit(
        CONV, [low, weights], attrs, like=node, name=f"rest {node.name}", output=f"{node.output.name}:rest",
    )  # fmt: skip


Fine = Mapping[str, QuantParams]
"""Output of a convolution -> parameters of the coarse part of its input."""
