"""Detections: EfficientNMS_TRT, EfficientNMS_ONNX_TRT, BatchedNMSDynamic_TRT, BatchedNMS_TRT.

What is selected hangs on the data of each image, in turn: it is computed in NumPy, by the reference of a `camshaft.plugin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.plugins.plugin import Plugin, plugin
from camshaft.ir.types import TensorType, i32
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.plugins.native.base import Kind, Values
from camshaft.tensorrt.plugins.native.boxes import best_first, corners_of, kept, ordered

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
_BATCHED = {
    "shareLocation": True,
    "backgroundLabelId": -1,
    "numClasses": 0,
    "topK": -1,
    "keepTopK": 100,
    "scoreThreshold": 0.0,
    "iouThreshold": 0.5,
    "isNormalized": True,
    "clipBoxes": True,
    "scoreBits": 16,
    "caffeSemantics": True,
}


def _checked(boxes: TensorType, scores: TensorType) -> tuple[Any, Any, Any]:
    """Images, boxes of each, classes.  ModelError if the inputs are not [N, B, 4], or [N, B, C, 4], and [N, B, C]."""
    if scores.rank != 3 or boxes.rank not in (3, 4):
        raise ModelError(
            f"boxes {boxes} and scores {scores} must be [N,B,4] or [N,B,C,4], and [N,B,C]"
        )
    images, count, classes = scores.shape
    why = f"boxes {boxes} do not fit scores {scores}"
    require_equal(boxes.shape[0], images, why)
    require_equal(boxes.shape[1], count, why)
    require_equal(boxes.shape[-1], 4, why)
    if boxes.rank == 4 and boxes.shape[2] != 1:
        require_equal(boxes.shape[2], classes, why)
    return images, count, classes


def _of_classes(boxes: np.ndarray, classes: int) -> np.ndarray:
    """Boxes [N, B, C, 4] of each class."""
    by_class = boxes if boxes.ndim == 4 else boxes[:, :, None]
    return np.broadcast_to(by_class, (*by_class.shape[:2], classes, 4))


def _candidates(
    boxes: np.ndarray, scores: np.ndarray, passes: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of an image [B, C]: boxes, scores, classes and numbers of boxes of those that pass, the best first."""
    number, which = np.nonzero(passes)
    order = best_first(scores[number, which])[:most]
    number, which = number[order], which[order]
    return boxes[number, which], scores[number, which], which, number


# -- EfficientNMS_TRT --------------------------------------------------------------------------------------------------


def _efficient_types(boxes: TensorType, scores: TensorType, *rest: TensorType, **attrs: Any) -> Any:
    images, _, _ = _checked(boxes, scores)
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
                boxes = np.concatenate([center, of[..., 2:] * np.exp(boxes[..., 2:])], -1)
    return corners_of(boxes) if coding else boxes


@plugin("camshaft.tensorrt::EfficientNMS", infer=_efficient_types, attributes=_EFFICIENT)
def efficient(
    boxes: np.ndarray, scores: np.ndarray, anchors: np.ndarray | None = None, **attrs: Any
) -> list[np.ndarray]:
    """How many detections there are, their boxes (corners), scores and classes; 0 behind the last."""
    images, _, classes = scores.shape
    most = attrs["max_output_boxes"]
    given = 1 / (1 + np.exp(-scores)) if attrs["score_activation"] else scores
    passes = given >= given.dtype.type(attrs["score_threshold"])
    if 0 <= attrs["background_class"] < classes:
        passes[:, :, attrs["background_class"]] = False
    places = _corners(_of_classes(boxes, classes), anchors, attrs["box_coding"])
    numbers = np.zeros((images, 1), np.int32)
    found = np.zeros((images, most, 4), boxes.dtype)
    values, kinds = np.zeros((images, most), scores.dtype), np.zeros((images, most), np.int32)
    for n in range(images):
        b, s, c, _ = _candidates(places[n], given[n], passes[n], _MOST_SORTED)
        same = None if attrs["class_agnostic"] else c
        keep = kept(b, same, lambda iou: iou >= attrs["iou_threshold"], most)[:most]
        numbers[n], count = len(keep), len(keep)
        found[n, :count], values[n, :count], kinds[n, :count] = b[keep], s[keep], c[keep]
    return [numbers, found, values, kinds]


# -- EfficientNMS_ONNX_TRT ---------------------------------------------------------------------------------------------


def _onnx_types(boxes: TensorType, scores: TensorType, **attrs: Any) -> Any:
    images, _, _ = _checked(boxes, scores)
    return i32, (images * attrs["max_output_boxes_per_class"], 3)


@plugin("camshaft.tensorrt::EfficientNMSIndices", infer=_onnx_types, attributes=_ONNX)
def indices(boxes: np.ndarray, scores: np.ndarray, **attrs: Any) -> np.ndarray:
    """Image, class and box of each detection; the last one again behind it.

    An image has at most `max_output_boxes_per_class` of them, of whatever classes, as TensorRT's plugin gives.
    """
    images, _, classes = scores.shape
    most = attrs["max_output_boxes_per_class"]
    places = _of_classes(boxes, classes)
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


# -- BatchedNMS --------------------------------------------------------------------------------------------------------


def _batched_types(boxes: TensorType, scores: TensorType, **attrs: Any) -> Any:
    images, _, _ = _checked(boxes, scores)
    most = attrs["keepTopK"]
    return [
        (i32, (images, 1)),
        (boxes.dtype, (images, most, 4)),
        (scores.dtype, (images, most)),
        (scores.dtype, (images, most)),
    ]


@plugin("camshaft.tensorrt::BatchedNMS", infer=_batched_types, attributes=_BATCHED)
def batched(boxes: np.ndarray, scores: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    """How many detections there are, their boxes, scores and classes; behind the last 0, 0 and -1."""
    images, _, classes = scores.shape
    most, places = attrs["keepTopK"], ordered(_of_classes(boxes, classes))
    numbers = np.zeros((images, 1), np.int32)
    found = np.zeros((images, most, 4), boxes.dtype)
    values = np.zeros((images, most), scores.dtype)
    kinds = np.full((images, most), -1, scores.dtype)
    for n in range(images):
        b, s, c = _best_of_classes(places[n], scores[n], attrs)
        keep = best_first(s)[:most]
        numbers[n], count = len(keep), len(keep)
        clips = attrs["clipBoxes"] and attrs["isNormalized"]
        found[n, :count] = np.clip(b[keep], 0, 1) if clips else b[keep]
        values[n, :count], kinds[n, :count] = s[keep], c[keep]
    return [numbers, found, values, kinds]


def _best_of_classes(
    places: np.ndarray, scores: np.ndarray, attrs: Values
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and classes of an image's detections, class by class."""
    top = attrs["topK"] if attrs["topK"] > 0 else len(scores)
    more = 1.0 if attrs["caffeSemantics"] and not attrs["isNormalized"] else 0.0
    parts = []
    for kind in range(scores.shape[1]):
        if kind == attrs["backgroundLabelId"]:
            continue
        (passed,) = np.nonzero(scores[:, kind] > attrs["scoreThreshold"])
        order = passed[best_first(scores[passed, kind])][:top]
        b = places[order, kind]
        keep = kept(b, None, lambda iou: iou > attrs["iouThreshold"], None, more)
        parts.append((b[keep], scores[order[keep], kind], np.full(len(keep), kind)))
    if not parts:
        return np.zeros((0, 4)), np.zeros(0), np.zeros(0)
    b, s, c = (np.concatenate(p) for p in zip(*parts, strict=True))
    return b, s, c


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
    Kind("EfficientNMS_TRT", {"1": 2}, _EFFICIENT, 4, _added(efficient, 3)),
    Kind("EfficientNMS_ONNX_TRT", {"1": 2}, _ONNX, 1, _added(indices, 2)),
    Kind("BatchedNMSDynamic_TRT", {"1": 2}, _BATCHED, 4, _added(batched, 2)),
    Kind("BatchedNMS_TRT", {"1": 2}, _BATCHED, 4, _added(batched, 2)),
)
