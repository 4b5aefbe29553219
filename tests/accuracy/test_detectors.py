"""Mean average precision: the figure, the forms of labels and outputs, what is wrong with them, and a detector quantized by it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import camshaft
from camshaft.accuracy.judges.boxes import boxes_of, truth_of
from camshaft.accuracy.judges.choice import judge_of
from camshaft.accuracy.judges.coco import mean_average_precision
from camshaft.accuracy.judges.detections import found_in
from camshaft.errors import CalibrationError, ConfigError
from camshaft.ir.types import bf16
from onnx_models import model_of

QUICK: dict[str, Any] = {"threads": 1, "optimization_level": 1}
A, B, C = [10, 10, 30, 40], [50, 20, 70, 60], [0, 0, 10, 10]
LABELS = [{"boxes": [A, C], "labels": [3, 7]}, {"boxes": [B], "labels": [3]}]
FOUND = np.array(
    [
        [[*A, 0.9, 3], [60, 60, 90, 90, 0.8, 3], [0, 0, 10, 6.2, 0.7, 7]],
        [[*B, 0.7, 3], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
    ]
)
"""Two pictures: class 3 is right, wrong, right by falling score; class 7 overlaps by 0.62."""
OF_3 = (51 * 1 + 50 * 2 / 3) / 101
"""Its average precision: 1 at the 51 recalls up to a half, 2/3 at the 50 above."""
MAP = 100 * (OF_3 + 0.3) / 2
"""Class 7 is found at 3 of 10 thresholds: 0.5, 0.55 and 0.6."""
MAP50, MAP75 = 100 * (OF_3 + 1) / 2, 100 * (OF_3 + 0) / 2


def of(metric: str | None, outputs: Any, labels: Any = LABELS, **options: Any) -> float:
    """The score of a network that says these outputs of one sample."""
    return judge_of(
        [({"x": np.zeros(1)}, labels)], metric, [], lambda _: outputs, **options
    ).reference


@pytest.mark.parametrize(
    ("metric", "wanted"), [(None, MAP), ("map", MAP), ("map50", MAP50), ("map75", MAP75)]
)
def test_the_figure_is_the_one_computed_by_hand(metric: str | None, wanted: float) -> None:
    assert of(metric, {"y": FOUND}) == pytest.approx(wanted, abs=1e-6)


def apart(found: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "b": found[..., :4].astype(np.float32), "l": found[..., 5].astype(np.int64),
        "s": found[..., 4].astype(np.float32),
    }  # fmt: skip


FORMS: Mapping[str, Any] = {
    "boxes, labels and scores": apart(FOUND),
    "counts in front": {
        "num_dets": np.array([[3], [1]], np.int32), "det_boxes": FOUND[..., :4],
        "det_scores": np.where(FOUND[..., 4] > 0, FOUND[..., 4], 1.0), "det_classes": FOUND[..., 5].astype(np.int32),
    },
    "all in floats, by name": {
        "detection_boxes": FOUND[..., [1, 0, 3, 2]] / 100, "detection_classes": FOUND[..., 5],
        "detection_scores": FOUND[..., 4], "num_detections": np.array([3.0, 1.0]),
        "detection_anchor_indices": FOUND[..., 5],
        "raw_detection_boxes": np.zeros((2, 99, 4)), "raw_detection_scores": np.zeros((2, 99, 9)),
    },
    "scores beside corners": {"dets": FOUND[..., :5], "labels": FOUND[..., 5].astype(np.int64)},
    "a list of rows": [FOUND[0], FOUND[1, :1]],
    "a list of tuples": [(f[:, :4], f[:, 4], f[:, 5]) for f in FOUND],
    "a tuple": (FOUND[..., :4], FOUND[..., 4], FOUND[..., 5]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_outputs_of_every_form_give_one_figure(form: str) -> None:
    said = FORMS[form]
    turned = LABELS
    if form == "all in floats, by name":  # y first, from 0 to 1: labels are in the same coordinates
        turned = [{**g, "boxes": np.array(g["boxes"])[:, [1, 0, 3, 2]] / 100} for g in LABELS]
    decoded = not isinstance(said, Mapping)
    options = {"decode": lambda outputs: said} if decoded else {}
    outputs = {"raw": np.zeros((2, 84, 10), np.float32)} if decoded else said
    assert of("map", outputs, turned, **options) == pytest.approx(MAP, abs=1e-6)


def test_outputs_of_one_picture_have_no_axis_for_it() -> None:
    said = found_in(apart(FOUND[0]), 0, 1)[0]
    assert said.labels.tolist() == [3, 3, 7] and said.corners.shape == (3, 4)
    assert not len(found_in(([], [], []), 0, 1)[0].labels)


@pytest.mark.parametrize("said", [np.array([]), np.zeros((0, 6)), [], [[]]])
def test_nothing_found_in_a_picture(said: Any) -> None:
    assert not len(found_in(said, 0, 1)[0].labels)


@pytest.mark.parametrize("count", [np.nan, -1])
def test_a_number_of_detections_that_is_none_means_nothing_was_found(count: float) -> None:
    said = apart(FOUND[:1]) | {"n": np.array([count])}
    assert not len(found_in(said, 0, 1)[0].labels)


def test_outputs_in_bfloat16_are_read() -> None:
    said = {n: a.astype(bf16.numpy) if n in "bs" else a for n, a in apart(FOUND).items()}
    assert [len(p.labels) for p in found_in(said, 0, 2)] == [3, 3]


def test_areas_may_be_left_open() -> None:
    assert truth_of({"boxes": [[A], [B]], "labels": [[3], [3]], "area": None}, 0)[1].areas is None


def test_labels_of_pictures_in_one_array_are_filled_up_with_negative_ones() -> None:
    pictures = truth_of({"boxes": [[A, C], [B, B]], "labels": [[3, 7], [3, -1]]}, 0)
    assert [p.labels.tolist() for p in pictures] == [[3, 7], [3]]
    assert pictures[1].corners.tolist() == [B]


def test_crowds_and_areas_count_as_in_coco() -> None:
    """What is found in a crowd is neither right nor wrong."""
    truth = truth_of({"boxes": [A, C], "labels": [3, 3], "iscrowd": [0, 1], "area": [600, 90]}, 0)
    found = boxes_of([C, [1, 1, 9, 9], A], [3, 3, 3], "test", scores=[0.9, 0.8, 0.7])
    assert mean_average_precision(truth, [found]) == pytest.approx(100)


def test_a_network_that_broke_finds_nothing() -> None:
    said = FOUND.copy()
    said[..., 4:] = np.nan
    (first, second) = found_in({"y": said}, 0, 2)
    assert not len(first.labels) and not len(second.labels)
    assert mean_average_precision(truth_of(LABELS, 0), [first, second]) == 0


RAW = {"y": np.zeros((1, 84, 100), np.float32)}
ONE = {"boxes": [A], "labels": [3]}


@pytest.mark.parametrize(
    ("outputs", "labels", "options", "said"),
    [
        (RAW, ONE, {}, r"from the outputs y float32\[1, 84, 100\].*decode="),
        ({"y": FOUND + 500}, LABELS, {}, "map of the float network is 0 .* coordinates"),
        (RAW, ONE, {"decode": lambda o: [1, 2]}, "list of 2 for sample 0, whose labels are of 1 picture;"),
        ({"y": FOUND}, [[1, 2]], {}, "labels of sample 0 are of type list; a detector's are"),
        ({"y": FOUND}, {"boxes": [A]}, {}, "have no 'labels'"),
        ({"y": FOUND}, {"boxes": [A[:3]], "labels": [3]}, {}, r"\[1, 3\]; give \[n, 4\]"),
        ({"y": FOUND}, {"boxes": [A], "labels": [3, 4]}, {}, r"\[2\] beside 1 boxes"),
        ({"y": FOUND}, {"boxes": [A], "labels": [0.5]}, {}, "whole numbers"),
        ({"y": FOUND}, {"boxes": [], "labels": []}, {}, "no box to judge by"),
        ({"y": FOUND}, {"boxes": [[0, 0, np.nan, 1]], "labels": [3]}, {}, "boxes of sample 0 hold what is no finite"),
        ({"y": FOUND}, {"boxes": [A], "labels": [np.inf]}, {}, "label of sample 0 is infinite"),
        ({"y": FOUND}, {"boxes": [[A, C], [B]], "labels": [[3, 7], [3]]}, {}, "give a list with labels for each"),
        ({"y": FOUND}, {"boxes": [[A], [B]], "labels": 3}, {}, "labels of sample 0 are of another number"),
        ({"y": FOUND}, ONE | {"iscrowd": ["no"]}, {}, "iscrowd of sample 0 hold what is no finite"),
        ({"y": FOUND}, ONE | {"iscrowd": [7]}, {}, "iscrowd of sample 0 is neither 0 nor 1"),
        ({"y": FOUND}, ONE | {"area": [np.nan]}, {}, "area of sample 0 hold what is no finite"),
        (RAW, ONE, {"decode": lambda o: None}, "decode= returned NoneType for sample 0 of 1 pictures"),
        (RAW, ONE, {"decode": lambda o: np.zeros((3, 4))}, r"decode= returned float64\[3, 4\]"),
    ],
)  # fmt: skip
def test_faults_are_named(outputs: Any, labels: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, CalibrationError), match=said):
        of("map", outputs, labels, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "map"}, "metric 'map' needs labels"),
        ({"decode": dict}, "decode= needs labels"),
        ({"decode": 3, "metric": "map"}, "decode= is of type int"),
        ({"decode": dict, "metric": "top1"}, "metric 'top1' is none"),
        ({"decode": dict, "evaluate": len}, "a function as evaluate= is none"),
    ],
)
def test_what_does_not_go_together_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        camshaft.quantize(detector(), calibration=samples(2), **QUICK, **options)


def test_the_extra_is_named_where_pycocotools_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match=r"pip install 'camshaft\[coco\]'"):
        of("map", {"y": FOUND})


def detector() -> onnx.ModelProto:
    """Squares [1, 16, 5] of a picture's 16 cells: centre, half a side (small, so that rounding moves boxes by some of
    it), and scores of two classes, each the sum of 8 inputs."""
    weight = np.zeros((5, 40, 1, 1), np.float32)
    for i in range(5):
        weight[i, 8 * i : 8 * i + 8] = 0.01 if i == 2 else 1
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="head"),
        helper.make_node("Reshape", ["h", "shape"], ["y"], name="rows"),
    ]
    constants = {"w": weight, "shape": np.array([1, 5, 16])}
    return model_of(nodes, samples(1)[0], ["y"], constants)


def samples(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.uniform(0, 1, (1, 40, 4, 4)).astype(np.float32)} for _ in range(count)]


def squares(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, half, *scores = outputs["y"][0]
    scores = np.stack(scores)
    return np.stack([x - half, y - half, x + half, y + half], 1), scores.max(0), scores.argmax(0)


def test_a_detector_is_quantized_within_an_allowed_drop() -> None:
    """Its float answers are the labels, so that it scores 100."""
    feeds = samples(6, seed=1)
    reference = camshaft.build(detector(), **QUICK)
    labelled = []
    for f in feeds:
        boxes, _, labels = squares(reference(f))
        labelled.append((f, {"boxes": boxes, "labels": labels}))
    made = {
        drop: camshaft.quantize(
            detector(), calibration=samples(8), evaluate=labelled, decode=squares, max_drop=drop, **QUICK
        )
        for drop in (60, 0)
    }  # fmt: skip
    assert {m.metric for m in made.values()} == {"map"}
    assert {m.reference for m in made.values()} == {100.0}
    assert made[60].reasons["head"].startswith("int8") and 40 <= made[60].score < 100
    assert made[0].reasons["head"].endswith("in two parts of 8 bits") and made[0].score == 100
    truth = [truth_of(labels, 0)[0] for _, labels in labelled]
    found = [
        boxes_of(b, n, "", scores=s) for b, s, n in (squares(made[60].engine(f)) for f in feeds)
    ]
    assert made[60].score == pytest.approx(mean_average_precision(truth, found))
