"""Resize of open height and width, in the forms that detectors' preprocessing has: ONNX Runtime at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from open_engines import check_open, open_model

pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.codegen]

RNG = np.random.default_rng(5)
SIZES = ((1, 24, 32), (2, 9, 7), (1, 40, 12), (3, 1, 1), (1, 100, 75), (1, 31, 64))
FIXED = {"sizes": np.array([12, 20])}
HALF = {"scales": np.array([1, 1, 0.5, 0.5], np.float32)}


def check(constants: dict[str, np.ndarray], folder: Path, sizes: Any = SIZES, **attrs: Any) -> None:
    names = ["x", "", *(n if n in constants else "" for n in ("scales", "sizes"))]
    node = helper.make_node("Resize", names if names[-1] else names[:-1], ["y"], "resize", **attrs)
    model = open_model([node], {"x": ["n", 3, "h", "w"]}, ["y"], constants)
    batches = [{"x": RNG.standard_normal((n, 3, h, w)).astype(np.float32)} for n, h, w in sizes]
    check_open(model, batches, folder, tolerance=5e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", [0, 1])
def test_antialias(mode: str, outside: int, tmp_path: Path) -> None:
    attrs = {"mode": mode, "antialias": 1, "exclude_outside": outside}
    check(FIXED, tmp_path, axes=[2, 3], **attrs)
    larger = [s for s in SIZES if s[1] > 1]
    check(HALF, tmp_path, larger, **attrs)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_policies(policy: str, mode: str, tmp_path: Path) -> None:
    check(FIXED, tmp_path, axes=[2, 3], mode=mode, keep_aspect_ratio_policy=policy)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_policies_with_antialias(policy: str, tmp_path: Path) -> None:
    attrs = {"axes": [3, 2], "keep_aspect_ratio_policy": policy}
    check(FIXED, tmp_path, mode="linear", antialias=1, **attrs)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_constant_to_an_open_size(mode: str, tmp_path: Path) -> None:
    """Position embeddings of a vision transformer are stretched to the image's patches."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four"], ["size"]),
        helper.make_node("Concat", ["one_c", "size"], ["wanted"], axis=0),
        helper.make_node("Resize", ["table", "", "", "wanted"], ["stretched"], mode=mode),
        helper.make_node("Add", ["x", "stretched"], ["y"]),
    ]
    constants = {
        "two": np.array([2]),
        "four": np.array([4]),
        "one_c": np.array([1, 3]),
        "table": RNG.standard_normal((1, 3, 7, 5)).astype(np.float32),
    }
    model = open_model(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], constants)
    batches = [{"x": RNG.standard_normal((n, 3, h, w)).astype(np.float32)} for n, h, w in SIZES]
    check_open(model, batches, tmp_path)
