"""Operators without kernels over open axes: their extents follow from the model's arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from open_engines import check_open, open_model

pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.codegen]

RNG = np.random.default_rng(11)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_along_an_open_axis(axis: int, largest: int, tmp_path: Path) -> None:
    node = helper.make_node("TopK", ["x", "k"], ["y", "at"], "top", axis=axis, largest=largest)
    constants = {"k": np.array([3])}
    model = open_model(
        [node], {"x": ["n", "h", "w"]}, ["y", "at"], constants, types={"at": np.int64}
    )
    batches = [{"x": f(n, h, w)} for n, h, w in ((1, 3, 3), (2, 16, 7), (1, 5, 128), (3, 128, 4))]
    engine = check_open(model, batches, tmp_path, host=["top"])
    for shape, least in (((1, 2, 3), "h"), ((1, 3, 2), "w")):
        if least == ("h" if axis == 1 else "w"):
            with pytest.raises(camshaft.ShapeError, match=f"{least} = 3"):
                engine({"x": f(*shape)})


def test_as_many_as_there_are_up_to_a_limit(tmp_path: Path) -> None:
    """k = min(n, 5), computed from the shape, as detectors have it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=2),
        helper.make_node("Min", ["s", "five"], ["k"]),
        helper.make_node("TopK", ["x", "k"], ["y", "at"], "top"),
        helper.make_node("GatherElements", ["z", "at"], ["picked"], axis=1),
    ]
    inputs: Any = {"x": ["b", "n"], "z": ["b", "n"]}
    constants = {"five": np.array([5])}
    model = open_model(nodes, inputs, ["y", "picked"], constants)
    batches = [{"x": f(b, n), "z": f(b, n)} for b, n in ((1, 1), (2, 4), (3, 5), (1, 6), (2, 300))]
    check_open(model, batches, tmp_path, host=["top"])


def test_more_than_an_axis_may_have_names_the_node() -> None:
    """Over an axis that depends on the sizes of others, it is said when sizes are set."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["r"]),
        helper.make_node("TopK", ["r", "k"], ["y", "at"], "top"),
    ]
    constants = {"k": np.array([6]), "flat": np.array([-1])}
    model = open_model(nodes, {"x": ["h", "w"]}, ["y"], constants)
    engine = camshaft.build(model, optimization_level=1)
    assert engine({"x": f(2, 3)})["y"].shape == (6,)
    with pytest.raises(camshaft.ShapeError, match="node 'top'"):
        engine({"x": f(1, 5)})
    fixed = open_model(nodes, {"x": [1, 5]}, ["y"], constants)
    with pytest.raises(ModelError, match=r"'top'.*k=6 is more than axis 0 of f32\[5\] has"):
        import_onnx(fixed)


WEIGHTS = {"w": f(4, 2, 3, 3, 3), "t": f(2, 4, 3, 2, 3)}
VOLUMES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Conv", {}),
    ("Conv", {"pads": [1] * 6, "strides": [1, 2, 2]}),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2, 1]}),
    ("ConvTranspose", {"strides": [2, 1, 2], "output_padding": [1, 0, 0]}),
    ("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 1, 2]}),
    ("MaxPool", {"kernel_shape": [2, 2, 2], "strides": [2, 2, 1]}),
    ("MaxPool", {"kernel_shape": [3, 2, 2], "strides": [2, 2, 2], "ceil_mode": 1}),
    (
        "AveragePool",
        {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [0, 1, 0, 1, 1, 1]},
    ),
    ("LpPool", {"kernel_shape": [2, 2, 2], "strides": [2, 2, 1]}),
)


@pytest.mark.parametrize(("op", "attrs"), VOLUMES)
def test_windows_over_three_open_axes(op: str, attrs: dict[str, Any], tmp_path: Path) -> None:
    weights = {"Conv": ["w"], "ConvTranspose": ["t"]}.get(op, [])
    node = helper.make_node(op, ["x", *weights], ["y"], "layer", **attrs)
    model = open_model([node], {"x": ["n", 2, "d", "h", "w_"]}, ["y"], WEIGHTS)
    sizes = ((1, 8, 9, 10), (2, 5, 6, 7), (1, 3, 3, 3), (1, 16, 4, 5))
    batches = [{"x": f(n, 2, d, h, w)} for n, d, h, w in sizes]
    has_form = op == "Conv" or (op == "MaxPool" and "ceil_mode" not in attrs)
    engine = check_open(model, batches, tmp_path, host=[] if has_form else ["layer"])
    if op == "Conv" and not attrs:
        with pytest.raises(camshaft.ShapeError, match=r"axis 2 is 2, .* d = 3\.\."):
            engine({"x": f(1, 2, 2, 3, 3)})


def test_channels_of_volumes_that_do_not_fit_name_the_node() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "layer")
    model = open_model([node], {"x": ["n", 3, "d", "h", "w_"]}, ["y"], WEIGHTS)
    with pytest.raises(ModelError, match=r"'layer'.*3 channels.*want 2"):
        import_onnx(model)
