"""Squeeze without axes, of extents that may be 1: what is left out is decided in each call."""

from __future__ import annotations

import numpy as np
import pytest

import camshaft
from value_models import small_model

onnxruntime = pytest.importorskip("onnxruntime", reason="results are compared with it")

MODELS = {
    "an input": ("s = Squeeze(x) y = Exp(s)", [(1, 3), (4, 3), (2, 1), (1, 1)]),
    "found by data": (
        "i = NonZero(x) s = Squeeze(i) c = Cast<to = 1>(s) y = Exp(c)",
        [(1, 3), (4, 3), (1, 1)],
    ),
    "then a product": (
        "s = Squeeze(x) w = Shape(s) n = Size(w) c = Cast<to = 1>(n) y = Mul(s, c)",
        [(1, 3), (5, 2)],
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_what_is_one_is_left_out(case: str) -> None:
    body, shapes = MODELS[case]
    model = small_model(body, "float[a,b] x", "float y")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    engine = camshaft.build(model, optimization_level=1, threads=1)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    rng = np.random.default_rng(0)
    for shape in shapes:
        x = rng.standard_normal(shape).astype(np.float32)
        (want,) = session.run(None, {"x": x})
        got = engine({"x": x})["y"]
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5)
