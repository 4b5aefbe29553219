"""Recurrent layers step by step are what they are whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from camshaft.passes.canonical.unrolled import MOST_STEPS, unrolled
from camshaft.passes.pipeline import optimize
from recurrent_models import DIRECTIONS, Layer

GIVEN = {"lstm": ("bias", "h", "c", "peepholes"), "gru": ("bias", "h"), "rnn": ("bias", "h")}
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "lstm": ({}, {"clip": 0.4}, {"input_forget": 1}),
    "gru": ({}, {"linear_before_reset": 1}, {"clip": 0.4}),
    "rnn": ({}, {"clip": 0.3}),
}
CASES = [(kind, attrs) for kind, each in OPTIONS.items() for attrs in each]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("kind", "attrs"), CASES)
@pytest.mark.parametrize("plain", [True, False])
def test_steps_are_the_layer(kind: str, attrs: dict[str, Any], direction: str, plain: bool) -> None:
    layer = Layer(kind, direction, 5, 3, given=() if plain else GIVEN[kind], attrs=attrs)
    graph = import_onnx(layer.model())
    made = unrolled(graph)
    verify(made)
    assert not any(n.op.name == "recurrent" for n in made.nodes)
    feeds = layer.feeds(5, 3)
    want = interpret(graph, feeds)
    for name, got in interpret(made, feeds).items():
        np.testing.assert_allclose(got, want[name], 1e-5, 1e-6)


def test_only_level_0_unrolls() -> None:
    graph = import_onnx(Layer("gru", steps=4, batch=2).model())
    ops = [[n.op.name for n in optimize(graph, level=level).nodes] for level in (0, 1)]
    assert "recurrent" not in ops[0] and "recurrent" in ops[1]


@pytest.mark.parametrize("layer", [
    Layer("lstm", steps="t", batch=2), Layer("lstm", steps=3, batch="n"), Layer("gru", steps=3, batch=2, given=("lengths",)),
    Layer("rnn", steps=MOST_STEPS + 1, batch=1),
])  # fmt: skip
def test_layers_that_stay_whole(layer: Layer) -> None:
    graph = import_onnx(layer.model())
    assert unrolled(graph) is graph


def test_an_unfused_engine() -> None:
    layer = Layer("lstm", "bidirectional", 4, 2, given=("bias", "h", "c"))
    feeds = layer.feeds(4, 2)
    plain = camshaft.build(layer.model(), optimization_level=0, threads=1)
    fused = camshaft.build(layer.model(), optimization_level=1, threads=1)
    assert len(plain.notes) > 10 * len(fused.notes)
    for name, want in fused(feeds).items():
        np.testing.assert_allclose(plain(feeds)[name], want, 1e-5, 1e-6)
