"""Resize and Upsample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.known import Ratio
from camshaft.ops import functional as F


def resize(ctx: NodeContext) -> Results:
    """Resize from opset 11 on: scales or sizes, optionally for some axes only."""
    coordinates = ctx.attr_str("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        return host_step(ctx)
    scales = _scales(ctx, 2)
    sizes = ctx.const_ints(3, "sizes", are_sizes=True)
    by_scales = scales is not None and scales.size > 0
    if not by_scales and sizes is None:
        raise ModelError("neither scales nor sizes are given")
    return F.resize(
        ctx.builder,
        ctx.arg(0),
        sizes=None if by_scales else sizes,
        scales=scales if by_scales else None,
        axes=ctx.attr_ints("axes") or None,
        sampling=_sampling(ctx, coordinates, ctx.attr_str("nearest_mode", "round_prefer_floor")),
        keep_aspect_ratio=ctx.attr_str("keep_aspect_ratio_policy", "stretch"),
        output=ctx.output,
    )


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


HANDLERS: Mapping[str, Handler] = {"Resize": resize_any, "Upsample": upsample}
