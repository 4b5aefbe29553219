"""Plugins of TensorRT's own library: found by the parser and by creators, held against other ways to compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import camshaft.tensorrt as trt
from trt_engines import Workshop, run_v3

RNG = np.random.default_rng(11)
REGISTRY = trt.get_plugin_registry()
F = trt.PluginFieldType.FLOAT32
INT = trt.PluginFieldType.INT32


def fields(**values: Any) -> Any:
    made = trt.PluginFieldCollection()
    for name, value in values.items():
        array = np.atleast_1d(np.asarray(value))
        kind = F if array.dtype.kind == "f" else INT
        array = array.astype(np.float32 if kind == F else np.int32)
        made.append(trt.PluginField(name, array, kind))
    return made


def run(kind: str, version: str, feeds: dict[str, np.ndarray], **values: Any) -> list[np.ndarray]:
    """By a creator, in a network with open sizes of the first axes."""
    shop = Workshop()
    creator = REGISTRY.get_creator(kind, version, "")
    third = isinstance(creator, trt.IPluginCreatorV3One)
    phase = [trt.TensorRTPhase.BUILD] if third else []
    plugin = creator.create_plugin("it", fields(**values), *phase)
    inputs = []
    for name, array in feeds.items():
        dtype = {"f": trt.float32, "i": trt.int32}[array.dtype.kind]
        inputs.append(shop.network.add_input(name, dtype, array.shape))
    add = shop.network.add_plugin_v3 if third else shop.network.add_plugin_v2
    layer = add(inputs, [], plugin) if third else add(inputs, plugin)
    assert layer is not None, shop.log.errors
    for i in range(layer.num_outputs):
        layer.get_output(i).name = f"out{i}"
        shop.network.mark_output(layer.get_output(i))
    engine = shop.engine()
    steps = [note.reason for note in engine._engine.manifest.notes]
    assert not any("runs in Python" in r for r in steps)
    got = run_v3(engine.create_execution_context(), feeds)
    return [got[f"out{i}"] for i in range(layer.num_outputs)]


def boxes_of(*shape: int) -> np.ndarray:
    """Corners within the unit square, the lesser first."""
    low = RNG.random((*shape, 2)) * 0.7
    made: np.ndarray = np.concatenate([low, low + 0.05 + RNG.random((*shape, 2)) * 0.25], -1)
    return made.astype(np.float32)


def by_onnx(boxes: np.ndarray, scores: np.ndarray, iou: float, score: float) -> np.ndarray:
    """What ONNX's NonMaxSuppression selects of [N, B, 4] and [N, B, C]: rows of image, class, box."""
    many = len(boxes[0]) * scores.shape[2]
    node = helper.make_node("NonMaxSuppression", ["b", "s", "m", "i", "t"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, t, None) for n, t in (("b", 1), ("s", 1), ("m", 7), ("i", 1), ("t", 1))],
        [helper.make_tensor_value_info("y", 7, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    feeds = {
        "b": boxes,
        "s": np.moveaxis(scores, 2, 1).copy(),
        "m": np.array([many], np.int64),
        "i": np.array([iou], np.float32),
        "t": np.array([score], np.float32),
    }
    found: np.ndarray = ReferenceEvaluator(model).run(None, feeds)[0]
    return found


def best(selected: np.ndarray, scores: np.ndarray, most: int, image: int) -> np.ndarray:
    """Rows of an image, the best scores first."""
    rows = selected[selected[:, 0] == image]
    order = np.argsort(-scores[image, rows[:, 2], rows[:, 1]], kind="stable")
    return rows[order][:most]


def test_efficient_nms_selects_as_onnx_does() -> None:
    boxes, scores = boxes_of(2, 60), RNG.random((2, 60, 3)).astype(np.float32)
    number, found, values, kinds = run(
        "EfficientNMS_TRT", "1", {"boxes": boxes, "scores": scores},
        score_threshold=0.4, iou_threshold=0.45, max_output_boxes=20, background_class=-1,
        score_activation=0, class_agnostic=0, box_coding=0,
    )  # fmt: skip
    selected = by_onnx(boxes, scores, 0.45, 0.4)
    assert number.shape == (2, 1) and number.dtype == kinds.dtype == np.int32
    for n in range(2):
        rows = best(selected, scores, 20, n)
        count = int(number[n, 0])
        assert count == len(rows) > 5
        np.testing.assert_array_equal(kinds[n, :count], rows[:, 1])
        np.testing.assert_array_equal(found[n, :count], boxes[n, rows[:, 2]])
        np.testing.assert_array_equal(values[n, :count], scores[n, rows[:, 2], rows[:, 1]])
        assert not values[n, count:].any()


def test_efficient_nms_decodes_activates_and_leaves_a_class_out() -> None:
    anchors = np.array([[[0.5, 0.5, 0.2, 0.4], [0.2, 0.2, 0.1, 0.1]]], np.float32)  # x, y, w, h
    moves = np.array([[[0.5, -0.25, np.log(2), 0], [0, 0, 0, 0]]], np.float32)
    scores = np.array([[[3.0, 1.0], [-2.0, 2.0]]], np.float32)
    number, found, values, kinds = run(
        "EfficientNMS_TRT", "1", {"boxes": moves, "scores": scores, "anchors": anchors},
        score_threshold=0.5, iou_threshold=0.5, max_output_boxes=4, background_class=0,
        score_activation=1, class_agnostic=1, box_coding=1,
    )  # fmt: skip
    assert number[0, 0] == 2 and kinds[0, :2].tolist() == [1, 1]
    np.testing.assert_allclose(values[0, :2], 1 / (1 + np.exp([-2.0, -1.0])), rtol=1e-6)
    center, size = np.array([0.6, 0.4]), np.array([0.4, 0.4])
    np.testing.assert_allclose(found[0, 1], [*(center - size / 2), *(center + size / 2)], atol=1e-6)
    np.testing.assert_allclose(found[0, 0], [0.15, 0.15, 0.25, 0.25], atol=1e-6)


def test_efficient_nms_of_onnx_gives_indices() -> None:
    boxes, scores = boxes_of(2, 20), RNG.random((2, 20, 2)).astype(np.float32)
    (got,) = run(
        "EfficientNMS_ONNX_TRT", "1", {"boxes": boxes, "scores": scores},
        score_threshold=0.3, iou_threshold=0.5, max_output_boxes_per_class=50, center_point_box=0,
    )  # fmt: skip
    want = by_onnx(boxes, scores, 0.5, 0.3)
    assert got.shape == (2 * 50, 3)
    assert {tuple(r) for r in got.tolist()} == {tuple(r) for r in want.tolist()}
    assert (got[len(want) :] == got[len(want) - 1]).all()


@pytest.mark.parametrize("shared", [True, False])
def test_batched_nms_selects_as_onnx_does(shared: bool) -> None:
    scores = RNG.random((1, 40, 3)).astype(np.float32)
    boxes = boxes_of(1, 40, 1 if shared else 3)
    number, found, values, kinds = run(
        "BatchedNMSDynamic_TRT", "1", {"boxes": boxes, "scores": scores},
        shareLocation=int(shared), backgroundLabelId=-1, numClasses=3, topK=40, keepTopK=25,
        scoreThreshold=0.5, iouThreshold=0.4, isNormalized=1, clipBoxes=1,
    )  # fmt: skip
    rows = []
    for kind in range(3):
        of = boxes[:, :, 0 if shared else kind]
        for row in by_onnx(of, scores[:, :, kind : kind + 1], 0.4, 0.5).tolist():
            rows.append((scores[0, row[2], kind], kind, of[0, row[2]]))
    rows.sort(key=lambda r: -r[0])
    count = int(number[0, 0])
    assert count == min(len(rows), 25) > 5
    np.testing.assert_array_equal(values[0, :count], [r[0] for r in rows[:count]])
    np.testing.assert_array_equal(kinds[0, :count], [r[1] for r in rows[:count]])
    np.testing.assert_array_equal(found[0, :count], np.clip([r[2] for r in rows[:count]], 0, 1))
    assert (kinds[0, count:] == -1).all() and kinds.dtype == np.float32


def test_batched_nms_tops_and_keeps_few_and_sees_pixels() -> None:
    boxes = np.array([[[0, 0, 9, 9], [0, 1, 9, 9], [20, 20, 29, 29]]], np.float32)[:, :, None]
    scores = np.array([[[0.9], [0.8], [0.7]]], np.float32)
    same: dict[str, Any] = dict(  # noqa: C408
        shareLocation=1, backgroundLabelId=-1, numClasses=1, scoreThreshold=0.1, clipBoxes=1
    )
    number, found, _, _ = run(
        "BatchedNMSDynamic_TRT", "1", {"boxes": boxes, "scores": scores},
        topK=3, keepTopK=3, iouThreshold=0.8, isNormalized=0, **same,
    )  # fmt: skip
    assert number[0, 0] == 2 and found[0, 1].tolist() == [20, 20, 29, 29]  # not clipped
    number, *_ = run(
        "BatchedNMSDynamic_TRT", "1", {"boxes": boxes, "scores": scores},
        topK=1, keepTopK=3, iouThreshold=0.99, isNormalized=0, **same,
    )  # fmt: skip
    assert number[0, 0] == 1


@pytest.mark.parametrize("version", ["1", "3"])
def test_instance_normalization_is_generated_code(version: str) -> None:
    x = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)
    scales, bias = np.array([1.0, 2.0, -1.0]), np.array([0.0, 0.5, 1.0])
    (got,) = run(
        "InstanceNormalization_TRT", version, {"x": x},
        epsilon=1e-3, scales=scales, bias=bias, relu=1, alpha=0.1,
    )  # fmt: skip
    mean, var = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    y = scales[:, None, None] * (x - mean) / np.sqrt(var + 1e-3) + bias[:, None, None]
    np.testing.assert_allclose(got, np.where(y > 0, y, 0.1 * y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", ["1", "2"])
def test_roi_align_is_onnx_s(version: str) -> None:
    x = RNG.standard_normal((2, 3, 12, 10)).astype(np.float32)
    rois = np.array([[0, 0, 10, 10], [2, 3, 9, 20]], np.float32)
    images = np.array([1, 0], np.int32)
    values: Any = dict(mode=1, output_height=3, output_width=2, sampling_ratio=2, spatial_scale=0.5)  # noqa: C408
    (got,) = run(
        "ROIAlign_TRT", version, {"x": x, "rois": rois, "images": images},
        coordinate_transformation_mode=0, **values,
    )  # fmt: skip
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "images"], ["y"],
        coordinate_transformation_mode="output_half_pixel", **{**values, "mode": "avg"},
    )  # fmt: skip
    infos = [helper.make_tensor_value_info(n, t, None) for n, t in (("x", 1), ("rois", 1), ("images", 7))]  # fmt: skip
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    feeds = {"x": x, "rois": rois, "images": images.astype(np.int64)}
    np.testing.assert_allclose(got, ReferenceEvaluator(model).run(None, feeds)[0], rtol=1e-4)


@pytest.mark.parametrize("domain", ["", "TRT", "trt.plugins"])
def test_the_parser_finds_them(domain: str) -> None:
    node = helper.make_node(
        "EfficientNMS_TRT", ["boxes", "scores"], ["num", "b", "s", "c"], domain=domain,
        score_threshold=0.25, iou_threshold=0.45, max_output_boxes=5, plugin_version="1",
        background_class=-1, score_activation=0, box_coding=0, class_agnostic=0,
    )  # fmt: skip
    infos = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ("n", 30, 4)),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("n", 30, 2)),
    ]
    outputs = [helper.make_tensor_value_info(n, t, None) for n, t in (("num", 6), ("b", 1), ("s", 1), ("c", 6))]  # fmt: skip
    model = helper.make_model(
        helper.make_graph([node], "g", infos, outputs),
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("TRT", 1)],
    )
    shop = Workshop()
    parser = trt.OnnxParser(shop.network, shop.log)
    assert parser.parse(model.SerializeToString()), shop.log.errors
    assert tuple(shop.network.get_output(1).shape) == (-1, 5, 4)
    profile = shop.builder.create_optimization_profile()
    for name, last in (("boxes", 4), ("scores", 2)):
        profile.set_shape(name, (1, 30, last), (2, 30, last), (4, 30, last))
    shop.config.add_optimization_profile(profile)
    context = shop.engine().create_execution_context()
    boxes, scores = boxes_of(3, 30), RNG.random((3, 30, 2)).astype(np.float32)
    got = run_v3(context, {"boxes": boxes, "scores": scores})
    assert got["num"].shape == (3, 1) and (got["num"] == 5).all()
    assert onnx.__version__


def test_wrong_inputs_are_reported() -> None:
    shop = Workshop()
    creator = REGISTRY.get_plugin_creator("EfficientNMS_TRT", "1", "")
    plugin = creator.create_plugin("it", fields(max_output_boxes=4))
    x = shop.network.add_input("x", trt.float32, (1, 5, 3))
    layer = shop.network.add_plugin_v2([x, x], plugin)
    shop.output(layer, "y")
    assert shop.plan() is None
    assert "boxes" in shop.log.errors[-1]
    names = {f.name for f in creator.field_names}
    assert {"score_threshold", "iou_threshold", "max_output_boxes", "box_coding"} <= names


@pytest.mark.parametrize(
    ("kind", "field", "value", "says"),
    [
        ("EfficientNMS_TRT", "box_coding", 7, "box_coding=7 must be 0 to 1"),
        ("EfficientNMS_TRT", "score_threshold", np.nan, "score_threshold=nan must be a number"),
        ("EfficientNMS_TRT", "max_output_boxes", 0, "max_output_boxes=0 must be at least 1"),
        ("EfficientNMS_ONNX_TRT", "center_point_box", 2, "center_point_box=2 must be 0 to 1"),
        ("BatchedNMSDynamic_TRT", "keepTopK", -1, "keepTopK=-1 must be at least 1"),
        ("BatchedNMS_TRT", "iouThreshold", np.nan, "iouThreshold=nan must be a number"),
        ("ROIAlign_TRT", "sampling_ratio", -1, "sampling_ratio=-1 must be at least 0"),
        ("ROIAlign_TRT", "output_width", 0, "output_width=0 must be at least 1"),
        ("InstanceNormalization_TRT", "epsilon", np.nan, "epsilon=nan must be a number"),
    ],
)
def test_fields_hold_what_they_can(kind: str, field: str, value: Any, says: str) -> None:
    shop = Workshop()
    plugin = REGISTRY.get_creator(kind, "1", "").create_plugin("it", fields(**{field: value}))
    shapes = {
        "ROIAlign_TRT": [(1, 3, 8, 8), (5, 4), (5,)],
        "InstanceNormalization_TRT": [(1, 3, 8, 8), (3,), (3,)],
        "BatchedNMS_TRT": [(1, 9, 1, 4), (1, 9, 2)],
    }.get(kind, [(1, 9, 4), (1, 9, 2)])
    inputs = [
        shop.network.add_input(
            f"x{i}", trt.int32 if len(s) == 1 and kind[0] == "R" else trt.float32, s
        )
        for i, s in enumerate(shapes)
    ]
    layer = shop.network.add_plugin_v2(inputs, plugin)
    shop.network.mark_output(layer.get_output(0))
    shop.builder.build_serialized_network(shop.network, shop.config)
    assert any(f"{kind}: {says}" in e for e in shop.log.errors), shop.log.errors
