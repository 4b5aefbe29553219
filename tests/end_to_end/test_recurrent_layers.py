"""Engines of recurrent layers beside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

import camshaft
from camshaft.ops.cells import FUNCTIONS
from recurrent_models import DIRECTIONS, KINDS, Layer

ACTIVATIONS = ("Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "LeakyRelu")
"""Those of which ONNX Runtime's defaults are the specification's."""


def random_layer(seed: int) -> Layer:
    """A layer of any kind with any options."""
    rng = np.random.default_rng(seed)
    kind, direction = rng.choice(KINDS), rng.choice(DIRECTIONS)
    options = ("bias", "lengths", "h", "c", "peepholes")
    given = tuple(name for name in options if rng.random() < 0.6)
    attrs: dict[str, Any] = {}
    if rng.random() < 0.3:
        attrs["clip"] = 0.5
    if kind == "gru":
        attrs["linear_before_reset"] = int(rng.integers(2))
    if kind == "lstm" and rng.random() < 0.3:
        attrs["input_forget"] = 1
    if rng.random() < 0.4:
        count = FUNCTIONS[kind] * (1 + (direction == "bidirectional"))
        attrs["activations"] = [str(a) for a in rng.choice(ACTIVATIONS, count)]
        attrs["clip"] = 0.5  # without it sums may grow beyond all bounds
    steps, batch = rng.choice(["t", "5", "1"]), rng.choice(["n", "3", "1", "7"])
    return Layer(
        str(kind),
        str(direction),
        steps="t" if steps == "t" else int(steps),
        batch="n" if batch == "n" else int(batch),
        hidden=int(rng.integers(1, 40)),
        given=given,
        attrs=attrs,
        seed=seed,
    )


def check(layer: Layer) -> None:
    model = layer.model()
    engine = camshaft.build(model, optimization_level=1, threads=2)
    steps = {(s["op"], s["kind"]) for s in engine.inspect()["steps"]}
    assert ("recurrent", "kernel") in steps
    assert {kind for _, kind in steps} == {"kernel"}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for threads in (1, 2):
        with engine.create_context(threads) as context:
            for t, b in ((5, 3), (1, 1), (9, 7)):
                sizes = [
                    own if open_ in ("t", "n") else int(open_)
                    for own, open_ in ((t, layer.steps), (b, layer.batch))
                ]
                feeds = layer.feeds(*sizes, seed=t)
                context._arena.view(np.uint8)[:] = 0xFF
                got = context.run(feeds)
                for name, want in zip(got, session.run(None, dict(feeds)), strict=True):
                    np.testing.assert_allclose(got[name], want, 2e-4, 2e-4, err_msg=name)


@pytest.mark.parametrize("seed", range(10))
def test_random_layers(seed: int) -> None:
    check(random_layer(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 160))
def test_more_random_layers(seed: int) -> None:
    check(random_layer(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first(kind: str) -> None:
    """ONNX Runtime has no such layout; it is the other one, transposed."""
    given = ("bias", "lengths", "h", "c")
    first = Layer(kind, "bidirectional", "t", "n", given=given, attrs={"layout": 1})
    feeds = first.feeds()
    got = camshaft.build(first.model(), optimization_level=1, threads=1)(feeds)
    other = Layer(kind, "bidirectional", "t", "n", given=given)
    turned = {n: a if n == "lengths" else a.swapaxes(0, 1).copy() for n, a in feeds.items()}
    session = onnxruntime.InferenceSession(other.model().SerializeToString())
    y, *states = session.run(None, turned)
    wanted = [y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in states)]
    for name, want in zip(got, wanted, strict=True):
        np.testing.assert_allclose(got[name], want, 1e-4, 1e-5, err_msg=name)


def test_sequences_of_no_steps_are_zero() -> None:
    layer = Layer("lstm", "bidirectional", "t", "n", given=("lengths", "h", "c"))
    engine = camshaft.build(layer.model(), optimization_level=1, threads=1)
    feeds = layer.feeds() | {"lengths": np.array([0, 5, 0], np.int32)}
    found = engine(feeds)
    for name, axis in (("y", 2), ("y_h", 1), ("y_c", 1)):
        rows = np.moveaxis(found[name], axis, 0)
        assert not rows[[0, 2]].any(), name
        assert rows[1].any()


def test_half_floats_are_computed_in_f32() -> None:

    layer = Layer("gru", steps="t", batch="n")
    model = layer.model()
    for t in model.graph.initializer:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float16), t.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    engine = camshaft.build(model, optimization_level=1, threads=1)
    x = layer.feeds()["x"].astype(np.float16)
    plain = camshaft.build(layer.model(), optimization_level=1, threads=1)
    want = plain({"x": x.astype(np.float32)})
    got = engine({"x": x})
    assert got["y"].dtype == np.float16
    np.testing.assert_allclose(got["y"], want["y"], atol=3e-3)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_layers_that_magnify_differences_are_built(kind: str) -> None:
    """With weights as large as these two runs that round differently have nothing in common after some 20 steps."""
    layer = Layer(kind, steps=60, batch=1, hidden=128, width=16, given=("bias",))
    model = layer.model()
    for t in model.graph.initializer:
        if t.name.lower().startswith("r"):
            t.CopyFrom(numpy_helper.from_array(5 * numpy_helper.to_array(t), t.name))
    engine = camshaft.build(model, threads=1, optimization_level=2)
    assert any(step["op"] == "recurrent" for step in engine.inspect()["steps"])
