"""Windows over three spatial axes, depth first: what lies along the depth of a window becomes channels of images, or is reduced
element by element."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.functional.core import require_same
from camshaft.ops.functional.elementwise.arithmetic import pointwise
from camshaft.ops.functional.movement.shape import concat, reshape, transpose
from camshaft.ops.functional.movement.slicing import pad, slice

_SWAPPED = (0, 2, 1, 3, 4)
"""[N,C,D,H,W] as [N,D,C,H,W], and back."""


def frames_of(builder: GraphBuilder, x: Tensor) -> Tensor:
    """[N,C,D,H,W] as [N,D,C,H,W]."""
    return transpose(builder, x, _SWAPPED)


def volumes_of(builder: GraphBuilder, frames: Tensor, output: str | None = None) -> Tensor:
    """[N,D,C,H,W] as [N,C,D,H,W]."""
    return transpose(builder, frames, _SWAPPED, output=output)


def images_of(builder: GraphBuilder, frames: Tensor) -> Tensor:
    """[N,D,C,H,W] as [N*D,C,H,W]."""
    n, d, *rest = frames.shape
    return reshape(builder, frames, (n * d, *rest))


def frames_of_images(builder: GraphBuilder, images: Tensor, n: Extent, depth: Extent) -> Tensor:
    """[N*D,C,H,W] as [N,D,C,H,W]."""
    return reshape(builder, images, (n, depth, *images.shape[1:]))


def along_depth(
    builder: GraphBuilder,
    frames: Tensor,
    size: int,
    stride: int,
    dilation: int,
    sides: Sequence[Extent],
    value: float = 0.0,
) -> list[Tensor]:
    """For each of `size` places of a window over the depth, what stands there in all windows: [N,windows,C,H,W] each.

    sides: padding (before, after) of the depth, with `value`.  ModelError where no window fits.
    """
    before, after = sides
    if before != 0 or after != 0:
        widths = ((0, 0), (before, after), (0, 0), (0, 0), (0, 0))
        frames = pad(builder, frames, widths, value=value)
    reach = dilation * (size - 1) + 1
    windows = (frames.shape[1] - reach) // stride + 1
    misfit = f"a window of depth {reach} does not fit a depth of {frames.shape[1]}"
    with builder.constraints.learning(f"node {builder.layer!r}"):
        require_at_least(frames.shape[1], reach, misfit)
    parts = []
    for place in range(size):
        start = place * dilation
        end = start + (windows - 1) * stride + 1
        parts.append(slice(builder, frames, [start], [end], [1], [stride]))
    return parts


def stacked(
    builder: GraphBuilder, parts: Sequence[Tensor], weight: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """What `along_depth` gives and the filters [K,C/groups,size,R,S] of a window, as images with size * C channels and their filters."""
    n, d, c, h, w = parts[0].shape
    k, per_group, size, *window = weight.shape
    misfit = f"input has {c} channels, weights {weight.type} with {groups} groups want {per_group * groups}"  # fmt: skip
    if groups < 1:
        raise ModelError(misfit)
    require_same(builder, c, per_group * groups, misfit)
    grouped = [reshape(builder, p, (n * d, groups, per_group, h, w)) for p in parts]
    joined = concat(builder, grouped, 2)
    images = reshape(builder, joined, (n * d, per_group * groups * size, h, w))
    turned = transpose(builder, weight, _SWAPPED)
    return images, reshape(builder, turned, (k, size * per_group, *window))


def reduced(builder: GraphBuilder, parts: Sequence[Tensor], kind: str) -> Tensor:
    """The maximum or the mean of what `along_depth` gives."""
    inputs: list[Expr] = [E.inp(i) for i in range(len(parts))]
    if kind == "max":
        expr = reduce(lambda a, b: E.binary("max", a, b), inputs)
    else:
        expr = E.mul(reduce(E.add, inputs), E.const(1.0 / len(parts)))
    return pointwise(builder, expr, *parts)
