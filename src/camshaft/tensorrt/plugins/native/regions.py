"""ROIAlign_TRT, which reads images with channels last, as convolutions before it leave them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.plugins.plugin import plugin
from camshaft.ir.types import TensorType
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.ops.hosted.spatial.sampling import RegionGrid, aligned_regions
from camshaft.tensorrt.plugins.native.base import Kind, Values
from camshaft.tensorrt.plugins.native.kernels.regions import part_bytes, part_items, write_regions

_FIELDS = {
    "coordinate_transformation_mode": 1,
    "mode": 1,
    "output_height": 1,
    "output_width": 1,
    "sampling_ratio": 0,
    "spatial_scale": 1.0,
}


def _types(x: TensorType, rois: TensorType, images: TensorType, **attrs: Any) -> Any:
    why = f"X {x}, rois {rois} and batch_indices {images} must be [N,C,H,W], [R,4] and [R]"
    if x.rank != 4 or rois.rank != 2 or images.rank != 1:
        raise ModelError(why)
    require_equal(rois.shape[1], 4, why)
    require_equal(images.shape[0], rois.shape[0], why)
    bins = (attrs["output_height"], attrs["output_width"])
    return [(x.dtype, (rois.shape[0], x.shape[3], *bins))]


def _images(x: TensorType, rois: TensorType, images: TensorType, **attrs: Any) -> Any:
    return {2: (0, x.shape[0] - 1)}


@plugin("camshaft.tensorrt::ROIAlign", infer=_types, attributes=_FIELDS, integers=_images)
def regions(x: np.ndarray, rois: np.ndarray, images: np.ndarray, **attrs: Any) -> np.ndarray:
    """x [N, H, W, C], rois [R, 4], images [R] -> [R, C, output_height, output_width]; NaN for a region that is not finite or of
    an image that there is not."""
    grid = RegionGrid(
        (attrs["output_height"], attrs["output_width"]),
        attrs["sampling_ratio"],
        attrs["spatial_scale"],
        bool(attrs["coordinate_transformation_mode"]),
        bool(attrs["mode"]),
    )
    y = np.full((len(rois), x.shape[3], *grid.bins), np.nan, x.dtype)
    valid = np.isfinite(rois).all(1) & (images >= 0) & (images < len(x))
    found = aligned_regions(np.moveaxis(x, -1, 1), rois[valid], images[valid], grid)
    y[valid] = np.moveaxis(found, -1, 1)
    return y


regions.kernel(
    types=[("f32", "f32", "i32")],
    items=part_items,
    scratch=part_bytes,
    params=[{"channels": 128}, {"channels": 64}, {"channels": 32}],
    name="regions",
)(write_regions)


def _roi_align(net: Network, inputs: Sequence[Tensor], values: Values) -> Sequence[Tensor]:
    """x [N, C, H, W], rois [R, 4] and the images [R] that they are of -> [R, C, output_height, output_width]."""
    if len(inputs) != 3:
        raise ModelError(f"{len(inputs)} inputs are not X, rois and batch_indices")
    x, rois, images = inputs
    if len(x.shape) != 4:
        raise ModelError(f"X {x.shape} must be [N,C,H,W]")
    last = net.transpose(x, (0, 2, 3, 1))
    return [net.plugin(regions, last, rois, net.cast(images, "int32"), **values)]


_LIMITS = {
    "mode": (0, 1),
    "coordinate_transformation_mode": (0, 1),
    "sampling_ratio": (0, inf),
    "output_height": (1, inf),
    "output_width": (1, inf),
}

KINDS: tuple[Kind, ...] = (Kind("ROIAlign_TRT", {"1": 2, "2": 3}, _FIELDS, 1, _roi_align, _LIMITS),)
