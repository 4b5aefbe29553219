"""Sampling images at computed places: GridSample, AffineGrid, RoiAlign, MaxRoiPool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed

Array = np.ndarray
Taps = list[tuple[Array, Array]]
"""(index along an axis, -1 for none; weight): what a sample is a sum of."""

_CUBIC = -0.75
_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""Opset 16's names of modes."""


def grid_sample(call: Call) -> Sequence[Value]:
    """GridSample(X [N,C,...], grid [N, out..., axes]): X at the grid's places, -1 to 1 across it.

    Jaderberg et al. 2015.  Taps outside are 0 ("zeros"), the nearest element ("border") or mirrored
    ("reflection").  For nearest and linear the place itself is moved inside; for cubic each of its
    taps, as in PyTorch, since the place's own neighbourhood is what it interpolates.
    """
    x, grid = call.array(0), call.array(1)
    names = (
        ("bilinear", "nearest", "bicubic") if call.opset < 20 else ("linear", "nearest", "cubic")
    )
    mode = call.choice("mode", names[0], names)
    mode = _MODES.get(mode, mode)
    padding = call.choice("padding_mode", "zeros", ("zeros", "border", "reflection"))
    aligned = call.attr_flag("align_corners")
    rank = x.ndim - 2
    if grid.ndim != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        raise ModelError(f"grid {list(grid.shape)} does not fit the input {list(x.shape)}")
    dtype = np.result_type(computed(grid).dtype, np.float32)
    taps = []
    for i, size in enumerate(x.shape[2:]):
        at = grid[..., rank - 1 - i].astype(dtype)
        at = (at + 1) / 2 * (size - 1) if aligned else ((at + 1) * size - 1) / 2
        taps.append(_taps(at, size, mode, padding, aligned))
    y = _gathered(computed(x), taps)
    return [np.rint(y).astype(x.dtype) if x.dtype.kind in "iu" else y.astype(x.dtype)]


def _taps(at: Array, size: int, mode: str, padding: str, aligned: bool) -> Taps:
    """The taps along an axis of `size` elements."""
    if mode == "cubic":
        first = np.floor(at)
        weights = _cubic(at - first)
        return [
            (_index(_inside(first + i - 1, size, padding, aligned), size), w)
            for i, w in enumerate(weights)
        ]
    at = _inside(at, size, padding, aligned)
    if mode == "nearest":
        return [(_index(np.rint(at), size), np.ones_like(at))]
    first = np.floor(at)
    share = at - first
    return [(_index(first, size), 1 - share), (_index(first + 1, size), share)]


def _cubic(t: Array) -> list[Array]:
    """Weights of the four elements around a place `t` behind the second (Keys 1981, a = -0.75)."""
    a = _CUBIC

    def near(d: Array) -> Array:
        return np.asarray(((a + 2) * d - (a + 3)) * d * d + 1)

    def far(d: Array) -> Array:
        return np.asarray(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _inside(at: Array, size: int, padding: str, aligned: bool) -> Array:
    """Places moved inside by the padding's rule."""
    if padding == "border":
        return np.asarray(np.clip(at, 0, size - 1))
    if padding == "zeros":
        return at
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    if high <= low:
        return np.zeros_like(at)
    turned = np.mod(at - low, 2 * (high - low))
    mirrored = np.minimum(turned, 2 * (high - low) - turned) + low
    return np.clip(mirrored, 0, size - 1)


def _index(at: Array, size: int) -> Array:
    """Whole places as indices, -1 outside; a place that is no number is outside too."""
    real = (at >= 0) & (at <= size - 1)
    return np.where(real, at, -1).astype(np.int64)


def _gathered(x: Array, taps: list[Taps]) -> Array:
    """Sums of x [N,C,...] over the products of the axes' taps, [N,out...] each."""
    batch = np.arange(x.shape[0]).reshape(-1, *[1] * (taps[0][0][0].ndim - 1))
    channels_last = np.moveaxis(x, 1, -1)
    total: Array = np.zeros((), x.dtype)
    for chosen in product(*taps):
        index = [i for i, _ in chosen]
        outside = np.any([i < 0 for i in index], axis=0)
        weight = np.prod([w for _, w in chosen], axis=0)
        values = channels_last[(batch, *(np.maximum(i, 0) for i in index))]
        total = total + np.where(outside[..., None], 0, values * weight[..., None])
    return np.moveaxis(total, -1, 1)


def affine_grid(call: Call) -> Sequence[Value]:
    """AffineGrid(theta [N, r, r+1], size [N, C, ...]): a place for each element, for GridSample."""
    theta, size = call.array(0), [int(d) for d in call.array(1).reshape(-1)]
    rank = len(size) - 2
    if theta.shape != (size[0], rank, rank + 1):
        raise ModelError(f"theta {list(theta.shape)} does not fit the size {size}")
    wide = computed(theta)
    axes = []
    for n in size[2:]:
        steps = np.arange(n, dtype=wide.dtype)
        if call.attr_flag("align_corners"):
            axes.append(2 * steps / (n - 1) - 1 if n > 1 else np.zeros(1, wide.dtype))
        else:
            axes.append((2 * steps + 1) / n - 1)
    places = np.meshgrid(*axes, indexing="ij")[::-1]
    homogeneous = np.stack([*places, np.ones(size[2:], wide.dtype)], axis=-1)
    y = np.einsum("...k,njk->n...j", homogeneous, wide)
    return [y.astype(theta.dtype)]


def roi_align(call: Call) -> Sequence[Value]:
    """RoiAlign(X, rois [R, 4], batch_indices) -> [R, C, height, width] (He et al. 2017).

    Since opset 16 rois are shifted by half a pixel unless coordinate_transformation_mode says not;
    before, they never were.
    """
    x, rois, batch = computed(call.array(0)), computed(call.array(1)), call.array(2)
    if x.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 4 or batch.shape != rois.shape[:1]:
        raise ModelError(f"X {list(x.shape)}, rois {list(rois.shape)} and their batches do not fit")
    mode = call.choice("mode", "avg", ("avg", "max"))
    coordinates = ("half_pixel", "output_half_pixel")
    half = call.opset >= 16 and (
        call.choice("coordinate_transformation_mode", "half_pixel", coordinates) == "half_pixel"
    )
    height, width = call.attr_int("output_height", 1), call.attr_int("output_width", 1)
    y = np.zeros((len(rois), x.shape[1], height, width), x.dtype)
    for r, (roi, image) in enumerate(zip(rois, batch, strict=True)):
        if not 0 <= image < len(x):
            raise ModelError(f"batch index {image} is outside of {len(x)} images")
        x0, y0, x1, y1 = roi * np.float32(call.attr_float("spatial_scale", 1.0)) - 0.5 * half
        extent = [y1 - y0, x1 - x0]
        if not half:
            extent = [max(e, 1) for e in extent]  # a malformed roi is made 1 x 1
        ratio = call.attr_int("sampling_ratio")
        lines = [
            _bins(start, e, bins, ratio or int(np.ceil(e / bins)))
            for start, e, bins in zip((y0, x0), extent, (height, width), strict=True)
        ]
        y[r] = _bin_values(x[image], lines, mode)
    return [y.astype(call.array(0).dtype)]


def _bins(start: float, extent: float, bins: int, samples: int) -> Array:
    """Places of samples along an axis, [bins, samples]."""
    size = np.float32(extent) / bins
    within = (np.arange(samples) + np.float32(0.5)) * size / max(samples, 1)
    return (start + np.arange(bins)[:, None] * size + within).astype(np.float32)


def _bin_values(image: Array, lines: list[Array], mode: str) -> Array:
    """The mean or maximum of the samples in each bin: image [C,H,W] -> [C,rows,columns]."""
    taps: list[Taps] = []
    for line, size in zip(lines, image.shape[1:], strict=True):
        beyond = (line < -1) | (line > size)
        at = np.clip(line, 0, size - 1)
        low = np.minimum(np.floor(at), size - 1).astype(np.int64)
        share = np.where(beyond, 0, at - low)
        keep = np.where(beyond, 0, 1 - share)
        taps.append([(low, keep), (np.minimum(low + 1, size - 1), share)])
    corners = []
    for (rows, wy), (columns, wx) in product(*taps):
        values = image[:, rows[:, :, None, None], columns[None, None]]
        corners.append(values * (wy[:, :, None, None] * wx[None, None]))
    if mode == "avg":
        samples = max(1, lines[0].shape[1] * lines[1].shape[1])
        return np.asarray(sum(corners).sum((2, 4)) / samples)
    # The greatest of the weighted corners, not of the samples, as ONNX's own case and ONNX
    # Runtime have it.
    return np.asarray(np.max([c.max((2, 4), initial=-np.inf) for c in corners], axis=0))


def max_roi_pool(call: Call) -> Sequence[Value]:
    """MaxRoiPool(X, rois [R, 5]) -> [R, C, ...]: the maximum of each bin (Girshick 2015)."""
    x, rois = call.array(0), call.array(1)
    shape = call.attr_ints("pooled_shape")
    if shape is None or len(shape) != 2 or x.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 5:
        raise ModelError(f"X {list(x.shape)}, rois {list(rois.shape)} and pooled_shape do not fit")
    scale = np.float32(call.attr_float("spatial_scale", 1.0))
    y = np.zeros((len(rois), x.shape[1], *shape), x.dtype)
    for r, roi in enumerate(computed(rois)):
        image = int(roi[0])
        if not 0 <= image < len(x):
            raise ModelError(f"batch index {image} is outside of {len(x)} images")
        x0, y0, x1, y1 = (int(np.floor(v + np.float32(0.5))) for v in roi[1:] * scale)
        spans = [
            _spans(start, max(end - start + 1, 1), bins, size)
            for start, end, bins, size in zip((y0, x0), (y1, x1), shape, x.shape[2:], strict=True)
        ]
        for (i, rows), (j, columns) in product(enumerate(spans[0]), enumerate(spans[1])):
            part = x[image, :, rows, columns]
            if part.size:
                y[r, :, i, j] = part.max((1, 2))
    return [y]


def _spans(start: int, extent: int, bins: int, size: int) -> list[slice]:
    step = np.float32(extent) / np.float32(bins)
    edges = [
        (int(np.floor(i * step)) + start, int(np.ceil((i + 1) * step)) + start) for i in range(bins)
    ]
    return [slice(min(max(a, 0), size), min(max(b, 0), size)) for a, b in edges]
