"""Reductions over no elements give the neutral element: fixed extents of 0, and open ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from onnx_models import model_of

INF = np.inf
CASES: list[tuple[str, Any, float]] = [
    ("ReduceSum", np.float32, 0),
    ("ReduceProd", np.float32, 1),
    ("ReduceMax", np.float32, -INF),
    ("ReduceMin", np.float32, INF),
    ("ReduceLogSumExp", np.float32, -INF),
    ("ReduceLogSum", np.float32, -INF),
    ("ReduceL1", np.float32, 0),
    ("ReduceL2", np.float32, 0),
    ("ReduceSumSquare", np.float32, 0),
    ("ReduceMax", np.float64, -INF),
    ("ReduceSum", np.int32, 0),
    ("ReduceMax", np.int32, -(2**31)),
    ("ReduceMin", np.int32, 2**31 - 1),
    ("ReduceMax", np.int64, -(2**63)),
    ("ReduceMax", np.uint8, 0),
    ("ReduceMin", np.uint8, 255),
    ("ReduceMin", np.int8, 127),
    ("ReduceMax", np.bool_, 0),
    ("ReduceMin", np.bool_, 1),
]


OPEN = {"x": ("batch=0..8", "n=0..4..8")}


@pytest.mark.parametrize(("op", "dtype", "neutral"), CASES)
def test_reduction_of_nothing(op: str, dtype: Any, neutral: float) -> None:
    x, axes = np.ones((3, 0), dtype), np.array([1])
    for keepdims, level, shapes in ((0, 0, {}), (1, 1, {}), (1, 0, OPEN), (0, 1, OPEN)):
        node = helper.make_node(op, ["x", "axes"], ["y"], name="reduce", keepdims=keepdims)
        proto = model_of([node], {"x": x}, ["y"], {"axes": axes}, opset=20)
        want = np.full((3, 1) if keepdims else 3, neutral, dtype)
        got = interpret(import_onnx(proto, shapes=shapes), {"x": x})["y"]
        np.testing.assert_array_equal(got, want, strict=True)
        engine = camshaft.build(proto, shapes=shapes, threads=1, optimization_level=level)
        np.testing.assert_array_equal(engine(x)["y"], want, strict=True)
