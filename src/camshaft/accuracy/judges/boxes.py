"""Boxes of one picture: the objects that labels name, or those that a detector found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ConfigError


@dataclass(frozen=True)
class Boxes:
    """corners: [n, 4], two opposite corners each.  labels: [n], classes.  scores: [n], of those found.  crowd: [n], of those named
    that stand for many objects, as COCO marks them.  areas: [n], of the objects within, None: the boxes'."""

    corners: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    crowd: np.ndarray | None = None
    areas: np.ndarray | None = None

    def take(self, which: np.ndarray) -> Boxes:
        """Some of them: indices, or a boolean for each."""
        parts = (self.corners, self.labels, self.scores, self.crowd, self.areas)
        return Boxes(*(None if part is None else part[which] for part in parts))  # type: ignore[arg-type]


def boxes_of(corners: Any, labels: Any, what: str, **others: Any) -> Boxes:
    """Boxes of arrays as given, of one picture; ConfigError tells of `what` if they do not belong together."""
    try:
        boxes = np.asarray(corners, np.float64)
        columns = {"labels": np.asarray(labels), **{n: np.asarray(a) for n, a in others.items()}}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"evaluate=: {what} are no arrays of numbers: {error}") from error
    if not boxes.size:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ConfigError(
            f"evaluate=: boxes of {what} have the shape {list(boxes.shape)}; give [n, 4], two corners each"
        )
    for name, column in columns.items():
        if column.size != len(boxes):
            raise ConfigError(
                f"evaluate=: {name} of {what} have the shape {list(column.shape)} beside {len(boxes)} boxes; "
                "give one for each"
            )
    flat = {n: c.reshape(-1) for n, c in columns.items()}
    classes = flat.pop("labels")
    if classes.dtype.kind not in "iuf" or not (classes == np.floor(classes)).all():
        raise ConfigError(f"evaluate=: labels of {what} are {classes.dtype}; give whole numbers")
    if not np.isfinite(classes).all():
        raise ConfigError(f"evaluate=: a label of {what} is infinite; give whole numbers")
    return Boxes(boxes, classes.astype(np.int64), **flat)


def _named(boxes: Boxes, what: str) -> Boxes:
    """Objects that labels name, which must be numbers; those with a label below 0 are none."""
    for name, column in (("boxes", boxes.corners), ("iscrowd", boxes.crowd), ("area", boxes.areas)):
        if column is None:
            continue
        if column.dtype.kind not in "biuf" or not np.isfinite(column).all():
            raise ConfigError(f"evaluate=: {name} of {what} hold what is no finite number")
    if boxes.crowd is not None and not np.isin(boxes.crowd, (0, 1)).all():
        raise ConfigError(f"evaluate=: iscrowd of {what} is neither 0 nor 1")
    return boxes.take(boxes.labels >= 0)


def truth_of(given: Any, number: int) -> list[Boxes]:
    """What the labels of a sample say, picture by picture.

    given: {"boxes": [n, 4], "labels": [n]} of a picture, or a list of them; or with an axis more in front, of several pictures,
    where a label below 0 is none.
    """
    what = f"sample {number}"
    if isinstance(given, Mapping):
        return _pictures(given, what)
    if isinstance(given, Sequence) and given and all(isinstance(g, Mapping) for g in given):
        return [boxes for g in given for boxes in _pictures(g, what)]
    raise ConfigError(
        f"evaluate=: the labels of {what} are of type {type(given).__name__}; a detector's are "
        '{"boxes": [n, 4], "labels": [n]}, or a list with one for each picture'
    )


def _pictures(given: Mapping[str, Any], what: str) -> list[Boxes]:
    lacking = [name for name in ("boxes", "labels") if name not in given]
    if lacking:
        raise ConfigError(
            f"evaluate=: labels of {what} have no {lacking[0]!r}; a detector's are "
            '{"boxes": [n, 4], "labels": [n]}'
        )
    columns = {"boxes": given["boxes"], "labels": given["labels"]}
    columns |= {
        ours: given[name]
        for ours, name in (("crowd", "iscrowd"), ("areas", "area"))
        if given.get(name) is not None
    }
    arrays = {name: _array(name, a, what) for name, a in columns.items()}
    if arrays["boxes"].ndim != 3:
        rows = [columns]
    else:
        uneven = [n for n, a in arrays.items() if not a.ndim or len(a) != len(arrays["boxes"])]
        if uneven:
            raise ConfigError(f"evaluate=: {uneven[0]} of {what} are of another number of pictures")
        rows = [{n: a[i] for n, a in arrays.items()} for i in range(len(arrays["boxes"]))]
    found = [boxes_of(row.pop("boxes"), row.pop("labels"), what, **row) for row in rows]
    return [_named(boxes, what) for boxes in found]


def _array(name: str, given: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"evaluate=: {name} of {what} are no array: {error}; of pictures with different numbers of boxes give a list with "
            "labels for each"
        ) from error
