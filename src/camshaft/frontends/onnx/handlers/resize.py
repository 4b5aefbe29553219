"""Resize and Upsample: every separable resize becomes index and weight tables, one pair an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import MOST_ELEMENTS, Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.graph import Tensor
from camshaft.ops import RESAMPLE
from camshaft.ops.common import normal_axis

F = np.float32


@dataclass(frozen=True)
class Extent:
    """One axis: its extent before and after, and the scale, which need not be their ratio."""

    size: int
    out: int
    scale: float

    @property
    def unchanged(self) -> bool:
        return self.size == self.out and self.scale == 1.0


def resize(ctx: NodeContext) -> Results:
    """Resize from opset 11 on: scales or sizes, optionally for some axes only."""
    x = ctx.arg(0)
    coordinates = ctx.attr_str("coordinate_transformation_mode", "half_pixel")
    shrinks_smoothly = ctx.attr_int("antialias")
    if coordinates == "tf_crop_and_resize" or shrinks_smoothly:
        return host_step(ctx)
    axes = ctx.attr_ints("axes") or tuple(range(x.type.rank))
    axes = tuple(normal_axis(a, x.type.rank) for a in axes)
    extents = [Extent(d, d, 1.0) for d in x.shape]
    scales = ctx.const(2, "scales")
    sizes = ctx.const_ints(3, "sizes")
    if scales is not None and scales.size:
        given = _from_scales(x.type.shape, axes, scales)
    elif sizes is not None:
        policy = ctx.attr_str("keep_aspect_ratio_policy", "stretch")
        given = _from_sizes(x.type.shape, axes, sizes, policy)
    else:
        raise ModelError("neither scales nor sizes are given")
    for axis, extent in zip(axes, given, strict=True):
        extents[axis] = extent
    nearest = ctx.attr_str("nearest_mode", "round_prefer_floor")
    return _resampled(ctx, x, extents, coordinates, nearest)


def upsample(ctx: NodeContext) -> Results:
    """Upsample, and Resize of opset 10: asymmetric coordinates, scales for all axes.

    Nearest takes the pixel before, or after where the axis shrinks, as ONNX Runtime does.
    """
    x = ctx.arg(0)
    scales = ctx.const(1, "scales")
    if scales is None:
        scales = np.array(ctx.attr_floats("scales") or (), F)
    extents = _from_scales(x.shape, tuple(range(x.type.rank)), scales)
    return _resampled(ctx, x, extents, "asymmetric", "simple")


def resize_any(ctx: NodeContext) -> Results:
    """Resize of any opset."""
    return upsample(ctx) if ctx.opset < 11 else resize(ctx)


def _from_scales(shape: Sequence[int], axes: Sequence[int], scales: np.ndarray) -> list[Extent]:
    if scales.size != len(axes) or not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        raise ModelError(f"scales {scales.tolist()} do not fit axes {list(axes)}")
    flat = scales.astype(F).reshape(-1)
    return [
        Extent(shape[a], int(np.floor(F(shape[a]) * s)), float(s))
        for a, s in zip(axes, flat, strict=True)
    ]


def _from_sizes(
    shape: Sequence[int], axes: Sequence[int], sizes: Sequence[int], policy: str
) -> list[Extent]:
    if len(sizes) != len(axes) or min(sizes, default=1) < 1 or 0 in shape:
        raise ModelError(f"sizes {list(sizes)} do not fit axes {list(axes)} of shape {shape}")
    ratios = [size / shape[a] for a, size in zip(axes, sizes, strict=True)]
    if policy == "stretch":
        return [
            Extent(shape[a], size, size / shape[a]) for a, size in zip(axes, sizes, strict=True)
        ]
    if policy not in ("not_larger", "not_smaller"):
        raise ModelError(f"unknown keep_aspect_ratio_policy {policy!r}")
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [Extent(shape[a], int(np.floor(scale * shape[a] + 0.5)), scale) for a in axes]


def _resampled(
    ctx: NodeContext, x: Tensor, extents: Sequence[Extent], coordinates: str, nearest: str
) -> Results:
    mode = ctx.attr_str("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise ModelError(f"unknown resize mode {mode!r}")
    if 0 in x.shape or any(e.out < 1 for e in extents):
        raise ModelError(f"resizing {x.type} to {[e.out for e in extents]} leaves nothing")
    if prod(e.out for e in extents) > MOST_ELEMENTS:
        raise ModelError(f"resizing {x.type} to {[e.out for e in extents]} is out of proportion")
    changed = [a for a, e in enumerate(extents) if not e.unchanged]
    if not changed:
        return x
    tables = {}
    for a in changed:
        at = coordinates_of(extents[a], coordinates)
        if mode == "nearest":
            tables[a] = nearest_table(at, extents[a].size, nearest, extents[a].scale)
        elif mode == "linear":
            tables[a] = linear_table(at, extents[a].size)
        else:
            outside = bool(ctx.attr_int("exclude_outside"))
            coefficient = ctx.attr_float("cubic_coeff_a", -0.75)
            tables[a] = cubic_table(at, extents[a].size, coefficient, outside)
    shape = tuple(e.out for e in extents)
    if x.type.rank == 4 and set(changed) <= {1, 2} and changed != [1]:  # channels last
        y = _sample(ctx, ctx.transpose(x, (0, 3, 1, 2)), tables.get(1), tables.get(2))
        return ctx.transpose(y, (0, 2, 3, 1), last=True)
    if x.type.rank == 4 and set(changed) <= {2, 3}:
        return _sample(ctx, x, tables.get(2), tables.get(3), last=True)
    y = x
    for a in changed:
        parts = (prod(y.shape[:a]), 1, y.shape[a], prod(y.shape[a + 1 :]))
        y = _sample(ctx, ctx.reshape(y, parts), tables[a], None)
        done = (*shape[: a + 1], *x.shape[a + 1 :])
        y = ctx.reshape(y, done, last=a == changed[-1])
    return y


Table = tuple[np.ndarray, np.ndarray]


def _sample(
    ctx: NodeContext, x: Tensor, rows: Table | None, cols: Table | None, *, last: bool = False
) -> Tensor:
    """x NCHW resampled along H by `rows` and along W by `cols`; None leaves the axis as it is."""
    operands = [x]
    for what, table, size in (("rows", rows, x.shape[2]), ("cols", cols, x.shape[3])):
        index, weight = table or (np.arange(size)[:, None], np.ones((size, 1)))
        operands.append(ctx.constant(index.astype(np.int32), f"{what}.index"))
        operands.append(ctx.constant(weight.astype(F), f"{what}.weight"))
    return ctx.emit(RESAMPLE, operands, {"layout": "NCHW"}, last=last)


def coordinates_of(extent: Extent, mode: str) -> np.ndarray:
    """[out] source coordinates, as the ONNX operator's document computes them."""
    i = np.arange(extent.out, dtype=np.float64)
    scale, half = extent.scale, 0.5
    if mode == "pytorch_half_pixel" and extent.out == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (i + half) / scale - half
    if mode == "half_pixel_symmetric":
        adjustment = extent.out / (scale * extent.size)
        offset = extent.size / 2 * (1 - adjustment)
        return offset + (i + half) / scale - half
    if mode == "align_corners":
        if extent.out == 1:
            return np.zeros(1)
        return i * (extent.size - 1) / (extent.out - 1)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + half) / scale
    raise ModelError(f"unknown coordinate_transformation_mode {mode!r}")


def nearest_table(at: np.ndarray, size: int, mode: str, scale: float) -> Table:
    """One tap: the pixel that `mode` rounds to.  "simple": down, or up where the axis shrinks."""
    rounders = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "simple": np.ceil(at) if scale < 1 else np.floor(at),
    }
    if mode not in rounders:
        raise ModelError(f"unknown nearest_mode {mode!r}")
    index = np.clip(rounders[mode], 0, size - 1).astype(np.int32)[:, None]
    return index, np.ones(index.shape, F)


def linear_table(at: np.ndarray, size: int) -> Table:
    """Two taps; beyond the border the border pixel."""
    at = np.clip(at, 0, size - 1)
    low = np.floor(at)
    index = np.stack([low, np.minimum(low + 1, size - 1)], axis=1).astype(np.int32)
    fraction = at - low
    return index, np.stack([1 - fraction, fraction], axis=1).astype(F)


def cubic_table(at: np.ndarray, size: int, a: float, exclude_outside: bool) -> Table:
    """Four taps of Keys' cubic convolution kernel with parameter `a` (1981).

    Taps beyond the border read the border pixel, or with `exclude_outside` weigh nothing.
    """
    low = np.floor(at)
    positions = low[:, None] + np.arange(-1, 3)
    distance = np.abs(at[:, None] - positions)
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    if exclude_outside:
        weight = np.where((positions >= 0) & (positions < size), weight, 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(positions, 0, size - 1).astype(np.int32), weight.astype(F)


HANDLERS: Mapping[str, Handler] = {"Resize": resize_any, "Upsample": upsample}
