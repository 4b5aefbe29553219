"""Q/DQ layers with every activation behind them: a kernel's coarse form of it must pass the tuner's check,
and each byte be right but next to a rounding boundary."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from onnx import numpy_helper, parser

import camshaft

erf = np.vectorize(math.erf)
ACTIVATIONS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "Relu": ("a = Relu (c)", lambda x: np.maximum(x, 0)),
    "Sigmoid": ("a = Sigmoid (c)", lambda x: 1 / (1 + np.exp(-x))),
    "swish": ("s = Sigmoid (c) a = Mul (c, s)", lambda x: x / (1 + np.exp(-x))),
    "Tanh": ("a = Tanh (c)", np.tanh),
    "Mish": ("a = Mish (c)", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "Softplus": ("a = Softplus (c)", lambda x: np.log1p(np.exp(x))),
    "Erf": ("a = Erf (c)", erf),
    "Gelu": ("a = Gelu (c)", lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    "Gelu by tanh": (
        'a = Gelu <approximate = "tanh"> (c)',
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
}
X_SCALE, W_SCALE, Y_SCALE, Y_ZERO = 1 / 16, 1 / 64, 1 / 41, 40
K, C = 64, 40


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bytes_behind_an_activation(name: str) -> None:
    text, function = ACTIVATIONS[name]
    rng = np.random.default_rng(3)
    w = rng.integers(-20, 21, (K, C, 1, 1), np.int8)
    x = rng.integers(0, 256, (1, C, 64, 48), np.uint8)
    model = parser.parse_model(
        f"""<ir_version: 9, opset_import: ["" : 20]>
        net (uint8[1,{C},64,48] x) => (uint8[1,{K},64,48] y)
        <float sx = {{{X_SCALE}}}, uint8 zx = {{128}}, float sw = {{{W_SCALE}}}, int8 zw = {{0}},
         float sy = {{{Y_SCALE}}}, uint8 zy = {{{Y_ZERO}}}> {{
            xf = DequantizeLinear (x, sx, zx)
            wf = DequantizeLinear (w, sw, zw)
            c = Conv (xf, wf)
            {text}
            y = QuantizeLinear (a, sy, zy)
        }}"""
    )
    model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    engine = camshaft.build(model, precision={"int8"})
    assert "u8" in {step["precision"] for step in engine.inspect()["steps"]}
    got = engine({"x": x})["y"]
    sums = np.einsum("kc,nchw->nkhw", w[..., 0, 0].astype(np.int64), x.astype(np.int64) - 128)
    quanta = function(sums * (X_SCALE * W_SCALE)) / Y_SCALE
    wanted = np.clip(np.rint(quanta) + Y_ZERO, 0, 255)
    differs = got != wanted
    boundary = np.abs(quanta - np.floor(quanta) - 0.5)
    assert (np.abs(got - wanted) <= 1).all()
    assert (boundary[differs] <= 2e-4 * (1 + np.abs(quanta[differs]))).all()
    assert differs.mean() < 1 / 500
