"""Sampling images at computed places: GridSample, AffineGrid, RoiAlign, MaxRoiPool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed

Array = np.ndarray
Taps = list[tuple[Array, Array]]
"""(index along an axis, -1 for none; weight, 0 there): what a sample is a sum of."""

_BLOCK = 1 << 20
"""Elements that RoiAlign gathers at once: some megabytes, which stay in a cache."""

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
    places = prod(grid.shape[1:-1])
    taps = []
    for i, size in enumerate(x.shape[2:]):
        at = grid[..., rank - 1 - i].astype(dtype)
        at = (at + 1) / 2 * (size - 1) if aligned else ((at + 1) * size - 1) / 2
        taps.append(_taps(at.reshape(len(at), places), size, mode, padding, aligned))
    y = _gathered(x, taps).reshape(*x.shape[:2], *grid.shape[1:-1])
    rounded = np.rint(y) if x.dtype.kind in "iu" and y.dtype != x.dtype else y
    return [rounded.astype(x.dtype, copy=False)]


def _taps(at: Array, size: int, mode: str, padding: str, aligned: bool) -> Taps:
    """The taps along an axis of `size` elements."""
    if mode == "cubic":
        first = np.floor(at)
        weights = _cubic(at - first)
        return [
            _tap(_inside(first + i - 1, size, padding, aligned), size, w)
            for i, w in enumerate(weights)
        ]
    at = _inside(at, size, padding, aligned)
    if mode == "nearest":
        return [_tap(np.rint(at), size, np.ones_like(at))]
    first = np.floor(at)
    share = at - first
    return [_tap(first, size, 1 - share), _tap(first + 1, size, share)]


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


def _tap(at: Array, size: int, weight: Array) -> tuple[Array, Array]:
    """Whole places as a tap; a place that is no number is outside."""
    real = (at >= 0) & (at <= size - 1)
    if real.all():
        return at.astype(np.intp), weight
    return np.where(real, at, -1).astype(np.intp), np.where(real, weight, weight.dtype.type(0))


def _gathered(x: Array, taps: list[Taps]) -> Array:
    """Sums of x [N,C,...] over the products of the axes' taps, [N,P] each: [N,C,P].

    Elements are picked from flat planes, behind each of which stands a 0 for what is outside.
    """
    n, c, *spatial = x.shape
    count = prod(spatial)
    corners = [_corner(chosen, spatial) for chosen in product(*taps)]
    single = len(corners) == 1  # nothing is summed: the elements stay as they are
    dtype = x.dtype if single else np.result_type(computed(x), corners[0][1])
    planes = np.zeros((c, count + 1), dtype)
    y = np.empty((n, c, corners[0][0].shape[1]), dtype)
    part = np.empty(y.shape[1:], dtype)
    for image, total, i in zip(x.reshape(n, c, count), y, range(n), strict=True):
        planes[:, :count] = image
        for number, (index, weight) in enumerate(corners):
            into = part if number else total
            np.take(planes, index[i], 1, out=into, mode="clip")
            if not single:
                into *= weight[i]
            if number:
                total += part
    return y


def _corner(chosen: Sequence[tuple[Array, Array]], spatial: Sequence[int]) -> tuple[Array, Array]:
    """A tap of each axis as one of flat planes: the number of elements, or more, where one is outside."""
    count = prod(spatial)
    flat: Array = np.zeros((), np.intp)
    weight: Array = np.ones((), chosen[0][1].dtype)
    for axis, (index, share) in enumerate(chosen):
        step = prod(spatial[axis + 1 :])
        # Read as unsigned, the -1 of what is outside is larger than any place.
        flat = flat + np.minimum(index.view(np.uintp), count).view(np.intp) * max(step, 1)
        weight = weight * share
    return flat, weight


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
    coordinates = ("half_pixel", "output_half_pixel")
    half = call.opset >= 16 and (
        call.choice("coordinate_transformation_mode", "half_pixel", coordinates) == "half_pixel"
    )
    grid = RegionGrid(
        (call.attr_int("output_height", 1), call.attr_int("output_width", 1)),
        call.attr_int("sampling_ratio"),
        call.attr_float("spatial_scale", 1.0),
        half,
        call.choice("mode", "avg", ("avg", "max")) == "avg",
    )
    if ((batch < 0) | (batch >= len(x))).any():
        raise ModelError(f"batch indices {np.unique(batch)} leave the {len(x)} images")
    if not np.isfinite(rois).all():
        raise ModelError("a roi is not finite")
    return [np.moveaxis(aligned_regions(x, rois, batch, grid), -1, 1).astype(call.array(0).dtype)]


@dataclass(frozen=True)
class RegionGrid:
    """How regions are sampled: bins down and across, samples of a bin along each axis (0: one for each pixel), what coordinates are
    multiplied by, whether they are shifted by half a pixel, and whether the mean is taken and not the maximum."""

    bins: tuple[int, int]
    ratio: int
    scale: float
    half: bool
    mean: bool


def aligned_regions(x: Array, rois: Array, batch: Array, grid: RegionGrid) -> Array:
    """x [N, C, H, W], finite rois [R, 4] and images [R] -> [R, bins down, bins across, C]."""
    bins = grid.bins
    places = rois * rois.dtype.type(grid.scale)
    places -= rois.dtype.type(0.5 * grid.half)
    start = places[:, 1::-1]  # [R, 2]: rows, then columns
    extent = places[:, 3:1:-1] - start
    if not grid.half:
        extent = np.maximum(extent, 1)  # a malformed roi is made 1 x 1
    counts = np.full(extent.shape, grid.ratio)
    if not grid.ratio:
        counts = np.maximum(np.ceil(extent / np.array(bins, rois.dtype)), 0).astype(np.int64)
    pixels = _pixels_of(x, bins[0] * bins[1] * int(counts.prod(1).sum()) * 4)
    y = np.empty((len(rois), *bins, x.shape[1]), x.dtype)
    for samples in np.unique(counts, axis=0):
        (same,) = np.nonzero((counts == samples).all(1))
        most = max(1, _BLOCK // max(1, 4 * x.shape[1] * bins[0] * bins[1] * int(samples.prod())))
        for at in (same[i : i + most] for i in range(0, len(same), most)):
            lines = [
                _lines(start[at, a], extent[at, a], bins[a], int(samples[a]), x.shape[2 + a])
                for a in range(2)
            ]
            y[at] = _bin_values(pixels(batch[at], lines[0][0], lines[1][0]), lines, grid.mean)
    return y


def _lines(start: Array, extent: Array, bins: int, samples: int, size: int) -> tuple[Array, Array]:
    """What the samples of each bin read along an axis of `size` elements: indices [R, bins, 2 * samples],
    and weights.  start, extent: of each roi."""
    step = (extent / extent.dtype.type(bins))[:, None, None]
    number = np.arange(bins).astype(start.dtype)[:, None]
    share = np.arange(samples).astype(start.dtype) + start.dtype.type(0.5)
    line = start[:, None, None] + number * step + share * step / start.dtype.type(max(samples, 1))
    beyond = (line < -1) | (line > size)
    at = np.clip(line, 0, size - 1)
    low = at.astype(np.int64)
    second = np.where(beyond, 0, at - low)
    first = np.where(beyond, 0, 1 - second)
    indices = np.concatenate([low, np.minimum(low + 1, size - 1)], -1)
    return indices, np.concatenate([first, second], -1)


def _pixels_of(x: Array, wanted: int) -> Callable[[Array, Array, Array], Array]:
    """Gives pixels [R, rows..., columns..., C] of x [N,C,H,W] for images [R], rows [R, ...] and columns.

    wanted: how many there will be: only many are worth a copy of x with channels last.
    """
    n, c, h, w = x.shape
    many = wanted > n * h * w
    lying = np.ascontiguousarray(x.reshape(n, c, h * w).swapaxes(1, 2)) if many else None

    def pixels(images: Array, rows: Array, columns: Array) -> Array:
        flat = rows[:, :, :, None, None] * w + columns[:, None, None]
        images = images.astype(np.int64).reshape(-1, 1, 1, 1, 1)
        if lying is None:
            return np.asarray(x.reshape(n, c, h * w)[images, :, flat])
        found: Array = np.take(lying.reshape(-1, c), flat + images * (h * w), 0, mode="clip")
        return found

    return pixels


def _bin_values(pixels: Array, lines: list[tuple[Array, Array]], mean: bool) -> Array:
    """The mean or maximum of the samples in each bin, 0 where there are none: [R, rows, columns, C].

    pixels: [R, rows, 2 * samples, columns, 2 * samples, C].
    """
    rois, rows, down, columns, across, channels = pixels.shape
    (_, wy), (_, wx) = lines
    if not down * across:
        return np.zeros((rois, rows, columns, channels), pixels.dtype)
    if mean:
        samples = down * across // 4
        flat = pixels.reshape(rois, rows, down, columns * across * channels)
        lying = wy.astype(pixels.dtype)[:, :, None] @ flat
        lying = lying.reshape(rois, rows, columns, across, channels)
        return np.asarray((wx.astype(pixels.dtype)[:, None, :, None] @ lying)[..., 0, :] / samples)
    # The greatest of the weighted corners, not of the samples, as ONNX's own case and ONNX
    # Runtime have it.
    lying = (pixels * wy[:, :, :, None, None, None]).max(2)
    return np.asarray((lying * wx[:, None, :, :, None]).max(3))


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
