"""Recurrent layers with weights of bytes and of halves, alone and behind convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser

import camshaft
from recurrent_models import Layer

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
RNG = np.random.default_rng(0)
HIDDEN = 64


def reader() -> ModelProto:
    """Convolutions, then an LSTM of both directions along the width, as nets that read text have them."""
    model = parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 17]>
    net (float[1,3,16,40] x) => (float[t,d,n,h] y) {{
      c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, wc) r = Relu(c)
      p = ReduceMean<axes = [2], keepdims = 0>(r) s = Transpose<perm = [2, 0, 1]>(p)
      y, yh, yc = LSTM<hidden_size = {HIDDEN}, direction = "bidirectional">(s, w, u, b)
    }}""")
    rng = np.random.default_rng(1)
    shapes = {
        "wc": (48, 3, 3, 3),
        "w": (2, 4 * HIDDEN, 48),
        "u": (2, 4 * HIDDEN, HIDDEN),
        "b": (2, 8 * HIDDEN),
    }
    for name, shape in shapes.items():
        weights = rng.standard_normal(shape) / np.sqrt(
            np.prod(shape[1:]) if name == "wc" else shape[-1]
        )
        model.graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), name))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def precisions(engine: camshaft.Engine) -> dict[str, str]:
    """Of steps that multiply, by op; the last one of each."""
    return {s["op"]: s["precision"] for s in engine.inspect()["steps"]}


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_bytes_need_no_data(kind: str) -> None:
    layer = Layer(kind, "bidirectional", "t", "n", width=40, hidden=48, given=("bias", "lengths"))
    plain = camshaft.build(layer.model(), **QUICK)
    engine = camshaft.build(layer.model(), precision={"int8"}, **QUICK)
    assert precisions(engine)["recurrent"] == "f32, weights i8"
    for steps, batch in ((1, 1), (20, 3)):
        feeds = layer.feeds(steps, batch)
        want, got = plain(feeds), engine(feeds)
        for name in want:
            off = np.sqrt(np.mean((got[name] - want[name]) ** 2))
            assert off < 0.02, name


def test_beside_calibrated_convolutions() -> None:
    batches = [{"x": RNG.standard_normal((1, 3, 16, 40)).astype(np.float32)} for _ in range(4)]
    plain = camshaft.build(reader(), **QUICK)
    found = {}
    for asked in ("", "fp32", "int8"):
        layers = {"layer_precision": {"y": asked}} if asked else {}
        engine = camshaft.build(
            reader(), precision={"int8"}, calibration=batches, **layers, **QUICK
        )
        found[asked] = precisions(engine)["recurrent"]
        deviation = np.abs(engine(batches[0])["y"] - plain(batches[0])["y"]).max()
        assert deviation < 0.02
    assert found == {"": "f32, weights i8", "fp32": "f32", "int8": "f32, weights i8"}


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_halves(half: str) -> None:
    plain = camshaft.build(reader(), **QUICK)
    engine = camshaft.build(reader(), precision={half}, **QUICK)
    dtype = {"bf16": "bf16", "fp16": "f16"}[half]
    assert precisions(engine)["recurrent"] == f"f32, weights {dtype}"
    feeds = {"x": RNG.standard_normal((1, 3, 16, 40)).astype(np.float32)}
    assert np.abs(engine(feeds)["y"] - plain(feeds)["y"]).max() < 0.01


@pytest.mark.parametrize(("kind", "activations"), [("rnn", ["Relu"]), ("gru", ["Tanh", "Sigmoid"])])
def test_states_without_bounds_stay_float(kind: str, activations: list[str]) -> None:
    layer = Layer(kind, hidden=48, attrs={"activations": activations, "clip": 1.0})
    engine = camshaft.build(layer.model(), precision={"int8"}, **QUICK)
    assert precisions(engine)["recurrent"] == "f32"


def test_engines_are_saved_with_their_weights(tmp_path: Any) -> None:
    layer = Layer("lstm", hidden=256, width=256)
    sizes = {}
    for precision in ((), ("bf16",), ("int8",)):
        options = {"precision": set(precision)} if precision else {}
        engine = camshaft.build(layer.model(), **options, **QUICK)
        path = tmp_path / ("-".join(precision) or "fp32")
        engine.save(path)
        feeds = layer.feeds()
        np.testing.assert_array_equal(camshaft.load(path)(feeds)["y"], engine(feeds)["y"])
        sizes[precision] = path.stat().st_size
    assert sizes[("bf16",)] < 0.55 * sizes[()]
    assert sizes[("int8",)] < 0.35 * sizes[()]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_states_that_are_given_may_lie_anywhere(kind: str) -> None:
    """A decoder that begins with what an encoder found; each row has a bound of its own."""
    layer = Layer(kind, "forward", "t", "n", width=40, hidden=48, given=("bias", "h"))
    engine = camshaft.build(layer.model(), precision={"int8"}, **QUICK)
    assert precisions(engine)["recurrent"] == "f32, weights i8"
    plain = camshaft.build(layer.model(), **QUICK)
    feeds = layer.feeds()
    feeds["h"][0, 0] = np.clip(feeds["h"][0, 0], -1, 1)
    alone = engine(feeds)["y"]
    feeds["h"][0, 1:] *= 9
    got, wanted = engine(feeds)["y"], plain(feeds)["y"]
    np.testing.assert_allclose(got, wanted, atol=0.02 * np.abs(feeds["h"]).max())
    np.testing.assert_allclose(got[:, :, 0], wanted[:, :, 0], atol=0.02)
    np.testing.assert_array_equal(got[:, :, 0], alone[:, :, 0])
