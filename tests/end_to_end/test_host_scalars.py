"""Constants of rank 0 reach a host step as they are: many ONNX operators tell them from [1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import camshaft
from onnx_models import model_of

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
SIGNAL = np.random.default_rng(1).standard_normal((1, 32, 1)).astype(np.float32)
CASES = {
    "CumSum": ({"x": X}, {"axis": np.array(1)}, {}),
    "CumSum backwards": ({"x": X}, {"axis": np.array(0, np.int32)}, {"reverse": 1}),
    "OneHot": (
        {"x": np.array([0, 2, 4])},
        {"depth": np.array(5), "values": np.array([0, 1], np.float32)},
        {},
    ),
    "DFT": ({"x": SIGNAL}, {"length": np.array(16), "axis": np.array(1)}, {}),
    "STFT": (
        {"x": SIGNAL},
        {"step": np.array(8), "window": np.ones(16, np.float32), "length": np.array(16)},
        {},
    ),
}


@pytest.mark.codegen
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_a_host_step_gets_scalars(name: str, level: int, tmp_path: Path) -> None:
    inputs, constants, attrs = CASES[name]
    node = helper.make_node(name.split()[0], [*inputs, *constants], ["y"], "step", **attrs)
    model = model_of([node], inputs, ["y"], constants, opset=20)
    (want,) = ReferenceEvaluator(model).run(None, inputs)
    engine = camshaft.build(model, optimization_level=level)
    engine.save(tmp_path / "step.engine")
    for e in (engine, camshaft.load(tmp_path / "step.engine")):
        np.testing.assert_allclose(e(inputs)["y"], want, rtol=1e-5, atol=1e-5)
