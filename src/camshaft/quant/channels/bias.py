"""Bias correction: quantized weights shift the mean of what a convolution computes; undo it.

Stands between calibration, which collects the mean of every channel that a convolution reads, and
`insertion`, which writes the correction into the convolution's bias.  Rounding the weights adds
W_q - W to them.  Over a layer's inputs that is noise but for its mean,

    shift[k] = sum over c, r, s of (W_q - W)[k,r,s,c] * E[x_c at tap (r, s)],

the same for every image, since what a channel holds after a ReLU is mostly its mean.  It is the
larger part of the error in layers with few weights an output (depthwise ones above all), where it
does not average out.

At tap (r, s) some output pixels read padding, which is exactly zero: E[x_c at tap] is taken as
E[x_c] times the share of output pixels for which the tap lies inside the image.  That is exact up to the
difference between border and interior, and matters on small images (a corner tap of a 3x3 filter
lies outside for a quarter of the pixels of a 7x7 image).

Source: M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
ICCV 2019, section 4.2; here with the means of calibration data instead of batch-norm's.
"""

from __future__ import annotations

import numpy as np

from camshaft.errors import CalibrationError
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import GraphBuilder, Node, Tensor
from camshaft.ir.types import f32


class ChannelMeans:
    """Mean of every channel of one channels-last tensor over all calibration data.

    Sums are kept in float64, so that order and size of the batches change them in the 15th digit
    only, and means are rounded to float32, of which that digit is no part.
    """

    __slots__ = ("_count", "_sums", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._sums: np.ndarray | None = None
        self._count = 0

    def add(self, sums: np.ndarray, count: int) -> None:
        """Take in the sums, float64 [C], of `count` values of each channel."""
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += count

    @property
    def mean(self) -> np.ndarray:
        """float64 [C]; CalibrationError while nothing has been seen."""
        if self._sums is None or not self._count:
            raise CalibrationError(f"tensor {self.name!r}: calibration saw no value of it")
        return (self._sums / self._count).astype(np.float32).astype(np.float64)


def less_shift(
    b: GraphBuilder, node: Node, operands: list[Tensor], shift: Tensor
) -> tuple[Expr, list[Tensor]]:
    """The epilogue that takes `shift`, a constant f64 [K], off the accumulator, and its operands.

    operands: those of `node` in the graph being built.  The bias absorbs it where there is one; else
    it becomes an operand more.
    """
    epilogue = expr_attr(node, "epilogue")
    bias = _bias(epilogue, operands, len(shift.content))
    if bias is None:
        correction = b.derived(_opposite, [shift], f"{node.output.name}:correction")
        corrected = E.add(E.inp(0), E.inp(len(operands) + 1))
        rest = [E.inp(i + 1) for i in range(len(operands))]
        return E.substitute(epilogue, [corrected, *rest]), [*operands, correction]
    old = operands[bias]
    corrected_bias = b.derived(_less, [old, shift], f"{old.name}:corrected")
    return epilogue, [*operands[:bias], corrected_bias, *operands[bias + 1 :]]


def _opposite(shift: np.ndarray) -> np.ndarray:
    return np.asarray(-shift, np.float32)


def _less(bias: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.asarray(bias.astype(np.float64) - shift.reshape(bias.shape), np.float32)


def _bias(epilogue: Expr, operands: list[Tensor], channels: int) -> int | None:
    """Index of the operand that is nothing but a bias added to the accumulator, or None."""
    readers = [e for e in E.nodes(epilogue) if E.inp(0) in e.args]
    if len(readers) != 1 or readers[0].op != "add" or readers[0].args.count(E.inp(0)) != 1:
        return None
    (other,) = (a for a in readers[0].args if a != E.inp(0))
    used = sum(e.args.count(other) for e in E.nodes(epilogue))
    if other.op != "input" or used != 1:
        return None
    index = int(other.value or 0) - 1
    t = operands[index]
    per_channel = t.type.dtype == f32 and t.type.size == channels == t.shape[-1]
    return index if t.is_const and per_channel else None
