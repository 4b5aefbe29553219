"""Boxes in NumPy: shapes, coordinates, overlaps, and which boxes are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.types import TensorType

Array = np.ndarray
Suppresses = Callable[[Array], Array]
"""Overlaps -> where a kept box suppresses another."""


def corners_of(boxes: Array) -> Array:
    """Boxes [..., 4] of centers and sizes as opposite corners."""
    center, half = boxes[..., :2], boxes[..., 2:] * boxes.dtype.type(0.5)
    made: Array = np.concatenate([center - half, center + half], -1)
    return made


def ordered(boxes: Array) -> Array:
    """Corners [..., 4], the lesser one first."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)


def overlaps(box: Array, others: Array, more: float = 0.0) -> Array:
    """Intersection over union of a box [4] with others [n, 4], corners.  more: added to widths and heights."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low + more, 0), -1)
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2] + more, 0), -1)
    union = areas + np.prod(np.maximum(box[2:] - box[:2] + more, 0)) - common
    share: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return share


def kept(
    boxes: Array,
    classes: Array | None,
    suppresses: Suppresses,
    most: int | None,
    more: float = 0.0,
) -> list[int]:
    """Numbers of the boxes that no better one suppresses.

    boxes: [n, 4], corners, the best first.  classes: of boxes, which suppress those of their class; None: any.  most: how many
    are enough.  more: as in `overlaps`.
    """
    alive, found = np.ones(len(boxes), bool), []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        found.append(i)
        if len(found) == most:
            break
        over = suppresses(overlaps(boxes[i], boxes[i + 1 :], more))
        if classes is not None:
            over &= classes[i + 1 :] == classes[i]
        alive[i + 1 :] &= ~over
    return found


def best_first(scores: Array) -> Array:
    """The order of scores, the largest first; equal ones as they stand."""
    return np.argsort(-scores, kind="stable")


def checked(boxes: TensorType, scores: TensorType) -> tuple[Any, Any, Any]:
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


def of_classes(boxes: np.ndarray, classes: int) -> np.ndarray:
    """Boxes [N, B, C, 4] of each class."""
    by_class = boxes if boxes.ndim == 4 else boxes[:, :, None]
    return np.broadcast_to(by_class, (*by_class.shape[:2], classes, 4))
