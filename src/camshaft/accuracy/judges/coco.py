"""Mean average precision as COCO defines it, by its own tools (`pycocotools`)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.accuracy.judges.boxes import Boxes
from camshaft.extras import require_package

MOST = 100
"""Detections of a picture that count, the best first."""


def require_tools() -> None:
    """ConfigError, with what to install, where pycocotools is absent."""
    require_package("pycocotools", "mean average precision", extra="coco")


def mean_average_precision(
    truth: Sequence[Boxes], found: Sequence[Boxes], overlap: float | None = None
) -> float:
    """Per cent, over all classes of the truth.

    truth, found: picture by picture.  overlap: the intersection over union from which a box is found; None: the mean over
    0.5, 0.55, ... 0.95.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_index(truth), _index(found), "bbox")
        parameters = evaluation.params
        parameters.catIds = sorted({int(n) for boxes in truth for n in boxes.labels})
        parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], ["all"]
        parameters.maxDets = [MOST]
        if overlap is not None:
            parameters.iouThrs = np.array([overlap])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    known = precision[precision > -1]  # classes with nothing but crowds have none
    return 100 * float(known.mean()) if known.size else 0.0


def _index(pictures: Sequence[Boxes]) -> Any:
    """An index of boxes as pycocotools keeps it."""
    from pycocotools.coco import COCO

    entries: list[dict[str, Any]] = []
    for picture, boxes in enumerate(pictures):
        least = np.minimum(boxes.corners[:, :2], boxes.corners[:, 2:])
        sides = np.abs(boxes.corners[:, 2:] - boxes.corners[:, :2])
        areas = sides.prod(axis=1) if boxes.areas is None else boxes.areas
        for n, label in enumerate(boxes.labels):
            entry: dict[str, Any] = {"id": len(entries) + 1, "image_id": picture}
            entry |= {"category_id": int(label), "bbox": [*least[n].tolist(), *sides[n].tolist()]}
            entry |= {"area": float(areas[n]), "iscrowd": 0}
            if boxes.crowd is not None:
                entry["iscrowd"] = int(boxes.crowd[n])
            if boxes.scores is not None:
                entry["score"] = float(boxes.scores[n])
            entries.append(entry)
    index = COCO()
    index.dataset = {
        "images": [{"id": n} for n in range(len(pictures))],
        "categories": [{"id": n} for n in sorted({e["category_id"] for e in entries})],
        "annotations": entries,
    }
    index.createIndex()
    return index
