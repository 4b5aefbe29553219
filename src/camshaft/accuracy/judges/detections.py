"""What a detector found, read from its outputs in the forms that exported detectors have behind their postprocessing.

- boxes [N, K, 4] with scores [N, K] and labels [N, K] (RT-DETR, SSD of the ONNX zoo, TensorFlow's detection API, NMS ops of TensorRT
  with the number of detections in front), or without the axis N (torchvision);
- [N, K, 6]: two corners, score, class (Ultralytics with NMS or without need of it);
- [N, K, 5] with labels [N, K]: two corners, score (MMDetection).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.accuracy.judges.boxes import Boxes, boxes_of
from camshaft.errors import ConfigError
from camshaft.ir.types import dtype_of

Decode = Callable[[Mapping[str, Any]], Any]
"""A user's function of a network's outputs by name; what it returns is read as `found_in` says."""


class _Unreadable(ConfigError):
    """Outputs that are in none of the forms."""


def found_in(said: Any, number: int, pictures: int) -> list[Boxes]:
    """What was found in each picture of a sample.

    said: outputs by name in one of the forms above, or one array; a tuple (boxes, scores, labels); or a list with such for each
    picture.  number: of the sample.  pictures: how many it has.
    """
    is_empty = isinstance(said, np.ndarray) and not said.size
    if is_empty or (isinstance(said, list) and not said and pictures == 1):
        said = ((), (), ())
    if isinstance(said, list):
        if len(said) != pictures:
            raise ConfigError(
                f"decode= returned a list of {len(said)} for sample {number}, whose labels are of {pictures} "
                f"picture{'s' * (pictures != 1)}; give one for each"
            )
        return [found_in(one, number, 1)[0] for one in said]
    if isinstance(said, tuple) and len(said) == 3:
        said = dict(zip(("boxes", "scores", "labels"), said, strict=True))
        if not np.size(said["boxes"]):
            return [boxes_of((), (), "nothing", scores=()) for _ in range(pictures)]
    outputs = said if isinstance(said, Mapping) else {"": said}
    arrays = {name: _array(value) for name, value in outputs.items()}
    for read in (_in_one, _apart):
        columns = read(arrays, pictures)
        if columns is not None:
            return [
                _sound(*of_one, f"what was found in sample {number}")
                for of_one in zip(*columns, strict=True)
            ]
    shapes = ", ".join(
        f"{name} {a.dtype}{list(a.shape)}".strip() if a is not None else f"{name} (no array)"
        for name, a in arrays.items()
    )
    raise _Unreadable(
        f"evaluate=: no boxes, scores and labels of {pictures} pictures can be told from the outputs {shapes} "
        f"(sample {number}); give a function (decode=) that makes (boxes, scores, labels) of them"
    )


def decoded(said: Any, number: int, pictures: int) -> list[Boxes]:
    """As `found_in`, of what a user's `decode` returned."""
    try:
        return found_in(said, number, pictures)
    except _Unreadable as error:
        what = type(said).__name__
        if isinstance(said, np.ndarray):
            what = f"{said.dtype}{list(said.shape)}"
        raise ConfigError(
            f"decode= returned {what} for sample {number} of {pictures} pictures, in which no boxes can be told; return (boxes [n, 4], "
            "scores [n], labels [n]), rows [n, 6], or a list with one of these for each picture"
        ) from error


Columns = tuple[Iterable[np.ndarray], Iterable[np.ndarray], Iterable[np.ndarray]]
"""Boxes, scores and labels, picture by picture."""
Arrays = Mapping[str, np.ndarray | None]


def _sound(corners: np.ndarray, scores: np.ndarray, labels: np.ndarray, what: str) -> Boxes:
    """Boxes of one picture, less those that are no numbers, of a network that broke; classes in floats are rounded."""
    found = boxes_of(
        corners, np.rint(np.where(np.isfinite(labels), labels, -1)), what, scores=scores
    )
    assert found.scores is not None
    return found.take(np.isfinite(found.corners).all(axis=1) & np.isfinite(found.scores))


def _array(value: Any) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or a tensor of another device
        return None
    if array.dtype.kind == "V" and dtype_of(array).is_float:  # bfloat16
        return array.astype(np.float32)
    return array if array.dtype.kind in "iuf" else None


def _in_one(arrays: Arrays, pictures: int) -> Columns | None:
    """[N, K, 6], or [N, K, 5] beside labels."""
    wide = {n: a for n, a in arrays.items() if a is not None and a.dtype.kind == "f"}
    if len(arrays) == 1 and len(wide) == 1:
        (rows,) = wide.values()
        cut = _by_picture(rows, 6, pictures)
        if cut is not None:
            return cut[..., :4], cut[..., 4], cut[..., 5]
    if len(arrays) == 2 and len(wide) == 1:
        (name,) = wide
        labels = next(a for n, a in arrays.items() if n != name)
        cut = _by_picture(wide[name], 5, pictures)
        if cut is not None and labels is not None and labels.size == cut[..., 4].size:
            return cut[..., :4], cut[..., 4], labels.reshape(cut.shape[:2])
    return None


def _by_picture(array: np.ndarray, columns: int, pictures: int) -> np.ndarray | None:
    """[pictures, K, columns], if the array may be that."""
    if array.ndim == 2 and pictures == 1:
        array = array[None]
    fits = array.ndim == 3 and array.shape[0] == pictures and array.shape[2] == columns
    return array if fits else None


def _apart(arrays: Arrays, pictures: int) -> Columns | None:
    """Boxes, scores and labels, and perhaps how many there are."""
    known = {n: a for n, a in arrays.items() if a is not None}
    for name, boxes in known.items():
        cut = _by_picture(boxes, 4, pictures) if boxes.dtype.kind == "f" else None
        if cut is None:
            continue
        beside = {n: a for n, a in known.items() if n != name and a.shape == boxes.shape[:-1]}
        scores, labels = _scores_and_labels(beside)
        if scores is None or labels is None:
            continue
        rest = [a for n, a in known.items() if n not in (name, scores, labels)]
        counts = _counts(rest, pictures) or [cut.shape[1]] * pictures
        columns = (
            cut,
            beside[scores].reshape(cut.shape[:2]),
            beside[labels].reshape(cut.shape[:2]),
        )
        boxes_, scores_, labels_ = (
            [a[:count] for a, count in zip(column, counts, strict=True)] for column in columns
        )
        return boxes_, scores_, labels_
    return None


def _scores_and_labels(beside: Mapping[str, np.ndarray]) -> tuple[str | None, str | None]:
    """Names of the scores and the labels: as they are called, or by what type they are."""

    def only(names: list[str]) -> str | None:
        return names[0] if len(names) == 1 else None

    def called(*words: str) -> str | None:
        return only([n for n in beside if any(word in n.lower() for word in words)])

    scores, labels = called("score", "conf"), called("label", "class")
    floats = [n for n, a in beside.items() if a.dtype.kind == "f" and n != labels]
    whole = [n for n, a in beside.items() if a.dtype.kind in "iu" and n != scores]
    return scores or only(floats), labels or only(whole)


def _counts(others: Sequence[np.ndarray], pictures: int) -> list[int] | None:
    """How many detections each picture has, where an output says so; none where that is no number."""
    found = [a for a in others if a.shape in ((pictures,), (pictures, 1))]
    if len(found) != 1:
        return None
    counts = np.nan_to_num(found[0].reshape(-1), nan=0.0)
    return [int(n) for n in np.maximum(counts, 0)]
