"""ROIAlign_TRT, as ONNX's RoiAlign."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.plugins.native.base import Kind, Values


def _roi_align(net: Network, inputs: Sequence[Tensor], values: Values) -> Sequence[Tensor]:
    """x [N, C, H, W], rois [R, 4] and the images [R] that they are of -> [R, C, output_height, output_width]."""
    if len(inputs) != 3:
        raise ModelError(f"{len(inputs)} inputs are not X, rois and batch_indices")
    for name in ("mode", "coordinate_transformation_mode"):
        if values[name] not in (0, 1):
            raise ModelError(f"{name}={values[name]} must be 0 or 1")
    x, rois, images = inputs
    half = "half_pixel" if values["coordinate_transformation_mode"] else "output_half_pixel"
    return [
        net.op(
            "RoiAlign",
            x,
            rois,
            net.cast(images, "int64"),
            mode="avg" if values["mode"] else "max",
            coordinate_transformation_mode=half,
            output_height=values["output_height"],
            output_width=values["output_width"],
            sampling_ratio=values["sampling_ratio"],
            spatial_scale=values["spatial_scale"],
        )
    ]


KINDS: tuple[Kind, ...] = (
    Kind(
        "ROIAlign_TRT",
        {"1": 2, "2": 3},
        {
            "coordinate_transformation_mode": 1,
            "mode": 1,
            "output_height": 1,
            "output_width": 1,
            "sampling_ratio": 0,
            "spatial_scale": 1.0,
        },
        1,
        _roi_align,
    ),
)
