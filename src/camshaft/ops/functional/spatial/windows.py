"""Sliding windows over one or two spatial axes: padding by rule, 1-D as 2-D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent, ceil_div, largest
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.functional.core import per_axis
from camshaft.ops.functional.movement.shape import reshape
from camshaft.ops.functional.movement.slicing import pad

Padding = int | str | Sequence[int] | Sequence[tuple[Extent, Extent]]
"""How an image is padded:

an int, all sides alike; one int for each spatial axis, both sides alike; a pair (before, after) for
each spatial axis; "valid", not at all; "same", so that the output's extent is that of the input over
the stride, rounded up, an odd element going to the end (TensorFlow's rule); "same_lower", the odd
element going to the start.
"""


@dataclass(frozen=True)
class Window:
    """A 2-D window.  padding: top, left, bottom, right.  line: whether the data has one axis only."""

    kernel: tuple[Extent, ...]
    stride: tuple[int, ...]
    padding: tuple[Extent, ...]
    dilation: tuple[int, ...]
    line: bool = False


def window_of(
    spatial: Sequence[Extent],
    kernel: Sequence[Extent],
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int],
) -> Window:
    """A window over 1 or 2 spatial axes; a 1-D one gets a leading axis of extent 1.

    ModelError where an argument does not fit the axes, or a stride or dilation is below 1.
    """
    rank = len(spatial)
    if len(kernel) != rank:
        raise ModelError(f"kernel {list(kernel)} does not fit {rank} spatial axes")
    stride = per_axis(stride, rank, "stride", 1)
    dilation = per_axis(dilation, rank, "dilation", 1)
    if any(k < 1 for k in kernel):
        raise ModelError(f"kernel {list(kernel)} is below 1")
    sides = sides_of(spatial, kernel, stride, padding, dilation)
    if rank == 1:
        kernel, stride, dilation = (1, *kernel), (1, *stride), (1, *dilation)
        sides = ((0, 0), *sides)
    pads = (*(s[0] for s in sides), *(s[1] for s in sides))
    return Window(tuple(kernel), stride, pads, dilation, rank == 1)


Sides = tuple[tuple[Extent, Extent], ...]


def sides_of(
    spatial: Sequence[Extent],
    kernel: Sequence[Extent],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Sides:
    """(before, after) for each spatial axis."""
    rank = len(spatial)
    if padding == "valid":
        return ((0, 0),) * rank
    if isinstance(padding, str):
        totals = [
            largest(0, (ceil_div(size, s) - 1) * s + d * (k - 1) + 1 - size)
            for size, k, s, d in zip(spatial, kernel, stride, dilation, strict=True)
        ]
        return halves(totals, padding)
    return given_sides(padding, rank)


def halves(totals: Sequence[Extent], padding: str) -> Sides:
    """Total paddings divided by the rule "same" or "same_lower"."""
    if padding not in ("same", "same_lower"):
        raise ModelError(f"padding {padding!r} is none of 'valid', 'same', 'same_lower'")
    small = [total // 2 for total in totals]
    sides = [(s, total - s) for s, total in zip(small, totals, strict=True)]
    return tuple(side if padding == "same" else side[::-1] for side in sides)


def given_sides(padding: Padding, rank: int) -> Sides:
    """Explicit padding as (before, after) for each of `rank` axes."""
    assert not isinstance(padding, str)
    each = (padding,) * rank if isinstance(padding, int) else tuple(padding)
    if len(each) != rank:
        raise ModelError(f"padding {list(each)} does not fit {rank} spatial axes")
    sides = []
    for side in each:
        pair = tuple(side) if isinstance(side, Sequence) else (side, side)
        if len(pair) != 2:
            raise ModelError(f"padding {list(each)} has no pair (before, after) for each axis")
        sides.append((pair[0], pair[1]))
    if any(p < 0 for side in sides for p in side):
        raise ModelError(f"negative padding {list(each)} is not supported")
    return tuple(sides)


def with_fixed_pads(
    builder: GraphBuilder, x: Tensor, window: Window, value: float
) -> tuple[Tensor, Window]:
    """x [N,C,H,W] and the window, with padding that varies with sizes made part of the image.

    "same" with a stride above 1 pads as the remainder of an open extent wants it, and kernels of
    windows know their padding.  value: what pads the image.
    """
    if is_static(window.padding):
        return x, window
    top, left, bottom, right = (0 if isinstance(p, int) else p for p in window.padding)
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    kept = tuple(p if isinstance(p, int) else 0 for p in window.padding)
    return pad(builder, x, widths, value=value), replace(window, padding=kept)


def as_2d(builder: GraphBuilder, x: Tensor) -> Tensor:
    """[N,C,L] as [N,C,1,L]; rank 4 as it is."""
    return reshape(builder, x, (*x.shape[:2], 1, x.shape[2])) if x.type.rank == 3 else x


def as_1d(builder: GraphBuilder, y: Tensor, output: str | None = None) -> Tensor:
    """[N,C,1,L] as [N,C,L]."""
    return reshape(builder, y, (*y.shape[:2], y.shape[3]), output=output)
