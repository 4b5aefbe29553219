"""BatchedNMSDynamic_TRT and BatchedNMS_TRT: the best boxes of each class of each image, then of each image."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins.plugin import plugin
from camshaft.ir.types import TensorType, i32
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.plugins.native.base import Kind, Values
from camshaft.tensorrt.plugins.native.boxes import best_first, checked, kept, of_classes, ordered
from camshaft.tensorrt.plugins.native.kernels import classes

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
_OF_CLASSES = dict.fromkeys(
    ("topK", "keepTopK", "backgroundLabelId", "scoreThreshold", "iouThreshold", "more"), REQUIRED
)
"""Attributes of the first step.  more: what is added to widths and heights."""
_OF_IMAGES = dict.fromkeys(("keepTopK", "scoreThreshold", "clips"), REQUIRED)


def _class_types(boxes: TensorType, scores: TensorType, **attrs: Any) -> Any:
    images, kinds, count = scores.shape
    checked(boxes, TensorType(scores.dtype, (images, count, kinds)))
    shape = (images, kinds, attrs["keepTopK"])
    return [(scores.dtype, shape), (i32, shape)]


@plugin("camshaft.tensorrt::BatchedNMSClasses", infer=_class_types, attributes=_OF_CLASSES)
def best_of_classes(boxes: np.ndarray, scores: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    """Scores [N, C, B] -> scores and numbers of boxes [N, C, keepTopK] that are kept, the best first; behind them the
    threshold, which does not pass, and 0."""
    images, kinds, count = scores.shape
    most, places = attrs["keepTopK"], ordered(of_classes(boxes, kinds))
    top = attrs["topK"] if attrs["topK"] > 0 else count
    threshold = scores.dtype.type(attrs["scoreThreshold"])
    values = np.full((images, kinds, most), threshold)
    numbers = np.zeros(values.shape, np.int32)
    for n, kind in np.ndindex(images, kinds):
        if kind == attrs["backgroundLabelId"]:
            continue
        (passed,) = np.nonzero(scores[n, kind] > threshold)
        order = passed[best_first(scores[n, kind, passed])][:top]
        b = places[n, order, kind]
        keep = kept(b, None, lambda iou: iou > attrs["iouThreshold"], most, attrs["more"])[:most]
        numbers[n, kind, : len(keep)] = order[keep]
        values[n, kind, : len(keep)] = scores[n, kind, order[keep]]
    return [values, numbers]


best_of_classes.kernel(
    types=[("f32", "f32")],
    items=classes.class_items,
    scratch=classes.class_scratch,
    name="classes",
)(classes.write_best_of_classes)


def _image_types(boxes: TensorType, values: TensorType, numbers: TensorType, **attrs: Any) -> Any:
    images, most = values.shape[0], attrs["keepTopK"]
    return [
        (i32, (images, 1)),
        (boxes.dtype, (images, most, 4)),
        (values.dtype, (images, most)),
        (values.dtype, (images, most)),
    ]


@plugin(
    "camshaft.tensorrt::BatchedNMSImages",
    infer=_image_types,
    attributes=_OF_IMAGES,
    integers=lambda boxes, values, numbers, **attrs: {2: (0, boxes.shape[1] - 1)},
)
def best_of_images(
    boxes: np.ndarray, values: np.ndarray, numbers: np.ndarray, **attrs: Any
) -> list[np.ndarray]:
    """What `best_of_classes` gives -> how many detections there are, their boxes, scores and classes; behind the last 0, 0
    and -1."""
    images, kinds, most = values.shape
    places = ordered(of_classes(boxes, kinds))
    counts = np.zeros((images, 1), np.int32)
    found = np.zeros((images, most, 4), boxes.dtype)
    scores = np.zeros((images, most), values.dtype)
    labels = np.full((images, most), -1, values.dtype)
    for n in range(images):
        flat = values[n].reshape(-1)
        (passed,) = np.nonzero(flat > flat.dtype.type(attrs["scoreThreshold"]))
        order = passed[best_first(flat[passed])][:most]
        counts[n], count = len(order), len(order)
        b = places[n, numbers[n].reshape(-1)[order], order // most]
        found[n, :count] = np.clip(b, 0, 1) if attrs["clips"] else b
        scores[n, :count], labels[n, :count] = flat[order], order // most
    return [counts, found, scores, labels]


best_of_images.kernel(
    types=[("f32", "f32", "i32")],
    items=lambda work: work.outputs[0].shape[0],
    scratch=classes.image_scratch,
    name="images",
)(classes.write_best_of_images)


def _batched(net: Network, inputs: Sequence[Tensor], values: Values) -> Sequence[Tensor]:
    """boxes [N, B, 4], [N, B, 1, 4] or [N, B, C, 4], scores [N, B, C] -> counts, boxes, scores, classes."""
    if len(inputs) != 2:
        raise ModelError(f"{len(inputs)} inputs are not boxes and scores")
    boxes, scores = inputs
    if len(scores.shape) != 3:
        raise ModelError(f"scores {scores.shape} must be [N,B,C]")
    same = {"keepTopK": values["keepTopK"], "scoreThreshold": values["scoreThreshold"]}
    best = net.plugin(
        best_of_classes,
        boxes,
        net.transpose(scores, (0, 2, 1)),
        topK=values["topK"],
        backgroundLabelId=values["backgroundLabelId"],
        iouThreshold=values["iouThreshold"],
        more=1.0 if values["caffeSemantics"] and not values["isNormalized"] else 0.0,
        **same,
    )
    clips = values["clipBoxes"] and values["isNormalized"]
    made: Sequence[Tensor] = net.plugin(best_of_images, boxes, *best, clips=int(clips), **same)
    return made


KINDS: tuple[Kind, ...] = (
    Kind("BatchedNMSDynamic_TRT", {"1": 2}, _BATCHED, 4, _batched, {"keepTopK": (1, inf)}),
    Kind("BatchedNMS_TRT", {"1": 2}, _BATCHED, 4, _batched, {"keepTopK": (1, inf)}),
)
