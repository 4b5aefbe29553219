"""Resize of every opset, and Upsample: each axis is a matrix of weights that the data is multiplied by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of, computed

Array = np.ndarray

_COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")


@dataclass(frozen=True)
class _Axis:
    """One axis: its extents, the scale (computed or given), and the part of it that is looked at."""

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class _Sampling:
    mode: str
    coordinates: str
    nearest: str
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    outside: float = 0.0


def resize(call: Call) -> Sequence[Value]:
    """Resize of any opset: by scales or sizes, for all axes or some."""
    if call.opset < 11:
        return upsample(call)
    x, roi, scales, sizes = call.array(0), call.given(1), call.given(2), call.given(3)
    axes = [axis_of(a, x.ndim) for a in call.attr_ints("axes") or range(x.ndim)]
    sampling = _Sampling(
        call.choice("mode", "nearest", ("nearest", "linear", "cubic")),
        call.choice("coordinate_transformation_mode", "half_pixel", _COORDINATES),
        call.choice("nearest_mode", "round_prefer_floor", _NEAREST),
        call.attr_float("cubic_coeff_a", -0.75),
        call.attr_flag("exclude_outside"),
        call.attr_flag("antialias"),
        call.attr_float("extrapolation_value", 0.0),
    )
    regions = [(0.0, 1.0)] * len(axes)
    if sampling.coordinates == "tf_crop_and_resize":
        if roi is None or roi.size != 2 * len(axes):
            raise ModelError("tf_crop_and_resize takes a roi with two numbers for each axis")
        half = roi.astype(np.float64).reshape(2, -1)
        regions = [(float(a), float(b)) for a, b in half.T]
    if scales is not None and scales.size:
        given = _for_axes(scales, axes, "scales")
        made = [
            _by_scale(x.shape[a], float(s), r) for a, s, r in zip(axes, given, regions, strict=True)
        ]
    elif sizes is not None and sizes.size:
        extents = [x.shape[a] for a in axes]
        wanted = _for_axes(sizes, axes, "sizes")
        policy = call.attr_str("keep_aspect_ratio_policy", "stretch")
        made = _by_sizes(extents, [int(s) for s in wanted], policy, regions)
    else:
        raise ModelError("neither scales nor sizes are given")
    return [_resized(x, dict(zip(axes, made, strict=True)), sampling)]


def upsample(call: Call) -> Sequence[Value]:
    """Upsample, and Resize of opset 10: asymmetric coordinates, a scale for each axis.

    Where an axis shrinks, nearest takes the element behind, as ONNX Runtime does; else before.
    """
    x, given = call.array(0), call.given(1)
    scales = given if given is not None else np.array(call.attr_floats("scales") or ())
    mode = {"bilinear": "linear"}.get(
        call.attr_str("mode", "nearest"), call.attr_str("mode", "nearest")
    )
    if mode not in ("nearest", "linear"):
        raise ModelError(f"mode {mode!r} is neither nearest nor linear")
    axes = list(range(x.ndim))
    made = [
        _by_scale(n, float(s), (0.0, 1.0))
        for n, s in zip(x.shape, _for_axes(scales, axes, "scales"), strict=True)
    ]
    return [_resized(x, dict(enumerate(made)), _Sampling(mode, "asymmetric", "simple"))]


def _for_axes(values: Array, axes: list[int], what: str) -> list[float]:
    if values.size != len(axes):
        raise ModelError(
            f"{what} {values.reshape(-1).tolist()} are not {len(axes)} numbers, one an axis"
        )
    if (values.reshape(-1) < 0).any() or (what == "scales" and (values == 0).any()):
        raise ModelError(f"{what} {values.reshape(-1).tolist()} are not positive")
    return [v.item() for v in values.reshape(-1)]


def _by_scale(size: int, scale: float, region: tuple[float, float]) -> _Axis:
    """floor(size * scale): ONNX's text has the region in it too, its shape inference has not."""
    return _Axis(size, floor(np.float32(size) * np.float32(scale)), scale, *region)


def _by_sizes(
    extents: list[int], sizes: list[int], policy: str, regions: list[tuple[float, float]]
) -> list[_Axis]:
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise ModelError(f"unknown keep_aspect_ratio_policy {policy!r}")
    if policy != "stretch":
        ratios = [np.float32(s) / np.float32(n) for s, n in zip(sizes, extents, strict=True)]
        scale = float(min(ratios) if policy == "not_larger" else max(ratios))
        # round_int: halves go up, as everywhere in ONNX but in `nearest`.
        return [
            _Axis(n, floor(scale * n + 0.5), scale, *r)
            for n, r in zip(extents, regions, strict=True)
        ]
    return [
        _Axis(n, s, float(np.float32(s) / np.float32(n)) if n else 1.0, *r)
        for n, s, r in zip(extents, sizes, regions, strict=True)
    ]


def _resized(x: Array, axes: dict[int, _Axis], sampling: _Sampling) -> Array:
    shape = [axes[a].out if a in axes else n for a, n in enumerate(x.shape)]
    y = x if sampling.mode == "nearest" else computed(x)
    if y.dtype.kind != "f" and sampling.mode != "nearest":
        y = y.astype(np.float32 if y.dtype.itemsize < 4 else np.float64)
    outside = np.zeros(shape, bool)
    for a, axis in axes.items():
        if axis.out == axis.size and axis.scale == 1 and (axis.start, axis.end) == (0, 1):
            continue
        if not axis.size:
            raise ModelError(f"axis {a} has no elements to be resized")
        at = _places(axis, sampling.coordinates)
        if sampling.coordinates == "tf_crop_and_resize":
            beyond = (at < 0) | (at > axis.size - 1)
            outside |= beyond.reshape(-1, *[1] * (x.ndim - 1 - a))
        if sampling.mode == "nearest":
            y = np.take(y, _nearest(at, axis, sampling.nearest), axis=a)
        else:
            weights = _weights(at, axis, sampling).astype(y.dtype)
            y = np.moveaxis(np.tensordot(y, weights, ((a,), (1,))), -1, a)
    y = np.where(outside, np.asarray(sampling.outside, y.dtype), y) if outside.any() else y
    return _stored(y, x.dtype)


def _stored(y: Array, dtype: np.dtype) -> Array:
    """y in the input's type: to integers by cutting off, within their range."""
    if dtype.kind in "iu" and y.dtype.kind == "f":
        info = np.iinfo(dtype)
        return np.asarray(np.clip(y, info.min, info.max).astype(dtype))
    return y.astype(dtype, copy=False)


def _places(axis: _Axis, coordinates: str) -> Array:
    """Where in the input each element of the result lies, in f32 as runtimes compute it."""
    out = np.arange(axis.out, dtype=np.float32)
    scale, size, count = np.float32(axis.scale), np.float32(axis.size), axis.out
    half = np.float32(0.5)
    if coordinates == "asymmetric":
        return out / scale
    if coordinates == "pytorch_half_pixel":
        return (out + half) / scale - half if count > 1 else np.zeros_like(out)
    if coordinates == "align_corners":
        return out * (size - 1) / np.float32(count - 1) if count > 1 else np.zeros_like(out)
    if coordinates == "tf_half_pixel_for_nn":
        return (out + half) / scale
    if coordinates == "tf_crop_and_resize":
        start, end = np.float32(axis.start), np.float32(axis.end)
        if count <= 1:
            return np.full_like(out, half * (start + end) * (size - 1))
        return start * (size - 1) + out * (end - start) * (size - 1) / np.float32(count - 1)
    at = (out + half) / scale - half
    if coordinates == "half_pixel_symmetric":
        adjustment = np.float32(count) / (scale * size)
        at = at + size / 2 * (1 - adjustment)
    return at


def _nearest(at: Array, axis: _Axis, rule: str) -> Array:
    if rule == "simple":
        rule = "ceil" if axis.scale < 1 else "floor"
    if rule == "round_prefer_floor":
        index = np.ceil(at - np.float32(0.5))
    elif rule == "round_prefer_ceil":
        index = np.floor(at + np.float32(0.5))
    else:
        index = np.floor(at) if rule == "floor" else np.ceil(at)
    return np.clip(index, 0, axis.size - 1).astype(np.int64)


def _weights(at: Array, axis: _Axis, sampling: _Sampling) -> Array:
    """[out, size]: what each element of the result takes of each of the input."""
    shrink = min(axis.scale, 1.0) if sampling.antialias else 1.0
    support = (1 if sampling.mode == "linear" else 2) / shrink
    at = at.astype(np.float64)
    if sampling.mode == "linear" and not sampling.antialias:
        at = np.clip(at, 0, axis.size - 1)
    first = np.floor(at - support).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * support)) + 2)
    distance = np.abs(taps - at[:, None]) * shrink
    share = (
        np.maximum(0, 1 - distance)
        if sampling.mode == "linear"
        else _cubic(distance, sampling.cubic)
    )
    real = (taps >= 0) & (taps < axis.size)
    if sampling.exclude_outside:
        share = np.where(real, share, 0)
    share = share / share.sum(1, keepdims=True)
    matrix = np.zeros((axis.out, axis.size))
    rows = np.broadcast_to(np.arange(axis.out)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.size - 1)), share)
    return matrix


def _cubic(d: Array, a: float) -> Array:
    """Keys 1981, of distances d >= 0."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
