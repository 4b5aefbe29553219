"""Sliding windows as ONNX writes them: auto_pad, explicit pads, defaults, 1-D as 2-D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import NodeContext
from camshaft.ir.graph import Tensor
from camshaft.ir.types import Shape


@dataclass(frozen=True)
class Window:
    """A 2-D window.  pads: top, left, bottom, right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]


def window_of(ctx: NodeContext, spatial: Shape, kernel: Sequence[int]) -> Window:
    """The node's window over 1 or 2 spatial axes; a 1-D one gets a leading axis of extent 1."""
    rank = len(spatial)
    kernel = per_axis(ctx, "kernel_shape", rank, 1) if not kernel else tuple(kernel)
    strides = per_axis(ctx, "strides", rank, 1)
    dilations = per_axis(ctx, "dilations", rank, 1)
    if min(*kernel, *strides, *dilations) < 1:
        raise ModelError(f"kernel {kernel}, strides {strides}, dilations {dilations}: below 1")
    begin, end = pads_of(ctx, spatial, kernel, strides, dilations)
    if rank == 1:
        kernel, strides, dilations = ((1, *v) for v in (kernel, strides, dilations))
        begin, end = (0, *begin), (0, *end)
    return Window(pair(kernel), pair(strides), (*pair(begin), *pair(end)), pair(dilations))


def pair(values: Sequence[int]) -> tuple[int, int]:
    """Exactly two ints."""
    first, second = values
    return first, second


def per_axis(ctx: NodeContext, name: str, rank: int, default: int) -> tuple[int, ...]:
    """An attribute with one int a spatial axis; ModelError when it has another length."""
    values = ctx.attr_ints(name)
    if not values:
        return (default,) * rank
    if len(values) != rank:
        raise ModelError(f"attribute {name}={list(values)} does not fit {rank} spatial axes")
    return values


def pads_of(
    ctx: NodeContext,
    spatial: Shape,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before and after each spatial axis, from `pads` or `auto_pad`."""
    rank = len(spatial)
    auto = ctx.attr_str("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = per_axis(ctx, "pads", 2 * rank, 0)
        if min(pads) < 0:
            raise ModelError(f"negative padding {list(pads)} is not supported")
        return pads[:rank], pads[rank:]
    if auto == "VALID":
        return (0,) * rank, (0,) * rank
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"unknown auto_pad {auto!r}")
    begin, end = [], []
    for size, k, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        out = -(-size // stride)
        total = max(0, (out - 1) * stride + dilation * (k - 1) + 1 - size)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return tuple(begin), tuple(end)


def as_2d(ctx: NodeContext, x: Tensor) -> Tensor:
    """[N,C,L] as [N,C,1,L]; rank 4 as it is."""
    return ctx.reshape(x, (*x.shape[:2], 1, x.shape[2])) if x.type.rank == 3 else x
