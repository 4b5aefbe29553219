"""Boxes in NumPy: coordinates, overlaps, and which boxes are kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

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
