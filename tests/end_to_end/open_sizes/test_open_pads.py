"""Padding by amounts that vary with the sizes: to a multiple, centred, of images and lines; in one kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from open_engines import check_open, open_model

pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.codegen]

RNG = np.random.default_rng(2)
CONSTANTS = {
    "block": np.array([8, 8]),
    "two": np.array([2, 2]),
    "none": np.zeros(2, np.int64),
    "minus": np.array(-1),
}


def amounts(centred: bool) -> list[NodeProto]:
    """pads of x [n, 3, h, w] up to multiples of 8: behind, or half before and half behind."""
    nodes = [
        helper.make_node("Shape", ["x"], ["hw"], start=2),
        helper.make_node("Mul", ["hw", "minus"], ["less"]),
        helper.make_node("Mod", ["less", "block"], ["all"]),
    ]
    if not centred:
        parts = ["none", "none", "none", "all"]
    else:
        nodes.append(helper.make_node("Div", ["all", "two"], ["before"]))
        nodes.append(helper.make_node("Sub", ["all", "before"], ["after"]))
        parts = ["none", "before", "none", "after"]
    return [*nodes, helper.make_node("Concat", parts, ["pads"], axis=0)]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("centred", [False, True])
def test_images_padded_to_a_multiple(mode: str, centred: bool, tmp_path: Path) -> None:
    nodes = [*amounts(centred), helper.make_node("Pad", ["x", "pads"], ["y"], "pad", mode=mode)]
    model = open_model(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], CONSTANTS, opset=19)
    sizes = [(1, 16, 24), (2, 9, 11), (1, 8, 15), (3, 31, 5), (1, 17, 64)]
    sizes += [] if mode in ("reflect", "wrap") else [(1, 1, 1)]
    batches = [{"x": RNG.standard_normal((n, 3, h, w)).astype(np.float32)} for n, h, w in sizes]
    check_open(model, batches, tmp_path, tolerance=0.0)


def test_a_network_that_pads_its_input_and_cuts_its_output(tmp_path: Path) -> None:
    """As segmentation models do it: pad to a multiple, two strides, back up, cut to the first size."""
    weights: Any = {
        "w1": (RNG.standard_normal((8, 3, 3, 3)) / 5).astype(np.float32),
        "w2": (RNG.standard_normal((8, 8, 3, 3)) / 8).astype(np.float32),
        "scales": np.array([1, 1, 4, 4], np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        *amounts(centred=False),
        helper.make_node("Pad", ["x", "pads"], ["p"], "pad"),
        helper.make_node("Conv", ["p", "w1"], ["c"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["d"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Resize", ["d", "", "scales"], ["u"], mode="linear"),
        helper.make_node("Slice", ["u", "none", "hw", "axes"], ["y"]),
    ]
    model = open_model(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], {**CONSTANTS, **weights})
    sizes = ((1, 64, 48), (2, 9, 11), (1, 1, 1), (1, 100, 37))
    batches = [{"x": RNG.standard_normal((n, 3, h, w)).astype(np.float32)} for n, h, w in sizes]
    check_open(model, batches, tmp_path)
