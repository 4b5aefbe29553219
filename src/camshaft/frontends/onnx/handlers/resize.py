"""Resize and Upsample, and GridSample.

Sizes that are an input name all axes, and nobody resizes the batch or the channels of images: a build takes
these as equal to x's, as it takes any two open extents that meet, unless `values=` says something of the
input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.known import Ratio
from camshaft.ops import functional as F

_COLOURS = 4
"""Most channels of a picture."""
_MODES = {"linear": "linear", "nearest": "nearest", "cubic": "cubic"}
_OLD_MODES = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
"""GridSample's modes, and their names before opset 20."""


def resize(ctx: NodeContext) -> Results:
    """Resize from opset 11 on: scales or sizes, optionally for some axes only."""
    coordinates = ctx.attr_str("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        return host_step(ctx)
    scales = _scales(ctx, 2)
    sizes = ctx.const_ints(3, "sizes", are_sizes=True)
    axes = ctx.attr_ints("axes") or None
    by_scales = scales is not None and scales.size > 0
    if not by_scales and sizes is None:
        raise ModelError("neither scales nor sizes are given")
    return F.resize(
        ctx.builder,
        ctx.arg(0),
        sizes=None if by_scales else _images_resized(ctx, axes, sizes or ()),
        scales=scales if by_scales else None,
        axes=axes,
        sampling=_sampling(ctx, coordinates, ctx.attr_str("nearest_mode", "round_prefer_floor")),
        keep_aspect_ratio=ctx.attr_str("keep_aspect_ratio_policy", "stretch"),
        output=ctx.output,
    )


def unresized(shape: Sequence[Extent]) -> tuple[int, ...]:
    """The axes that are no image's height, width or depth, as far as their order and the known extents say:
    of rank 4 and 5 batch and channels, of rank 3 axes of at most 4 elements, which are colours."""
    if len(shape) == 3:
        return tuple(a for a, d in enumerate(shape) if isinstance(d, int) and d <= _COLOURS)
    if len(shape) not in (4, 5):
        return ()
    second, last = shape[1], shape[-1]
    if isinstance(second, int):
        channels_last = isinstance(last, int) and last <= _COLOURS < second
    else:
        channels_last = isinstance(last, int)
    return (0, len(shape) - 1 if channels_last else 1)


def _images_resized(
    ctx: NodeContext, axes: Sequence[int] | None, sizes: Sequence[Extent]
) -> list[Extent]:
    """Sizes for `axes`; those of batch and channels that an input says are the extents there, unless the model
    names these axes, or nothing would be resized."""
    shape, made = ctx.arg(0).shape, list(sizes)
    kept = unresized(shape)
    if axes is not None or len(kept) == len(shape):
        return made
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        for a, size in enumerate(sizes[: len(shape)]):
            if a in kept and ctx.unasked(size):
                made[a] = require_equal(shape[a], size, f"axis {a} cannot be {size}")
    return made


def _scales(ctx: NodeContext, index: int) -> np.ndarray | None:
    """The scales, which the model may compute from extents as long as they don't depend on them."""
    if ctx.has(index) and ctx.arg(index).data is None:
        known = ctx.builder.known(ctx.arg(index))
        if known is not None and all(
            isinstance(r, Ratio) and isinstance(r.numerator, int) for r in known.flat
        ):
            return np.array([r.numerator / r.denominator for r in known.flat], np.float32)
    return ctx.const(index, "scales")


def _sampling(ctx: NodeContext, coordinates: str, nearest: str) -> F.Sampling:
    return F.Sampling(
        ctx.attr_str("mode", "nearest"),
        coordinates,
        nearest,
        ctx.attr_float("cubic_coeff_a", -0.75),
        bool(ctx.attr_int("exclude_outside")),
        bool(ctx.attr_int("antialias")),
    )


def upsample(ctx: NodeContext) -> Results:
    """Upsample, and Resize of opset 10: asymmetric coordinates, scales for all axes.

    Nearest takes the pixel before, or after where the axis shrinks, as ONNX Runtime does.
    """
    scales = _scales(ctx, 1)
    if scales is None:
        scales = np.array(ctx.attr_floats("scales") or (), np.float32)
    sampling = _sampling(ctx, "asymmetric", "simple")
    return F.resize(ctx.builder, ctx.arg(0), scales=scales, sampling=sampling, output=ctx.output)


def resize_any(ctx: NodeContext) -> Results:
    """Resize of any opset."""
    return upsample(ctx) if ctx.opset < 11 else resize(ctx)


def grid_sample(ctx: NodeContext) -> Results:
    """GridSample."""
    modes = _MODES if ctx.opset >= 20 else _OLD_MODES
    mode = ctx.attr_str("mode", next(iter(modes)))
    if mode not in modes:
        raise ModelError(f"mode={mode!r} is none of {', '.join(modes)}")
    return F.grid_sample(
        ctx.builder,
        ctx.arg(0),
        ctx.arg(1),
        modes[mode],
        ctx.attr_str("padding_mode", "zeros"),
        align_corners=bool(ctx.attr_int("align_corners")),
        output=ctx.output,
    )


HANDLERS: Mapping[str, Handler] = {
    "GridSample": grid_sample,
    "Resize": resize_any,
    "Upsample": upsample,
}
