"""Kernels of TensorRT's detections against their references, bit for bit but for the sigmoid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.tensorrt.plugins.native import batched, efficient

RNG = np.random.default_rng(5)


def compared(
    plugin: camshaft.Plugin,
    feeds: list[np.ndarray],
    *,
    threads: int = 1,
    open_images: bool = False,
    target: str = "host",
    **attrs: Any,
) -> list[np.ndarray]:
    """Results of the plugin's kernel, which are the reference's."""
    n = camshaft.Network()
    shape = [("images", *a.shape[1:]) if open_images else a.shape for a in feeds]
    inputs = [n.input(f"x{i}", s, str(feeds[i].dtype)) for i, s in enumerate(shape)]
    made = n.plugin(plugin, *inputs, **attrs)
    for i, t in enumerate(made if isinstance(made, tuple) else [made]):
        n.output(t, f"y{i}")
    engine = n.build(optimization_level=1, threads=threads, target=target)
    assert [s.tactic for s in engine.manifest.notes] == ["plugin"]
    got = engine({f"x{i}": a for i, a in enumerate(feeds)})
    want = plugin.computed(feeds, plugin.complete(attrs))
    results = [got[f"y{i}"] for i in range(len(want))]
    for g, w in zip(results, want, strict=True):
        if attrs.get("score_activation") and w.dtype == np.float32 and w.ndim == 2:
            np.testing.assert_allclose(g, w, rtol=1e-6)
        else:
            np.testing.assert_array_equal(g, w)
    return results


def boxes_of(*shape: int) -> np.ndarray:
    """Corners within the unit square, the lesser first."""
    low = RNG.random((*shape, 2)) * 0.7
    made: np.ndarray = np.concatenate([low, low + 0.05 + RNG.random((*shape, 2)) * 0.25], -1)
    return made.astype(np.float32)


def centers_of(*shape: int) -> np.ndarray:
    """Centers and sizes."""
    b = boxes_of(*shape)
    made: np.ndarray = np.concatenate([(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], -1)
    return made


def scores_of(*shape: int, steps: int = 0) -> np.ndarray:
    """Scores from 0 to 1; steps: so many different ones, so that many are equal."""
    made = RNG.random(shape)
    return (np.rint(made * steps) / steps if steps else made).astype(np.float32)


USUAL: dict[str, Any] = {
    "score_threshold": 0.3,
    "iou_threshold": 0.45,
    "max_output_boxes": 30,
    "background_class": -1,
    "score_activation": False,
    "class_agnostic": False,
    "box_coding": 0,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"class_agnostic": True},
        {"background_class": 1},
        {"background_class": 7},
        {"score_activation": True},
        {"score_activation": True, "score_threshold": 0.0},
        {"score_activation": True, "score_threshold": 1.0},
        {"score_threshold": 0.0, "iou_threshold": 0.01},
        {"score_threshold": 2.0},
        {"iou_threshold": 0.0},
        {"iou_threshold": 1.0, "max_output_boxes": 200},
        {"max_output_boxes": 1},
        {"max_output_boxes": 17},
    ],
)
@pytest.mark.parametrize("steps", [0, 5])
def test_efficient_nms(change: dict[str, Any], steps: int, threads: int) -> None:
    scores = scores_of(3, 61, 3, steps=steps)
    compared(efficient.efficient, [boxes_of(3, 61), scores], threads=threads, open_images=True,
             **{**USUAL, **change})  # fmt: skip


@pytest.mark.parametrize("coding", [0, 1])
@pytest.mark.parametrize("anchored", [0, 1, 2])
@pytest.mark.parametrize("of", [(), (1,), (3,)])
def test_efficient_nms_of_all_codings(coding: int, anchored: int, of: tuple[int, ...]) -> None:
    boxes = (centers_of if coding else boxes_of)(2, 45, *of)
    feeds = [boxes, RNG.standard_normal((2, 45, 3)).astype(np.float32)]
    if anchored:
        if coding:  # offsets of centers in sizes, and logarithms of sizes
            feeds[0] = RNG.standard_normal(boxes.shape).astype(np.float32) * np.float32(0.5)
        feeds.append((centers_of if coding else boxes_of)(anchored, 45))
    changes = {"box_coding": coding, "score_activation": True, "score_threshold": 0.4}
    count, found, *_ = compared(efficient.efficient, feeds, **{**USUAL, **changes})
    assert count.min() > 2 and found.any()


@pytest.mark.parametrize(
    "scores",
    [
        scores_of(1, 5000, 3),
        scores_of(1, 5000, 3, steps=2),  # thousands of the last one
        np.full((1, 5000, 3), 0.5, np.float32),
        RNG.standard_normal((1, 5000, 3)).astype(np.float32) * np.float32(1e-30),
        np.where(scores_of(1, 5000, 3) > 0.5, np.float32(-0.0), np.float32(0)),
        -scores_of(1, 5000, 3) * np.float32(3e38),
        np.nextafter(np.float32(1), scores_of(1, 5000, 3, steps=1) * 2),  # neighbours of 1
    ],
)
def test_more_pass_than_are_sorted(scores: np.ndarray) -> None:
    boxes = boxes_of(1, 5000)
    changes = {"score_threshold": -3.4e38, "iou_threshold": 0.02, "max_output_boxes": 400}
    compared(efficient.efficient, [boxes, scores], **{**USUAL, **changes})


def test_numbers_that_are_none_and_boxes_without_a_size() -> None:
    scores, boxes = scores_of(1, 50, 2), boxes_of(1, 50)
    scores[0, 3], scores[0, 4], scores[0, 5] = np.nan, np.inf, -np.inf
    boxes[0, 4:12] = boxes[0, 4:12, [2, 3, 0, 1]].T  # turned around
    boxes[0, 12:20, 2:] = boxes[0, 12:20, :2]
    compared(efficient.efficient, [boxes, scores], **USUAL)
    compared(efficient.efficient, [boxes, scores], **{**USUAL, "score_threshold": -np.inf})


@pytest.mark.parametrize("centered", [0, 1])
def test_efficient_nms_of_onnx(centered: int) -> None:
    for least in (0.3, 0.999, 2.0):
        feeds = [(centers_of if centered else boxes_of)(3, 37), scores_of(3, 37, 3, steps=50)]
        compared(
            efficient.indices, feeds, open_images=True, score_threshold=least, iou_threshold=0.5,
            max_output_boxes_per_class=23, center_point_box=centered,
        )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("of", [(), (1,), (3,)])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"topK": 11},
        {"topK": 5000},
        {"backgroundLabelId": 2},
        {"keepTopK": 5},
        {"more": 1.0},
        {"scoreThreshold": 1.0},
        {"scoreThreshold": 0.0},
        {"scoreThreshold": float("inf")},
        {"scoreThreshold": 0.5, "topK": 7},
        {"iouThreshold": 0.0},
    ],
)
def test_batched_nms_of_classes(change: dict[str, Any], of: tuple[int, ...], threads: int) -> None:
    attrs = {"topK": -1, "keepTopK": 33, "backgroundLabelId": -1, "scoreThreshold": 0.2,
             "iouThreshold": 0.4, "more": 0.0, **change}  # fmt: skip
    feeds = [boxes_of(2, 61, *of), scores_of(2, 3, 61, steps=40)]
    feeds[0][:, ::2] = feeds[0][:, ::2][..., [2, 3, 0, 1]]
    compared(batched.best_of_classes, feeds, threads=threads, open_images=True, **attrs)


@pytest.mark.parametrize("clips", [0, 1])
@pytest.mark.parametrize("of", [(), (1,), (3,)])
def test_batched_nms_of_images(clips: int, of: tuple[int, ...]) -> None:
    numbers = RNG.integers(0, 21, (2, 3, 9)).astype(np.int32)
    feeds = [boxes_of(2, 21, *of) * 2, scores_of(2, 3, 9, steps=7), numbers]
    compared(batched.best_of_images, feeds, threads=2, open_images=True,
             keepTopK=9, scoreThreshold=0.5, clips=clips)  # fmt: skip


@pytest.mark.parametrize("target", ["portable", "avx2"])
def test_kernels_for_other_machines(target: str) -> None:
    boxes = centers_of(2, 61)
    feeds = [boxes, RNG.standard_normal((2, 61, 3)).astype(np.float32), centers_of(1, 61)]
    compared(efficient.efficient, feeds, target=target,
             **{**USUAL, "box_coding": 1, "score_activation": True})  # fmt: skip
    compared(batched.best_of_classes, [boxes_of(2, 61), scores_of(2, 3, 61)], target=target,
             topK=31, keepTopK=9, backgroundLabelId=0, scoreThreshold=0.2, iouThreshold=0.4,
             more=0.0)  # fmt: skip


def test_anchors_may_be_constant() -> None:
    boxes, anchors = centers_of(2, 61), centers_of(1, 61)
    scores = RNG.standard_normal((2, 61, 3)).astype(np.float32)
    n = camshaft.Network()
    x, s = n.input("boxes", boxes.shape), n.input("scores", scores.shape)
    attrs = {**USUAL, "box_coding": 1}
    n.output(n.plugin(efficient.efficient, x, s, anchors, **attrs)[1], "y")
    engine = n.build(optimization_level=1)
    assert [step.tactic for step in engine.manifest.notes] == ["plugin"]
    got = engine({"boxes": boxes, "scores": scores})["y"]
    np.testing.assert_array_equal(got, efficient.efficient(boxes, scores, anchors, **attrs)[1])


def test_all_sizes_may_be_open() -> None:
    feeds = [boxes_of(2, 61), scores_of(2, 61, 3, steps=9)]
    flipped = np.moveaxis(feeds[1], 1, 2).copy()
    n = camshaft.Network()
    boxes = n.input("boxes", ("images", "boxes", 4))
    scores = n.input("scores", ("images", "boxes", "classes"))
    by_class = n.input("by_class", ("images", "classes", "boxes"))
    n.output(n.plugin(efficient.efficient, boxes, scores, **USUAL)[1], "efficient")
    same: dict[str, Any] = {"keepTopK": 20, "scoreThreshold": 0.1}
    rest: dict[str, Any] = {"topK": -1, "backgroundLabelId": -1, "iouThreshold": 0.5, "more": 0.0}
    best = n.plugin(batched.best_of_classes, boxes, by_class, **same, **rest)
    n.output(n.plugin(batched.best_of_images, boxes, *best, clips=1, **same)[1], "batched")
    engine = n.build(optimization_level=1)
    assert [s.tactic for s in engine.manifest.notes] == ["plugin"] * 3
    for count, kinds in ((61, 3), (7, 2), (1, 1)):
        b, s, f = feeds[0][:, :count], feeds[1][:, :count, :kinds], flipped[:, :kinds, :count]
        got = engine({"boxes": b, "scores": s, "by_class": f})
        np.testing.assert_array_equal(got["efficient"], efficient.efficient(b, s, **USUAL)[1])
        want = batched.best_of_classes(b, f, **same, **rest)
        want = batched.best_of_images(b, *want, clips=1, **same)[1]
        np.testing.assert_array_equal(got["batched"], want)
