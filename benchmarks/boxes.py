"""Boxes [n, 4] of detectors, by their least and largest corner: overlaps, and which boxes to keep."""

from __future__ import annotations

import numpy as np


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with many."""
    corner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(corner, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(shared / (np.prod(box[2:] - box[:2]) + areas - shared))


def kept(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Non-maximum suppression: the boxes that overlap no better one by so much, the best first."""
    order = np.argsort(-scores)
    found: list[int] = []
    while order.size:
        found.append(int(order[0]))
        order = order[1:][overlaps(boxes[order[0]], boxes[order[1:]]) < overlap]
    return found
