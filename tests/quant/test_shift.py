"""What rounding adds to the mean of a channel is taken off the bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import camshaft
from onnx_models import model_of


@pytest.mark.parametrize("depthwise", [False, True])
def test_small_values_that_all_round_alike_shift_no_mean(depthwise: bool) -> None:
    rng = np.random.default_rng(3)
    groups = 32 if depthwise else 1
    w = rng.standard_normal((32, 32 // groups, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=groups)]
    x = rng.uniform(0.05, 0.15, (1, 32, 24, 24)).astype(np.float32)
    x[0, :, 5, 7] = 100.0  # one pixel that makes a level 0.4
    model = model_of(nodes, {"x": x}, ["y"], {"w": w})
    options: dict[str, Any] = {
        "threads": 1,
        "optimization_level": 1,
        "precision": {"int8"},
        "calibration": [{"x": x}],
        "calibrator": "minmax",
    }
    want = camshaft.build(model, threads=1, optimization_level=1)({"x": x})["y"]

    def off(**more: Any) -> float:
        got = camshaft.build(model, **options, **more)({"x": x})["y"]
        return float(np.abs((got - want).mean(axis=(0, 2, 3))).mean())

    assert off() < 0.1 * off(bias_correction=False)
