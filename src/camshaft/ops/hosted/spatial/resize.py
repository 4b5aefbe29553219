"""Resize of every opset, and Upsample: axis by axis, by tables of indices and weights (`resize_tables`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of, computed
from camshaft.ops.hosted.spatial.resize_tables import (
    COORDINATES,
    NEAREST,
    Axis,
    Sampling,
    Table,
    narrow_table,
    places,
    table_of,
)

Array = np.ndarray

_FEW_TAPS = 4
"""From more on, a matrix of weights is multiplied by instead of adding up what each tap reads."""


def resize(call: Call) -> Sequence[Value]:
    """Resize of any opset, and Upsample: by scales or sizes, for all axes or some."""
    axes, sampling = _read(call)
    return [_resized(call.array(0), axes, sampling)]


def resize_tables(call: Call) -> Sequence[Value]:
    """The tables by which the op `resample` resizes images: inputs as of Resize (mode linear or cubic).

    Attribute `images`: the axes of height and width.  Gives an index i32 [out, taps] and weights f32 of
    the same shape for each of the two.  ModelError where another axis would change.
    """
    axes, sampling = _read(call)
    images = call.attr_ints("images") or []
    for a, axis in axes.items():
        if a not in images and not axis.unchanged:
            raise ModelError(
                f"axis {a} of {axis.size} elements would be resized to {axis.out}; where sizes or scales are "
                f"computed, a build takes only axes {images} of {list(call.array(0).shape)} for height and width"
            )
    made: list[Value] = []
    for a in images:
        size = call.array(0).shape[a]
        made += narrow_table(axes.get(a, Axis(size, size, 1.0)), sampling)
    return made


def _read(call: Call) -> tuple[dict[int, Axis], Sampling]:
    """What becomes of each axis that the node names."""
    if call.opset < 11:
        return _read_upsample(call)
    x, roi, scales, sizes = call.array(0), call.given(1), call.given(2), call.given(3)
    axes = [axis_of(a, x.ndim) for a in call.attr_ints("axes") or range(x.ndim)]
    sampling = Sampling(
        call.choice("mode", "nearest", ("nearest", "linear", "cubic")),
        call.choice("coordinate_transformation_mode", "half_pixel", COORDINATES),
        call.choice("nearest_mode", "round_prefer_floor", NEAREST),
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
    return dict(zip(axes, made, strict=True)), sampling


def _read_upsample(call: Call) -> tuple[dict[int, Axis], Sampling]:
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
    return dict(enumerate(made)), Sampling(mode, "asymmetric", "simple")


def _for_axes(values: Array, axes: list[int], what: str) -> list[float]:
    if values.size != len(axes):
        raise ModelError(
            f"{what} {values.reshape(-1).tolist()} are not {len(axes)} numbers, one an axis"
        )
    if (values.reshape(-1) < 0).any() or (what == "scales" and (values == 0).any()):
        raise ModelError(f"{what} {values.reshape(-1).tolist()} are not positive")
    return [v.item() for v in values.reshape(-1)]


def _by_scale(size: int, scale: float, region: tuple[float, float]) -> Axis:
    """floor(size * scale): ONNX's text has the region in it too, its shape inference has not."""
    return Axis(size, floor(np.float32(size) * np.float32(scale)), scale, *region)


def _by_sizes(
    extents: list[int], sizes: list[int], policy: str, regions: list[tuple[float, float]]
) -> list[Axis]:
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise ModelError(f"unknown keep_aspect_ratio_policy {policy!r}")
    if policy != "stretch":
        ratios = [np.float32(s) / np.float32(n) for s, n in zip(sizes, extents, strict=True)]
        scale = float(min(ratios) if policy == "not_larger" else max(ratios))
        # round_int: halves go up, as everywhere in ONNX but in `nearest`.
        return [
            Axis(n, floor(scale * n + 0.5), scale, *r)
            for n, r in zip(extents, regions, strict=True)
        ]
    return [
        Axis(n, s, float(np.float32(s) / np.float32(n)) if n else 1.0, *r)
        for n, s, r in zip(extents, sizes, regions, strict=True)
    ]


def _resized(x: Array, axes: dict[int, Axis], sampling: Sampling) -> Array:
    """x resampled along one axis after the other, those first that shrink most."""
    shape = [axes[a].out if a in axes else n for a, n in enumerate(x.shape)]
    y = x if sampling.mode == "nearest" else computed(x)
    if y.dtype.kind != "f" and sampling.mode != "nearest":
        y = y.astype(np.float32 if y.dtype.itemsize < 4 else np.float64)
    outside: Array | None = None
    changed = {a: axis for a, axis in axes.items() if not axis.unchanged}
    for a, axis in sorted(changed.items(), key=_turn):
        if sampling.coordinates == "tf_crop_and_resize":
            at = places(axis, sampling.coordinates)
            beyond = ((at < 0) | (at > axis.size - 1)).reshape(-1, *[1] * (x.ndim - 1 - a))
            outside = beyond if outside is None else outside | beyond
        y = _sampled(y, a, axis.size, table_of(axis, sampling))
    if outside is not None and outside.any():
        y = np.where(np.broadcast_to(outside, shape), np.asarray(sampling.outside, y.dtype), y)
    return _stored(y, x.dtype)


def _turn(changed: tuple[int, Axis]) -> tuple[float, int]:
    """The order of axes: what shrinks first; of equals the inner axis, whose elements are read one by one,
    where there is less of it."""
    a, axis = changed
    ratio = axis.out / max(1, axis.size)
    return ratio, a if ratio < 1 else -a


def _sampled(y: Array, a: int, size: int, table: Table) -> Array:
    """y resampled along axis `a` of `size` elements."""
    index, weight = table.index, table.weight
    if weight is None or not index.size:
        return np.take(y, index[:, 0], axis=a)
    weight = weight.astype(y.dtype)
    if index.shape[1] > _FEW_TAPS:
        matrix = np.zeros((len(index), size), y.dtype)
        np.add.at(matrix, (np.arange(len(index))[:, None], index), weight)
        return np.moveaxis(np.tensordot(y, matrix, ((a,), (1,))), -1, a)
    along = [-1] + [1] * (y.ndim - 1 - a)
    total: Array | None = None
    for taps, share in zip(index.T, weight.T, strict=True):
        part = np.take(y, taps, axis=a)
        part *= share.reshape(along)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def _stored(y: Array, dtype: np.dtype) -> Array:
    """y in the input's type: to integers by cutting off, within their range."""
    if dtype.kind in "iu" and y.dtype.kind == "f":
        info = np.iinfo(dtype)
        return np.asarray(np.clip(y, info.min, info.max).astype(dtype))
    return y.astype(dtype, copy=False)
