"""Host steps at their edges: nothing to do, equal elements, indices from the end, narrow types, NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from operator_case import Case, by_ours, floats

RNG = np.random.default_rng(3)


def run(op_type: str, opset: int, inputs: list[Any], outputs: str = "y", **attrs: Any) -> list[Any]:
    return by_ours(Case(op_type, opset, inputs, attrs, tuple(outputs)))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scattering_equals_a_loop(reduction: str, dtype: type) -> None:
    """Equal indices, indices from the end, and slices of several elements."""
    x = RNG.integers(0, 4, (4, 3, 2)).astype(dtype)
    at = np.array([[0, 1], [-4, -2], [3, -1], [0, 1]])
    updates = RNG.integers(0, 4, (4, 2)).astype(dtype)
    reduce: Any = {
        "none": lambda a, b: b,
        "add": np.logical_or if dtype is np.bool_ else np.add,
        "mul": np.logical_and if dtype is np.bool_ else np.multiply,
        "min": np.minimum,
        "max": np.maximum,
    }[reduction]
    rows, elements = x.copy(), x.copy()
    for (i, j), update in zip(at, updates, strict=True):
        rows[i, j] = reduce(rows[i, j], update)
        elements[i, 0] = reduce(elements[i, 0], update)
    (y,) = run("ScatterND", 18, [x, at, updates], reduction=reduction)
    np.testing.assert_array_equal(y, rows)
    indices = np.broadcast_to(at[:, 0, None, None], (4, 1, 2))
    inputs = [x, indices, updates[:, None]]
    (y,) = run("ScatterElements", 18, inputs, axis=0, reduction=reduction)
    np.testing.assert_array_equal(y, elements)


def test_nothing_is_scattered_or_gathered() -> None:
    x = floats(RNG, 3, 2)
    for reduction in ("none", "add"):
        inputs = [x, np.zeros((0, 1), np.int64), np.zeros((0, 2), np.float32)]
        assert run("ScatterND", 18, inputs, reduction=reduction)[0].tolist() == x.tolist()
        inputs = [x, np.zeros((0, 2), np.int64), np.zeros((0, 2), np.float32)]
        assert run("ScatterElements", 18, inputs, reduction=reduction)[0].tolist() == x.tolist()
    assert run("GatherND", 13, [x, np.zeros((0, 1), np.int64)])[0].shape == (0, 2)
    assert run("GatherND", 13, [x, np.array([-1, -1])])[0].tolist() == x[-1, -1].tolist()
    empty = floats(RNG, 0, 3)
    assert [v.shape for v in run("Unique", 11, [empty], "yfic", axis=0)] == [(0, 3)] + [(0,)] * 3


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, np.float64, np.int32, np.int64, np.uint32, np.uint8, np.int8]
)
@pytest.mark.parametrize("largest", [0, 1])
def test_the_first_of_equal_elements_is_the_better(dtype: type, largest: int) -> None:
    x = RNG.integers(0, 9, (3, 50)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[:, ::7] = -0.0
        x[:, ::11], x[:, 3], x[:, 4] = np.nan, np.inf, -np.inf
    else:
        x[:, ::7] = np.iinfo(dtype).min
        x[:, ::11] = np.iinfo(dtype).max

    def worth(row: np.ndarray, i: int) -> tuple[float, int]:
        value = np.inf if np.isnan(row[i]) else float(row[i])
        above = bool(np.isnan(row[i]))  # NaN is above infinity
        return (-value, i - 100 * above) if largest else (value, i + 100 * above)

    for k in (0, 1, 7, 50):
        _, at = run("TopK", 11, [x, np.array([k])], "vi", largest=largest)
        want = [sorted(range(50), key=lambda i, row=row: worth(row, i))[:k] for row in x]  # type: ignore[misc]
        assert at.tolist() == want


def test_samples_outside_are_0_whatever_the_image_holds() -> None:
    x = np.full((1, 2, 2, 2), np.inf, np.float32)
    grid = np.array([[[[5, 5], [np.nan, 0], [0, 0]]]], np.float32)
    (y,) = run("GridSample", 20, [x, grid])
    assert y[0, 0, 0].tolist() == [0, 0, np.inf]
    (y,) = run("GridSample", 20, [x, grid[:, :0]])
    assert y.shape == (1, 2, 0, 3)
    (y,) = run("GridSample", 20, [x[:0], grid[:0]])
    assert y.shape == (0, 2, 1, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8])
def test_the_nearest_sample_is_the_element_itself(dtype: type) -> None:
    x = np.array([[[1, 2, 3, 100]]]).astype(dtype)
    if dtype is np.int64:
        x[0, 0, 3] = 2**60 + 1  # f64 does not hold it
    grid = np.array([[[-1], [1], [0.3]]], np.float32)
    (y,) = run("GridSample", 20, [x, grid], mode="nearest", align_corners=1)
    assert y.dtype == x.dtype and y.tolist() == x[:, :, [0, 3, 2]].tolist()


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_an_empty_roi_gives_zeros(mode: str) -> None:
    """As in ONNX Runtime: its bins have no samples where their number follows from the roi."""
    x, rois = floats(RNG, 1, 2, 6, 6), np.array([[3, 3, 1, 1], [1, 1, 3, 3]], np.float32)
    attrs = {"output_height": 2, "output_width": 2, "sampling_ratio": 0, "mode": mode}
    (y,) = run("RoiAlign", 16, [x, rois, np.array([0, 0])], **attrs)
    assert not y[0].any() and y[1].any()
    (y,) = run("RoiAlign", 16, [x, rois[:0], np.array([], np.int64)], **attrs)
    assert y.shape == (0, 2, 2, 2)
    with pytest.raises(ModelError, match="a roi is not finite"):
        run("RoiAlign", 16, [x, rois * np.nan, np.array([0, 0])], **attrs)
    with pytest.raises(ModelError, match="leave the 1 images"):
        run("RoiAlign", 16, [x, rois, np.array([0, 1])], **attrs)


def test_many_rois_and_few_are_read_alike() -> None:
    """Of many the image is copied with its channels last."""
    x, attrs = floats(RNG, 2, 3, 9, 8), {"output_height": 3, "output_width": 2, "sampling_ratio": 2}
    rois = np.sort(RNG.random((40, 2, 2)), 1).reshape(40, 4).astype(np.float32) * 8
    images = RNG.integers(0, 2, 40)
    (many,) = run("RoiAlign", 16, [x, rois, images], **attrs)
    for i in range(40):
        (one,) = run("RoiAlign", 16, [x, rois[i : i + 1], images[i : i + 1]], **attrs)
        np.testing.assert_allclose(many[i], one[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "classes"), [(40, 6), (400, 1), (400, 9), (1, 2), (0, 2)])
def test_suppression_equals_a_loop(count: int, classes: int) -> None:
    """Classes that share comparisons, classes for themselves; equal scores; boxes without area."""
    boxes = np.sort(RNG.random((1, count, 2, 2)) * 9, 2).reshape(1, count, 4).astype(np.float32)
    boxes[:, ::5, 2] = boxes[:, ::5, 0]
    scores = np.round(RNG.random((1, classes, count)), 1).astype(np.float32)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
        areas = [np.prod(v[2:] - v[:2]) for v in (a, b)]
        common = sides[0] * sides[1]
        return float(common / (areas[0] + areas[1] - common)) if min(areas) > 0 else 0.0

    most, limit = 30, np.float32(0.3)
    want = []
    for c in range(classes):
        kept: list[int] = []
        for i in sorted(range(count), key=lambda i, c=c: (-scores[0, c, i], i)):  # type: ignore[misc]
            near = any(overlap(boxes[0, i], boxes[0, j]) > limit for j in kept)
            if scores[0, c, i] > np.float32(0.2) and not near and len(kept) < most:
                kept.append(i)
        want += [[0, c, i] for i in kept]
    inputs = [boxes, scores, np.array([most]), np.array([limit]), np.array([0.2], np.float32)]
    assert run("NonMaxSuppression", 11, inputs)[0].tolist() == want


@pytest.mark.parametrize("ordered", [0, 1])
def test_unique_slices(ordered: int) -> None:
    x = RNG.integers(0, 2, (4, 12, 2))
    y, first, inverse, counts = run("Unique", 11, [x], "yfic", axis=1, sorted=ordered)
    np.testing.assert_array_equal(np.take(y, inverse, 1), x)
    np.testing.assert_array_equal(np.take(x, first, 1), y)
    assert counts.tolist() == np.bincount(inverse).tolist()
    slices = [y[:, i].tolist() for i in range(y.shape[1])]
    assert (slices == sorted(slices)) if ordered else (first.tolist() == sorted(first))
