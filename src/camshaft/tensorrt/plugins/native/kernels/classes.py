"""Kernels of BatchedNMS: the best boxes of each class of each image, and then of each image."""

from __future__ import annotations

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.types import f32, i32, i64
from camshaft.tensorrt.plugins.native.kernels.detections import (
    Detector,
    fill,
    place_of_box,
    scratch_bytes,
)
from camshaft.tensorrt.plugins.native.kernels.ranking import ranked, ranking_bytes
from camshaft.tensorrt.plugins.native.kernels.scan import Scores, just_above
from camshaft.tensorrt.plugins.native.kernels.suppression import (
    Box,
    Suppression,
    kept_bytes,
    loaded,
    ordered,
)


def most_sorted(work: Work) -> Extent:
    """Boxes of a class that are looked at."""
    boxes = work.inputs[0]
    assert boxes is not None
    top: int = work.attrs["topK"]
    return top if top > 0 else boxes.shape[1]


def class_items(work: Work) -> Extent:
    """An item for each class of each image."""
    scores = work.inputs[1]
    assert scores is not None
    return scores.shape[0] * scores.shape[1]


def class_scratch(work: Work) -> Extent:
    """Scratch memory of one of them."""
    return scratch_bytes(most_sorted(work), work.attrs["keepTopK"])


def write_best_of_classes(
    k: FunctionBuilder,
    work: Work,
    boxes: Pointer,
    scores: Pointer,
    values: Pointer,
    numbers: Pointer,
    scratch: Pointer,
) -> None:
    """Scores [N, C, B] -> scores and numbers of boxes [N, C, keepTopK] that are kept, the best first; behind them scores that do
    not pass."""
    of, given = work.inputs
    assert of is not None and given is not None
    _, classes, count = given.shape
    attrs, most = work.attrs, work.attrs["keepTopK"]
    threshold = k.const(attrs["scoreThreshold"], f32)
    least = k.const(just_above(attrs["scoreThreshold"]), f32)
    with k.loop(k.begin, k.end) as item:
        image, kind = item // classes, item % classes
        background = (
            k.eq(kind, attrs["backgroundLabelId"]) if attrs["backgroundLabelId"] >= 0 else None
        )
        size = k.index(count) if background is None else k.select(background, 0, k.index(count))
        own = Scores(k, scores.at(item * count), size)
        ranking = ranked(own, least, most_sorted(work), scratch.at(kept_bytes(most)))
        suppression = Suppression(k, most, attrs["iouThreshold"], True, scratch, attrs["more"])
        to, first = item * most, scores.at(item * count)

        def decode(number: Value, one: Value) -> list[Value]:
            return ordered(k, loaded(k, boxes.at(place_of_box(k, of, image, number, kind))))

        def emit(n: Value, number: Value, one: Value, box: Box, place: Value) -> None:
            k.store(k.load(first.at(place)), values.at(to + n))
            k.store(k.cast(number, i32), numbers.at(to + n))

        kept = Detector(k, ranking, suppression, 1, False).each(decode, emit)
        fill(k, values.at(to), kept, most, threshold)
        fill(k, numbers.at(to), kept, most, k.const(0, i32))


def image_scratch(work: Work) -> Extent:
    """Scratch memory of an image."""
    return ranking_bytes(work.attrs["keepTopK"])


def write_best_of_images(
    k: FunctionBuilder,
    work: Work,
    boxes: Pointer,
    values: Pointer,
    numbers: Pointer,
    count: Pointer,
    found: Pointer,
    scores: Pointer,
    kinds: Pointer,
    scratch: Pointer,
) -> None:
    """What `write_best_of_classes` gives -> the best of each image, the best first."""
    of, given = work.inputs[:2]
    assert of is not None and given is not None
    classes, most = given.shape[1], work.attrs["keepTopK"]
    least = k.const(just_above(work.attrs["scoreThreshold"]), f32)
    with k.loop(k.begin, k.end) as image:
        start, to = image * (classes * most), image * most
        own = Scores(k, values.at(start), classes * most)
        ranking = ranked(own, least, most, scratch)
        with k.loop(0, ranking.count) as n:
            place = ranking.place(n)
            kind, number = place // most, k.cast(k.load(numbers.at(start + place)), i64)
            corners = ordered(k, loaded(k, boxes.at(place_of_box(k, of, image, number, kind))))
            for i, corner in enumerate(corners):
                if work.attrs["clips"]:
                    corner = k.min(k.max(corner, 0.0), 1.0)
                k.store(corner, found.at((to + n) * 4 + i))
            k.store(k.load(values.at(start + place)), scores.at(to + n))
            k.store(k.cast(kind, f32), kinds.at(to + n))
        kept = ranking.count
        k.store(k.cast(kept, i32), count.at(image))
        fill(k, found.at(to * 4), kept * 4, most * 4, k.const(0.0, f32))
        fill(k, scores.at(to), kept, most, k.const(0.0, f32))
        fill(k, kinds.at(to), kept, most, k.const(-1.0, f32))
