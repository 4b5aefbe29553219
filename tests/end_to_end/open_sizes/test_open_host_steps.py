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
