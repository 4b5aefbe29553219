"""Quantize and dequantize, and products of integers that stay integer, exactly.

A scale is f32: one for the whole tensor (rank 0, or one element), one for each index of `axis` (rank
1), or one for each block along `axis` (the tensor's rank).  Zero points have its shape and the
integers' type.

Kernels multiply bytes x by signed bytes w.  Of sum (x - zx) (w - zw) that leaves, with 1 for weights
or for a left operand of ones,

    centred(x) = x * w - zw (x * 1)         where w - zw does not fit a signed byte
    centred(x) - zx centred(1)              where zx is only known when the graph runs

centred(1) is what the weights sum to; of a convolution with padding, those that lie on the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import NARROW_FLOATS, DType, f32, f64, i8, i32, u8
from camshaft.ops.common import IDENTITY, normal_axis
from camshaft.ops.functional.core import NoCanonicalForm, constant, emit
from camshaft.ops.functional.elementwise.arithmetic import cast, pointwise
from camshaft.ops.functional.elementwise.narrow import rounded_to
from camshaft.ops.functional.matmul import matmul_over
from camshaft.ops.functional.movement.shape import full, reshape
from camshaft.ops.functional.spatial.convolution import conv_over, conv_window
from camshaft.ops.functional.spatial.windows import Padding, Window, as_2d
from camshaft.ops.movement import GATHER
from camshaft.ops.quantize import DEQUANTIZE, QUANTIZE
from camshaft.ops.rowwise import REDUCE


def quantize(
    builder: GraphBuilder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    dtype: DType | None = None,
    axis: int = 1,
    block_size: int | None = None,
    saturate: bool = True,
    output: str | None = None,
) -> Tensor:
    """saturate(round_half_even(x / scale) + zero_point), in the zero point's type.

    dtype: the result's type where the zero point does not say it (u8 if nothing does): one of at most 8
    bits is held in another (`DType.held`), which the zero point has then.  To floats of at most 8 bits
    x / scale + zero_point is rounded; `saturate` is for them, see `narrowed`.
    block_size: of blocked scales; what they come to where None.  x and scale are converted to f32.
    Raises ModelError for other types than integers of at most 16 and floats of at most 8 bits, and for
    scales that do not fit.
    """
    x, scale = cast(builder, x, f32), cast(builder, scale, f32)
    if dtype is None:
        dtype = u8 if zero_point is None else zero_point.type.dtype
    zero = zero_points(builder, scale, dtype.held) if zero_point is None else zero_point
    if dtype not in NARROW_FLOATS and not (dtype.is_int and dtype.bits <= 16):
        raise ModelError(f"quantizing to {dtype.name} is not supported")
    if zero.type.dtype != dtype.held:
        raise ModelError(f"zero point {zero.type} is not of the result's type, {dtype.name}")
    if not _is_blocked(scale) and dtype.held == dtype:
        operands = [x, _per_tensor(builder, scale), _per_tensor(builder, zero)]
        return emit(builder, QUANTIZE, operands, {"axis": axis}, output)
    scale, zero = (_spread(builder, t, x, axis, block_size) for t in (scale, zero))
    ratio = E.div(E.inp(0), E.inp(1))
    if dtype.is_float:
        q = rounded_to(E.add(ratio, E.inp(2)), f32, dtype, saturate)
        return pointwise(builder, q, x, scale, zero, output=output)
    q = E.add(E.unary("round", ratio), E.cast(E.inp(2), f32))
    if dtype.held != dtype:
        q = E.clip(q, *dtype.range)
    return pointwise(builder, E.cast(q, dtype.held), x, scale, zero, output=output)


def dequantize(
    builder: GraphBuilder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int | None = None,
    output: str | None = None,
) -> Tensor:
    """(x - zero_point) * scale, in f32; the zero point is 0 where None.

    block_size: as in `quantize`.  x of floats of at most 8 bits is held in f32.
    ModelError where x is neither that nor integers, or scales do not fit.
    """
    scale = cast(builder, scale, f32)
    zero = zero_points(builder, scale, x.type.dtype) if zero_point is None else zero_point
    if not x.type.dtype.is_int and x.type.dtype != f32:
        raise ModelError(f"input {x.type} is not quantized")
    if not _is_blocked(scale) and x.type.dtype.is_int:
        operands = [x, _per_tensor(builder, scale), _per_tensor(builder, zero)]
        return emit(builder, DEQUANTIZE, operands, {"axis": axis}, output)
    if (
        x.type.rank == 2
        and x.type.dtype in (i8, u8)
        and x.is_const
        and scale.is_const
        and zero.is_const
    ):
        return _blocked_constant(builder, x, scale, zero, axis, block_size, output)
    scale, zero = (_spread(builder, t, x, axis, block_size) for t in (scale, zero))
    wide = E.sub(E.cast(E.inp(0), f32), E.cast(E.inp(2), f32))
    return pointwise(builder, E.mul(wide, E.inp(1)), x, scale, zero, output=output)


def _blocked_constant(
    builder: GraphBuilder,
    x: Tensor,
    scale: Tensor,
    zero: Tensor,
    axis: int,
    block_size: int | None,
    output: str | None,
) -> Tensor:
    """A dequantized constant matrix that stays recognisable."""
    axis = normal_axis(axis, x.type.rank)
    size, blocks = fixed((x.shape[axis], scale.shape[axis]), "extents of blocked scales")
    block = block_size or -(-size // max(blocks, 1))
    attrs = {"axis": axis, "block": block}
    return emit(builder, DEQUANTIZE, [x, scale, zero], attrs, output)


def zero_points(builder: GraphBuilder, scale: Tensor, dtype: DType) -> Tensor:
    """Zero points of 0, as many as there are scales."""
    shape = fixed(scale.shape, "the shape of scales")
    return constant(builder, np.zeros(shape, dtype.numpy), "zero_point")


def _per_tensor(builder: GraphBuilder, t: Tensor) -> Tensor:
    return reshape(builder, t, ()) if t.type.size == 1 else t


def _is_blocked(scale: Tensor) -> bool:
    return scale.type.rank > 1 and scale.type.size > 1


def _spread(
    builder: GraphBuilder, t: Tensor, x: Tensor, axis: int, block_size: int | None
) -> Tensor:
    """Scales of any granularity so that they broadcast to x."""
    if t.type.size == 1:
        return reshape(builder, t, ())
    axis = normal_axis(axis, x.type.rank)
    if t.type.rank == 1:
        return reshape(builder, t, (t.type.size, *([1] * (x.type.rank - 1 - axis))))
    size, blocks = fixed((x.shape[axis], t.shape[axis]), "extents of blocked scales")
    block = block_size or -(-size // max(blocks, 1))
    if t.type.rank != x.type.rank or -(-size // block) != blocks:
        raise ModelError(f"scales {t.type} in blocks of {block} do not fit {x.type}")
    index = constant(builder, np.arange(size, dtype=np.int64) // block, "block")
    return emit(builder, GATHER, [t, index], {"axis": axis})


# --- integer products -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    """Signed bytes, and points to be subtracted from them (None: nothing is to be).

    points: i32, of no axes or of as many as the product broadcasts over.
    known: values less points as i32, where the weights are constant.
    """

    values: Tensor
    points: Tensor | None = None
    known: np.ndarray | None = None

    def summed(self, builder: GraphBuilder, axis: int) -> Tensor:
        """Their sums along `axis`, which stays with an extent of 1, as i32."""
        if self.known is None:
            return emit(builder, REDUCE, [self.values], {"kind": "sum", "axes": (axis,)})
        sums = self.known.sum(axis, dtype=np.int32, keepdims=True)
        return constant(builder, sums, "sums")


def _weights(builder: GraphBuilder, w: Tensor, zero: Tensor | None, axis: int) -> _Weights:
    """Weights with their zero points along `axis`; NoCanonicalForm where neither is known."""
    point: np.ndarray = np.zeros((), np.int32)
    if zero is not None:
        if zero.data is None or zero.type.rank > 1:
            raise NoCanonicalForm(f"zero points {zero.name!r} are no constant vector")
        point = zero.data.astype(np.int32).reshape(-1 if zero.type.size > 1 else ())
    if w.type.dtype is i8 and not point.any():
        return _Weights(w, known=w.data)
    if w.data is None:
        raise NoCanonicalForm(f"weights {w.name!r} are neither constant nor plain signed bytes")
    along = [1] * w.type.rank
    along[axis] = -1
    stored = w.data.astype(np.int32)
    distance = stored - (point.reshape(along) if point.ndim else point)
    if not distance.size or (distance.min() >= -128 and distance.max() <= 127):
        return _Weights(constant(builder, distance.astype(np.int8), "centred"), known=distance)
    middle = 128 if w.type.dtype is u8 else 0
    behind = () if axis else (1, 1)  # the output channels of a convolution
    points = (point - middle).reshape(-1, *behind) if point.ndim else point - middle
    values = constant(builder, (stored - middle).astype(np.int8), "bytes")
    return _Weights(values, constant(builder, points.astype(np.int32), "points"), distance)


_Product = Callable[[Tensor, Tensor, int, Sequence[Tensor], Expr, str | None], Tensor]
"""A convolution or matrix product: left and right operand, the left one's zero point, operands of the
epilogue, the epilogue, and the result's name."""


@dataclass(frozen=True)
class _Integer:
    """An integer product.

    ones: weights of 1, where there are points.  of_ones: makes the product for a left operand of 1.
    beside: a product as an operand of another's epilogue.
    """

    builder: GraphBuilder
    product: _Product
    weights: _Weights
    ones: Tensor | None
    of_ones: Callable[[], Tensor]
    beside: Callable[[Tensor], Tensor]

    def centred(
        self, x: Tensor, point: int, minus: Sequence[Tensor] = (), output: str | None = None
    ) -> Tensor:
        """sum (x - point) (w - zw), less the product of the two tensors `minus`."""
        operands, expr = list(minus), E.inp(0)
        if self.weights.points is not None:
            assert self.ones is not None
            ones = self.product(x, self.ones, point, (), IDENTITY, None)
            operands += [self.weights.points, self.beside(ones)]
        for i in range(1, len(operands), 2):
            expr = E.sub(expr, E.mul(E.inp(i), E.inp(i + 1)))
        return self.product(x, self.weights.values, point, operands, expr, output)

    def result(self, x: Tensor, zero: Tensor | None, output: str | None) -> Tensor:
        """The product of x, whose zero point may be known or not."""
        if zero is None or zero.data is not None:
            point = 0 if zero is None else int(zero.array.reshape(-1)[0])
            return self.centred(x, point, output=output)
        point_now = reshape(self.builder, cast(self.builder, zero, i32), ())
        return self.centred(x, 0, [point_now, self.of_ones()], output)


def _ones(builder: GraphBuilder, weights: _Weights, shape: Sequence[Extent]) -> Tensor | None:
    """Weights of 1, None where nobody needs them."""
    if weights.points is None:
        return None
    return constant(builder, np.ones(fixed(shape, "the shape of weights"), np.int8), "ones")


def _check_zero_point(zero: Tensor | None) -> None:
    if zero is not None and zero.type.size != 1:
        raise NoCanonicalForm(f"the left operand's zero points {zero.type} are not one for all")


def conv_integer(
    builder: GraphBuilder,
    x: Tensor,
    weight: Tensor,
    x_zero_point: Tensor | None = None,
    weight_zero_point: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    output: str | None = None,
) -> Tensor:
    """`conv` of (x - x_zero_point) with (weight - weight_zero_point), 8-bit integers, as i32.

    x_zero_point: one, which may be computed.  weight_zero_point: constant, one or one for each of the
    K output channels.  What pads x counts as 0, that is, holds the zero point.
    Raises ModelError as `conv` does, and NoCanonicalForm for weights that are computed and neither
    signed nor without zero point.
    """
    window = conv_window(x, weight, stride, padding, dilation)
    _check_zero_point(x_zero_point)
    weights = _weights(builder, weight, weight_zero_point, axis=0)

    def product(
        left: Tensor,
        right: Tensor,
        point: int,
        operands: Sequence[Tensor],
        epilogue: Expr,
        name: str | None,
    ) -> Tensor:
        return conv_over(
            builder, left, right, operands, window, groups,
            x_zero_point=point, epilogue=epilogue, output=name,
        )  # fmt: skip

    def of_ones() -> Tensor:
        return _weights_on_image(builder, x, as_2d(builder, weights.summed(builder, 1)), window)

    channels = 1 if groups == 1 else weight.shape[0]
    ones = _ones(builder, weights, (channels, *weight.shape[1:]))
    whole = _Integer(builder, product, weights, ones, of_ones, lambda y: as_2d(builder, y))
    return whole.result(x, x_zero_point, output)


_EXACT_FLOATS = 1 << 24
"""Whole numbers up to here are exact in f32."""


def _weights_on_image(builder: GraphBuilder, x: Tensor, sums: Tensor, window: Window) -> Tensor:
    """What the weights that lie on the image add up to, for each place of the window.

    sums: [K,1,R,S] i32, over the channels.  The result is [1,K,H,W], or [1,K,1,1] without padding.
    One channel of ones is convolved, in floats that are exact.
    """
    reach = [d * (k - 1) + 1 for d, k in zip(window.dilation, window.kernel, strict=True)]
    spatial: Sequence[Extent] = reach
    if any(p != 0 for p in window.padding):
        spatial = [1, *x.shape[2:]][-2:]
    taps = prod(sums.shape[2:])
    largest = 255 * (x.shape[1] if sums.data is None else 1)
    if sums.data is not None:
        largest = int(np.abs(sums.data).max(initial=0))
    dtype = f32 if largest * taps <= _EXACT_FLOATS else f64
    image = full(builder, (1, 1, *spatial), 1.0, dtype)
    operands = image, cast(builder, sums, dtype)
    y = conv_over(builder, *operands, (), window, 1, epilogue=E.cast(E.inp(0), i32))
    return as_2d(builder, y)


def matmul_integer(
    builder: GraphBuilder,
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    *,
    output: str | None = None,
) -> Tensor:
    """`matmul` of (a - a_zero_point) with (b - b_zero_point), 8-bit integers, as i32.

    a_zero_point: one, which may be computed.  b_zero_point: constant, one or one for each column.
    Raises ModelError as `matmul` does, and NoCanonicalForm for vectors and for a b that is computed
    and neither signed nor without zero point.
    """
    if min(a.type.rank, b.type.rank) < 2:
        raise NoCanonicalForm(f"multiplies matrices, not {a.type} and {b.type}")
    _check_zero_point(a_zero_point)
    weights = _weights(builder, b, b_zero_point, axis=b.type.rank - 1)

    def product(
        left: Tensor,
        right: Tensor,
        point: int,
        operands: Sequence[Tensor],
        epilogue: Expr,
        name: str | None,
    ) -> Tensor:
        attrs = {"a_zero_point": point, "epilogue": epilogue}
        return matmul_over(builder, left, right, operands, attrs, output=name)

    ones = _ones(builder, weights, (b.shape[-2], 1))
    whole = _Integer(
        builder,
        product,
        weights,
        ones,
        lambda: weights.summed(builder, b.type.rank - 2),
        lambda y: y,
    )
    return whole.result(a, a_zero_point, output)
