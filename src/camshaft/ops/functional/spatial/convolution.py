"""Convolution over one to three spatial axes, transposed convolution over one or two, channels first."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent, largest
from camshaft.ir.extents.sizes import fixed, is_static
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.common import IDENTITY
from camshaft.ops.contraction import CONV, CONV_TRANSPOSE
from camshaft.ops.functional.core import NoCanonicalForm, emit, per_axis, require_same
from camshaft.ops.functional.elementwise.arithmetic import pointwise
from camshaft.ops.functional.movement.shape import column
from camshaft.ops.functional.spatial.volumes import (
    along_depth,
    frames_of,
    frames_of_images,
    stacked,
    volumes_of,
)
from camshaft.ops.functional.spatial.windows import (
    Padding,
    Sides,
    Window,
    as_1d,
    as_2d,
    halves,
    sides_of,
    window_of,
    with_fixed_pads,
)

PLUS_BIAS = E.add(E.inp(0), E.inp(1))


def conv(
    builder: GraphBuilder,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    output: str | None = None,
) -> Tensor:
    """x [N,C,L], [N,C,H,W] or [N,C,D,H,W] correlated with weight [K,C/groups,R,...] of x's rank: [N,K,...].

    bias: [K], or with axes of extent 1 behind.  x and weight have one float type; 8-bit integers give
    i32 sums (`conv_integer` takes their zero points).  padding: see `windows.Padding`.
    Raises ModelError where operands or attributes do not fit, NoCanonicalForm for other ranks.
    """
    if x.type.rank == 5:
        _check_filters(x, weight)
        strides, dilations = per_axis(stride, 3, "stride", 1), per_axis(dilation, 3, "dilation", 1)
        sides = sides_of(x.shape[2:], weight.shape[2:], strides, padding, dilations)
        frames = frames_of(builder, x)
        size = int(fixed(weight.shape[2:3], "the window")[0])
        parts = along_depth(builder, frames, size, strides[0], dilations[0], sides[0])
        images, filters = stacked(builder, parts, weight, groups)
        y = conv(
            builder, images, filters, bias, stride=strides[1:], padding=sides[1:], dilation=dilations[1:], groups=groups
        )  # fmt: skip
        made = frames_of_images(builder, y, x.shape[0], parts[0].shape[1])
        return volumes_of(builder, made, output)
    window = conv_window(x, weight, stride, padding, dilation)
    _check_bias(builder, bias, weight.shape[0])
    operands = [] if bias is None else [column(builder, bias, 4)]
    epilogue = IDENTITY if bias is None else PLUS_BIAS
    return conv_over(builder, x, weight, operands, window, groups, epilogue=epilogue, output=output)


def conv_window(
    x: Tensor,
    weight: Tensor,
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int],
) -> Window:
    """The window that `weight` is over `x`, both checked."""
    if x.type.rank not in (3, 4):
        raise NoCanonicalForm(f"convolves one or two spatial axes; input {x.type} has others")
    _check_filters(x, weight)
    return window_of(x.shape[2:], weight.shape[2:], stride, padding, dilation)


def _check_filters(x: Tensor, weight: Tensor) -> None:
    """ModelError where the rank is wrong, NoCanonicalForm where only a call says how many filters there
    are, or how large they are: kernels are made for that."""
    if weight.type.rank != x.type.rank:
        raise ModelError(f"weights {weight.type} do not have the rank of the input {x.type}")
    if not is_static(weight.shape):
        raise NoCanonicalForm(f"the shape of weights {weight.type} is open")


def _check_bias(builder: GraphBuilder, bias: Tensor | None, channels: Extent) -> None:
    if bias is None:
        return
    misfit = f"bias {bias.type} has not one value for each of {channels} channels"
    if bias.type.rank < 1:
        raise ModelError(misfit)
    require_same(builder, bias.type.size, channels, misfit)


def conv_over(
    builder: GraphBuilder,
    x: Tensor,
    weight: Tensor,
    operands: Sequence[Tensor],
    window: Window,
    groups: int,
    *,
    x_zero_point: int = 0,
    epilogue: Expr = IDENTITY,
    output: str | None = None,
) -> Tensor:
    """A canonical conv and its epilogue, whose operands broadcast to [N,K,H,W]."""
    if groups < 1:
        raise ModelError(f"groups={groups} is below 1")
    image, window = with_fixed_pads(builder, as_2d(builder, x), window, x_zero_point)
    attrs = {
        "layout": "NCHW",
        "strides": window.stride,
        "pads": window.padding,
        "dilations": window.dilation,
        "groups": groups,
        "x_zero_point": x_zero_point,
        "epilogue": epilogue,
    }
    inputs = [image, as_2d(builder, weight), *operands]
    y = emit(builder, CONV, inputs, attrs, None if window.line else output)
    return as_1d(builder, y, output) if window.line else y


def conv_transpose(
    builder: GraphBuilder,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    output_size: Sequence[Extent] | None = None,
    output: str | None = None,
) -> Tensor:
    """The gradient of `conv` by its input: x [N,C,...], weight [C,K/groups,...] give [N,K,...].

    Along each axis the result is (extent - 1) * stride + dilation * (kernel - 1) + 1 + output_padding
    long, less the padding on both sides.  padding "same" makes it extent * stride; output_size gives
    it for each axis.  Then the total padding follows, an odd element being cut at the start, but with
    "same" at the end.
    Raises ModelError where operands or attributes do not fit, NoCanonicalForm for other ranks.
    """
    rank = x.type.rank - 2
    if rank not in (1, 2):
        raise NoCanonicalForm(f"convolves one or two spatial axes; input {x.type} has others")
    _check_filters(x, weight)
    _check_bias(builder, bias, weight.shape[1] * groups)
    strides = per_axis(stride, rank, "stride", 1)
    dilations = per_axis(dilation, rank, "dilation", 1)
    extra: Sequence[Extent] = per_axis(output_padding, rank, "output_padding", 0)
    if output_size is not None or padding in ("same", "same_lower"):
        longer = [d * s for d, s in zip(x.shape[2:], strides, strict=True)]
        wanted = longer if output_size is None else output_size
        sides, extra = _fitted(x, weight, wanted, strides, padding, dilations, extra)
    else:
        sides = sides_of(x.shape[2:], weight.shape[2:], strides, padding, dilations)
    ones, zeros = ((1,), (0,)) if rank == 1 else ((), ())
    attrs = {
        "strides": (*ones, *strides),
        "pads": (*zeros, *(s[0] for s in sides), *zeros, *(s[1] for s in sides)),
        "dilations": (*ones, *dilations),
        "output_padding": (*zeros, *extra),
        "groups": groups,
    }
    bare = None if bias is not None else output
    operands = [as_2d(builder, x), as_2d(builder, weight)]
    y = emit(builder, CONV_TRANSPOSE, operands, attrs, bare if rank == 2 else None)
    y = as_1d(builder, y, bare) if rank == 1 else y
    if bias is None:
        return y
    return pointwise(builder, PLUS_BIAS, y, column(builder, bias, y.type.rank), output=output)


def _fitted(
    x: Tensor,
    weight: Tensor,
    wanted: Sequence[Extent],
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
    extra: Sequence[Extent],
) -> tuple[Sides, list[Extent]]:
    """(padding, output padding) that make a transposed convolution as long as `wanted`."""
    rank = x.type.rank - 2
    if len(wanted) != rank:
        raise ModelError(f"output_size {list(wanted)} does not fit {rank} spatial axes")
    totals, more = [], []
    for axis, out in enumerate(wanted):
        reach = dilations[axis] * (weight.shape[axis + 2] - 1) + 1
        total = (x.shape[axis + 2] - 1) * strides[axis] + extra[axis] + reach - out
        totals.append(largest(0, total))
        more.append(extra[axis] + largest(0, -total))
    return halves(totals, "same" if padding == "same" else "same_lower"), more
