"""Kernels of EfficientNMS_TRT and EfficientNMS_ONNX_TRT: images, each for one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from camshaft.backends.cpu.expr.math import logistic
from camshaft.backends.cpu.lang import Carry, FunctionBuilder, Index, Pointer, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.types import TensorType, f32, i32
from camshaft.tensorrt.plugins.native.kernels.exponential import exp
from camshaft.tensorrt.plugins.native.kernels.ranking import Ranking, ranked, ranking_bytes
from camshaft.tensorrt.plugins.native.kernels.scan import Scores, counted
from camshaft.tensorrt.plugins.native.kernels.suppression import (
    Box,
    Suppression,
    corners_of,
    kept_bytes,
    loaded,
    ordered,
)

Decode = Callable[[Value, Value], list[Value]]
"""(number of a box, class) -> its corners."""
Emit = Callable[[Value, Value, Value, Box, Value], None]
"""Writes a detection: (how manieth it is, number of its box, class, box, place of its score)."""


def place_of_box(
    k: FunctionBuilder, boxes: TensorType, image: Value, number: Value, kind: Value
) -> Index:
    """Elements before a box of [N, B, 4], [N, B, 1, 4] or [N, B, C, 4]."""
    at: Index = image * boxes.shape[1] + number
    if boxes.rank == 4 and boxes.shape[2] != 1:
        at = at * boxes.shape[2] + kind
    return at * 4


def scratch_bytes(sorted_most: Extent, kept_most: int) -> Extent:
    """Scratch memory of a ranking and of the boxes that are kept."""
    return kept_bytes(kept_most) + ranking_bytes(sorted_most)


@dataclass(frozen=True, eq=False)
class Detector:
    """Detections of one image, the best first.

    classes: of its scores.  by_class: whether boxes suppress those of their own class alone.
    """

    k: FunctionBuilder
    ranking: Ranking
    suppression: Suppression
    classes: Index
    by_class: bool

    def each(self, decode: Decode, emit: Emit) -> Value:
        """Write a detection at a time; how many there are."""
        k, kept = self.k, [counted(self.k)]
        with k.loop(0, self.ranking.count, carry=kept) as rank, k.if_(kept[0] < self.suppression.most, kept):  # fmt: skip
            place = self.ranking.place(rank)
            number, kind = place // self.classes, place % self.classes
            box = self.suppression.box(decode(number, kind))
            of = kind if self.by_class else None
            hidden = self.suppression.suppressed(kept[0], box, of)
            with k.if_(k.not_(hidden), kept):
                self.suppression.keep(kept[0], box, of)
                emit(kept[0], number, kind, box, place)
                kept[0] = kept[0] + 1
        return kept[0]


def images_of(work: Work) -> Extent:
    """An item for each image."""
    scores = work.inputs[1]
    assert scores is not None
    return scores.shape[0]


def fill(k: FunctionBuilder, at: Pointer, first: Index, count: Index, value: Value) -> None:
    """The same value in elements first to count-1."""
    with k.loop(first, count) as i:
        k.store(value, at.at(i))


def write_detections(
    k: FunctionBuilder,
    work: Work,
    threshold: float,
    boxes: Pointer,
    scores: Pointer,
    *rest: Pointer | None,
    most_sorted: int,
) -> None:
    """EfficientNMS.  threshold: of scores as they are given.  rest: anchors, if they are there, then results, then scratch."""
    anchors = rest[0] if len(work.inputs) > 2 else None
    total, found, values, kinds, scratch = (p for p in rest[-5:] if p is not None)
    given = work.inputs[1]
    assert given is not None
    _, count, classes = given.shape
    most, background = work.attrs["max_output_boxes"], work.attrs["background_class"]

    def excludes(place: Value) -> Value:
        return k.eq(place % classes, background)

    with k.loop(k.begin, k.end) as image:
        first = scores.at(image * (count * classes))
        all_scores = Scores(k, first, count * classes, excludes if background >= 0 else None)
        ranking = ranked(all_scores, k.const(threshold, f32), most_sorted, scratch.at(kept_bytes(most)))  # fmt: skip
        suppression = Suppression(k, most, work.attrs["iou_threshold"], False, scratch)
        detector = Detector(k, ranking, suppression, classes, not work.attrs["class_agnostic"])
        to = image * most

        def decode(number: Value, kind: Value) -> list[Value]:
            return _decoded(k, work, image, number, kind, boxes, anchors)

        def emit(n: Value, number: Value, kind: Value, box: Box, place: Value) -> None:
            for i, corner in enumerate(box.corners):
                k.store(corner, found.at((to + n) * 4 + i))
            score = k.load(first.at(place))
            k.store(
                logistic(k, score) if work.attrs["score_activation"] else score, values.at(to + n)
            )
            k.store(k.cast(kind, i32), kinds.at(to + n))

        kept = detector.each(decode, emit)
        k.store(k.cast(kept, i32), total.at(image))
        fill(k, found.at(to * 4), kept * 4, most * 4, k.const(0.0, f32))
        fill(k, values.at(to), kept, most, k.const(0.0, f32))
        fill(k, kinds.at(to), kept, most, k.const(0, i32))


def _decoded(
    k: FunctionBuilder,
    work: Work,
    image: Value,
    number: Value,
    kind: Value,
    boxes: Pointer,
    anchors: Pointer | None,
) -> list[Value]:
    """A box as corners, moved by its anchor."""
    of = work.inputs[0]
    assert of is not None
    box = loaded(k, boxes.at(place_of_box(k, of, image, number, kind)))
    centered = work.attrs["box_coding"] != 0
    if anchors is not None:
        shape = work.inputs[2]
        assert shape is not None
        place = number if shape.shape[0] == 1 else image * shape.shape[1] + number
        anchor = loaded(k, anchors.at(place * 4))
        if centered:
            center = [
                b * size + a for b, size, a in zip(box[:2], anchor[2:], anchor[:2], strict=True)
            ]
            box = center + [size * exp(k, b) for b, size in zip(box[2:], anchor[2:], strict=True)]
        else:
            pairs = zip(ordered(k, box), ordered(k, anchor), strict=True)
            box = [b + a for b, a in pairs]
    return corners_of(k, box) if centered else box


def write_indices(
    k: FunctionBuilder,
    work: Work,
    boxes: Pointer,
    scores: Pointer,
    rows: Pointer,
    scratch: Pointer,
    *,
    most_sorted: int,
) -> None:
    """EfficientNMS_ONNX: one item, as rows of images stand one behind the other."""
    of, given = work.inputs
    assert of is not None and given is not None
    images, count, classes = given.shape
    most = work.attrs["max_output_boxes_per_class"]
    threshold = k.const(work.attrs["score_threshold"], f32)
    with k.loop(k.begin, k.end):
        total: Carry = [counted(k)]
        with k.loop(0, images, carry=total) as image:
            before = total[0]
            all_scores = Scores(k, scores.at(image * (count * classes)), count * classes)
            ranking = ranked(all_scores, threshold, most_sorted, scratch.at(kept_bytes(most)))
            suppression = Suppression(k, most, work.attrs["iou_threshold"], False, scratch)

            def decode(number: Value, kind: Value) -> list[Value]:
                box = loaded(k, boxes.at(place_of_box(k, of, image, number, kind)))
                return corners_of(k, box) if work.attrs["center_point_box"] else ordered(k, box)

            def emit(n: Value, number: Value, kind: Value, box: Box, place: Value) -> None:
                for i, value in enumerate((image, kind, number)):
                    k.store(k.cast(value, i32), rows.at((before + n) * 3 + i))

            kept = Detector(k, ranking, suppression, classes, True).each(decode, emit)
            total[0] = before + kept
        _repeat_last(k, rows, total[0], images * most)


def _repeat_last(k: FunctionBuilder, rows: Pointer, count: Value, most: Index) -> None:
    """The last row in all behind it; zeros where there is none."""
    last = rows.at((count - 1) * 3)
    with k.if_else(count > 0) as branch:
        with branch.then(), k.loop(count, most) as row:
            for i in range(3):
                k.store(k.load(last.at(i)), rows.at(row * 3 + i))
        with branch.otherwise():
            fill(k, rows, 0, k.index(most) * 3, k.const(0, i32))
