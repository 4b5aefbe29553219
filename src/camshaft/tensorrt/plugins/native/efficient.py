"""EfficientNMS_TRT and EfficientNMS_ONNX_TRT: detections of images, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf, log
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.plugins.plugin import Plugin, plugin
from camshaft.ir.types import TensorType, i32
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.plugins.native.base import Kind, Values
from camshaft.tensorrt.plugins.native.boxes import (
    best_first,
    checked,
    corners_of,
    kept,
    of_classes,
    ordered,
)
from camshaft.tensorrt.plugins.native.kernels import detections

_MOST_SORTED = 4096
"""Detections of an image that EfficientNMS looks at."""

_EFFICIENT = {
    "score_threshold": 0.25,
    "iou_threshold": 0.5,
    "max_output_boxes": 100,
    "background_class": -1,
    "score_activation": False,
    "class_agnostic": False,
    "box_coding": 0,
}
_ONNX = {
    "score_threshold": 0.25,
    "iou_threshold": 0.5,
    "max_output_boxes_per_class": 100,
    "center_point_box": 0,
}


def _candidates(
    boxes: np.ndarray, scores: np.ndarray, passes: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of an image [B, C]: boxes, scores, classes and numbers of boxes of those that pass, the best first."""
    number, which = np.nonzero(passes)
    order = best_first(scores[number, which])[:most]
    number, which = number[order], which[order]
    return boxes[number, which], scores[number, which], which, number


def _threshold(attrs: Values) -> float:
    """Of scores as they are given: the sigmoid's inverse, where they have to go through it, as TensorRT has it."""
    least = float(attrs["score_threshold"])
    if not attrs["score_activation"]:
        return least
    return -inf if least <= 0 else inf if least >= 1 else log(least / (1 - least))


def _efficient_types(boxes: TensorType, scores: TensorType, *rest: TensorType, **attrs: Any) -> Any:
    images, count, _ = checked(boxes, scores)
    for anchors in rest:
        why = f"anchors {anchors} must be [1 or N,B,4] for boxes {boxes}"
        if anchors.rank != 3:
            raise ModelError(why)
        if anchors.shape[0] != 1:
            require_equal(anchors.shape[0], images, why)
        require_equal(anchors.shape[1], count, why)
        require_equal(anchors.shape[2], 4, why)
    most = attrs["max_output_boxes"]
    return [
        (i32, (images, 1)),
        (boxes.dtype, (images, most, 4)),
        (scores.dtype, (images, most)),
        (i32, (images, most)),
    ]


def _corners(boxes: np.ndarray, anchors: np.ndarray | None, coding: int) -> np.ndarray:
    """Boxes [N, B, C, 4] as corners, moved by anchors [N or 1, B, 4]."""
    if anchors is not None:
        of = anchors[:, :, None]
        if coding == 0:
            boxes = ordered(boxes) + ordered(of)
        else:
            center = boxes[..., :2] * of[..., 2:] + of[..., :2]
            with np.errstate(over="ignore"):
                growth = np.exp(boxes[..., 2:].astype(np.float64)).astype(boxes.dtype)
                boxes = np.concatenate([center, of[..., 2:] * growth], -1)
    return corners_of(boxes) if coding else boxes


@plugin("camshaft.tensorrt::EfficientNMS", infer=_efficient_types, attributes=_EFFICIENT)
def efficient(
    boxes: np.ndarray, scores: np.ndarray, anchors: np.ndarray | None = None, **attrs: Any
) -> list[np.ndarray]:
    """How many detections there are, their boxes (corners), scores and classes; 0 behind the last."""
    images, _, classes = scores.shape
    most = attrs["max_output_boxes"]
    passes = scores >= scores.dtype.type(_threshold(attrs))
    if 0 <= attrs["background_class"] < classes:
        passes[:, :, attrs["background_class"]] = False
    places = _corners(of_classes(boxes, classes), anchors, attrs["box_coding"])
    numbers = np.zeros((images, 1), np.int32)
    found = np.zeros((images, most, 4), boxes.dtype)
    values, kinds = np.zeros((images, most), scores.dtype), np.zeros((images, most), np.int32)
    for n in range(images):
        b, s, c, _ = _candidates(places[n], scores[n], passes[n], _MOST_SORTED)
        same = None if attrs["class_agnostic"] else c
        keep = kept(b, same, lambda iou: iou >= attrs["iou_threshold"], most)[:most]
        numbers[n], count = len(keep), len(keep)
        found[n, :count], values[n, :count], kinds[n, :count] = b[keep], s[keep], c[keep]
        if attrs["score_activation"]:
            values[n, :count] = 1 / (1 + np.exp(-values[n, :count]))
    return [numbers, found, values, kinds]


@efficient.kernel(
    types=[("f32", "f32"), ("f32", "f32", "f32")],
    items=detections.images_of,
    scratch=lambda work: detections.scratch_bytes(_MOST_SORTED, work.attrs["max_output_boxes"]),
    name="detections",
)
def _write_efficient(k: Any, work: Work, *pointers: Any) -> None:
    detections.write_detections(
        k, work, _threshold(work.attrs), *pointers, most_sorted=_MOST_SORTED
    )


def _onnx_types(boxes: TensorType, scores: TensorType, **attrs: Any) -> Any:
    images, _, _ = checked(boxes, scores)
    return i32, (images * attrs["max_output_boxes_per_class"], 3)


@plugin("camshaft.tensorrt::EfficientNMSIndices", infer=_onnx_types, attributes=_ONNX)
def indices(boxes: np.ndarray, scores: np.ndarray, **attrs: Any) -> np.ndarray:
    """Image, class and box of each detection; the last one again behind it.

    An image has at most `max_output_boxes_per_class` of them, of whatever classes, as TensorRT's plugin gives.
    """
    images, _, classes = scores.shape
    most = attrs["max_output_boxes_per_class"]
    places = of_classes(boxes, classes)
    places = corners_of(places) if attrs["center_point_box"] else ordered(places)
    passes = scores >= scores.dtype.type(attrs["score_threshold"])
    made = np.zeros((images * most, 3), np.int32)
    count = 0
    for n in range(images):
        b, _, c, number = _candidates(places[n], scores[n], passes[n], _MOST_SORTED)
        for i in kept(b, c, lambda iou: iou >= attrs["iou_threshold"], most)[:most]:
            made[count] = n, c[i], number[i]
            count += 1
    if count:
        made[count:] = made[count - 1]
    return made


indices.kernel(
    types=[("f32", "f32")],
    items=lambda work: 1,
    scratch=lambda work: detections.scratch_bytes(
        _MOST_SORTED, work.attrs["max_output_boxes_per_class"]
    ),
    name="indices",
)(partial(detections.write_indices, most_sorted=_MOST_SORTED))


def _added(of: Plugin, most: int) -> Any:
    """Adds a layer of a plugin, of two to `most` inputs."""

    def lower(net: Network, inputs: Sequence[Tensor], values: Values) -> Sequence[Tensor]:
        if not 2 <= len(inputs) <= most:
            raise ModelError(
                f"{len(inputs)} inputs are not boxes and scores{', and anchors' * (most > 2)}"
            )
        made = net.plugin(of, *inputs, **values)
        return made if isinstance(made, tuple) else [made]

    return lower


KINDS: tuple[Kind, ...] = (
    Kind(
        "EfficientNMS_TRT",
        {"1": 2},
        _EFFICIENT,
        4,
        _added(efficient, 3),
        {"max_output_boxes": (1, inf), "box_coding": (0, 1)},
    ),
    Kind(
        "EfficientNMS_ONNX_TRT",
        {"1": 2},
        _ONNX,
        1,
        _added(indices, 2),
        {"max_output_boxes_per_class": (1, inf), "center_point_box": (0, 1)},
    ),
)
