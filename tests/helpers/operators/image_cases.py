"""Cases of resizing and of sampling at computed places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operator_case import Case, Generate, Rng, extents, floats, given, maybe, pick


def grid_sample(rng: Rng, opset: int) -> Case:
    rank = 2 if opset < 20 else pick(rng, 2, 2, 3)
    names = ("bilinear", "nearest", "bicubic") if opset < 20 else ("linear", "nearest", "cubic")
    mode = pick(rng, None, *(names[:2] if rank == 3 else names))
    x = floats(rng, 2, 2, *extents(rng, rank, 1, 5))
    grid = rng.uniform(-1.6, 1.6, (2, *extents(rng, rank, 1, 4), rank)).astype(np.float32)
    attrs = given(
        mode=mode,
        padding_mode=maybe(rng, pick(rng, "zeros", "border", "reflection"), 0.9),
        align_corners=maybe(rng, 1),
    )
    return Case("GridSample", opset, [x, grid], attrs, rtol=1e-4, atol=2e-5)


def affine_grid(rng: Rng, opset: int) -> Case:
    rank = pick(rng, 2, 3)
    size = [2, 3, *extents(rng, rank, 2, 4)]
    inputs = [floats(rng, 2, rank, rank + 1), np.array(size)]
    return Case("AffineGrid", opset, inputs, given(align_corners=maybe(rng, 1)), atol=2e-6)


def roi_align(rng: Rng, opset: int) -> Case:
    count = int(rng.integers(1, 4))
    x = floats(rng, 2, 2, *extents(rng, 2, 4, 8))
    corners = np.sort(rng.uniform(-2, 18, (count, 2, 2)), axis=1).reshape(count, 4)
    attrs = given(
        mode=maybe(rng, pick(rng, "avg", "max")),
        output_height=maybe(rng, 2),
        output_width=maybe(rng, 3),
        sampling_ratio=maybe(rng, pick(rng, 0, 1, 2, 3)),
        spatial_scale=maybe(rng, 0.5),
    )
    if opset >= 16:
        how = pick(rng, "half_pixel", "output_half_pixel")
        attrs |= given(coordinate_transformation_mode=maybe(rng, how))
    inputs = [x, corners.astype(np.float32), rng.integers(0, 2, count)]
    peer = 21 if opset > 21 else None
    return Case("RoiAlign", opset, inputs, attrs, rtol=1e-4, atol=1e-5, peer_opset=peer)


def max_roi_pool(rng: Rng, opset: int) -> Case:
    count = int(rng.integers(1, 4))
    corners = np.sort(rng.uniform(0, 12, (count, 2, 2)), axis=1).reshape(count, 4)
    rois = np.concatenate([rng.integers(0, 2, (count, 1)), corners], 1).astype(np.float32)
    attrs = given(pooled_shape=extents(rng, 2, 1, 3), spatial_scale=maybe(rng, 0.5))
    peer = 21 if opset > 21 else None
    return Case("MaxRoiPool", opset, [floats(rng, 2, 2, 6, 7), rois], attrs, peer_opset=peer)


def resize(rng: Rng, opset: int) -> Case:
    if opset < 11:
        return upsample_like(rng, "Resize", opset, np.array([0.6, 1.0, 1.3, 2.0, 0.5]))
    mode = pick(rng, "nearest", "linear", "cubic")
    spatial = 2 if mode == "cubic" else pick(rng, 1, 2, 2, 3)
    x = floats(rng, *extents(rng, 2, 1, 2), *extents(rng, spatial, 1, 6))
    coordinates = [
        "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
    ]  # fmt: skip
    if opset >= 19:
        coordinates.append("half_pixel_symmetric")
    if opset < 13:
        coordinates.append("tf_half_pixel_for_nn")
    chosen = maybe(rng, pick(rng, *coordinates), 0.85)
    antialias = opset >= 18 and mode != "nearest" and spatial == 2 and rng.random() < 0.4
    if antialias and chosen == "tf_crop_and_resize":
        chosen = None
    attrs: dict[str, Any] = given(
        mode=mode,
        coordinate_transformation_mode=chosen,
        nearest_mode=pick(rng, None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        if mode == "nearest" else None,
        cubic_coeff_a=maybe(rng, -0.5) if mode == "cubic" else None,
        exclude_outside=maybe(rng, 1) if mode == "cubic" else None,
        antialias=1 if antialias else None,
        extrapolation_value=maybe(rng, 3.0),
    )  # fmt: skip
    axes = list(range(2, x.ndim)) if opset >= 18 and rng.random() < 0.5 else None
    attrs |= given(axes=axes)
    front = [] if axes else [1.0, 1.0]
    roi = None
    if chosen == "tf_crop_and_resize":
        starts, ends = rng.uniform(-0.2, 0.4, spatial), rng.uniform(0.6, 1.2, spatial)
        half = [0.0, 0.0] if front else []
        roi = np.array([*half, *starts, *front, *ends], np.float32)
    if opset < 13 and roi is None:
        roi = np.zeros(0, np.float32)
    if rng.random() < 0.5:
        scales = np.array(
            [*front, *rng.choice([0.4, 0.5, 0.8, 1.0, 1.5, 2.0], spatial)], np.float32
        )
        scales[-spatial:] = _moving(x.shape[2:], scales[-spatial:])
        if roi is not None and roi.size:
            scales[-spatial:] = 2  # see below
        return Case("Resize", opset, [x, roi, scales], attrs, rtol=1e-4, atol=2e-5)
    sizes = extents(rng, spatial, 1, 9)
    if roi is not None and roi.size:  # ONNX Runtime does not crop axes whose extent stays
        sizes = [s + (s == n) for s, n in zip(sizes, x.shape[2:], strict=True)]
    if axes and roi is None:
        policy = pick(rng, "stretch", "not_larger", "not_smaller")
        attrs |= given(keep_aspect_ratio_policy=maybe(rng, policy))
    if opset < 13:
        scales = np.zeros(0, np.float32)
    else:
        scales = None
    whole = [*([] if axes else x.shape[:2]), *sizes]
    inputs = [x, roi, scales, np.array(whole, np.int64)]
    return Case("Resize", opset, inputs, attrs, rtol=1e-4, atol=2e-5)


def _moving(extents: tuple[int, ...], scales: np.ndarray) -> np.ndarray:
    """The scales, 1 where they leave nothing or all: ONNX Runtime then copies, whatever the scale."""
    out = np.floor(np.array(extents, np.float32) * scales)
    return np.where((out < 1) | (out == extents), np.float32(1), scales)


def upsample_like(rng: Rng, op_type: str, opset: int, steps: np.ndarray) -> Case:
    mode = pick(rng, None, "nearest", "linear")
    x = floats(rng, 1, 2, *extents(rng, 2, 2, 5))
    drawn = _moving(x.shape[2:], rng.choice(steps, 2).astype(np.float32))
    scales = [1.0, 1.0, *(float(s) for s in drawn)]
    if op_type == "Upsample" and opset < 9:
        return Case(op_type, opset, [x], given(mode=mode, scales=scales))
    return Case(op_type, opset, [x, np.array(scales, np.float32)], given(mode=mode))


def upsample(rng: Rng, opset: int) -> Case:
    return upsample_like(rng, "Upsample", opset, np.array([1.0, 1.3, 2.0, 2.5, 3.0]))


IMAGES: Mapping[str, Generate] = {
    "AffineGrid": affine_grid,
    "GridSample": grid_sample,
    "MaxRoiPool": max_roi_pool,
    "Resize": resize,
    "RoiAlign": roi_align,
    "Upsample": upsample,
}
