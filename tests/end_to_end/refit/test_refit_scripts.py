"""Weights of models that decide while they run are exchanged in all their graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser

import camshaft
from camshaft.errors import RefitError

HEAD = '<ir_version: 8, opset_import: ["": 17]> '
SHAPES = {"w": (6, 6), "a": (6, 6), "c": (6,), "conv": (5, 3, 3, 3), "kb": (5,), "start": (2, 6)}

BRANCH = """net (bool b, float[N, 6] x) => (float[N, 6] y) {
    h = MatMul (x, w)
    y = If (b) <then_branch = t () => (p) { m = MatMul (h, a)  p = Add (m, c) },
                else_branch = e () => (q) { n = MatMul (h, w)  q = Relu (n) }>
}"""
LOOP = """net (int64 n, float[2, 6] x) => (float[2, 6] y) {
    go = Constant <value = bool {1}> ()
    s = MatMul (x, w)
    y = Loop (n, go, s) <body = f (int64 i, bool k, float[2, 6] h) => (bool k2, float[2, 6] h2) {
        k2 = Identity (k)  m = MatMul (h, a)  t = Tanh (m)  h2 = Add (t, c) }>
}"""
CARRIED = """net (int64 n, float[2, 6] x) => (float[2, 6] y) {
    go = Constant <value = bool {1}> ()
    y = Loop (n, go, start) <body = f (int64 i, bool k, float[2, 6] h) => (bool k2, float[2, 6] h2) {
        k2 = Identity (k)  m = MatMul (h, a)  h2 = Add (m, x) }>
}"""
COUNTED = """net (float[1, 3, 6, 6] x) => (float[N, 5, 6, 6] y) {
    f = Conv <pads = [1, 1, 1, 1]> (x, conv, kb)
    r = Relu (f)
    z = NonZero (r)
    s = Shape (z)
    one = Constant <value = int64[1] {1}> ()
    axes = Constant <value = int64[1] {0}> ()
    k = Gather <axis = 0> (s, one)
    big = Constant <value = int64[1] {1000}> ()
    g = Greater (k, big)
    gs = Squeeze (g)
    y = If (gs) <then_branch = t () => (p) { p = Mul (r, r) }, else_branch = e () => (q) { q = Conv <pads = [1, 1, 1, 1]> (x, conv) }>
}"""
FEEDS = {
    BRANCH: [{"b": np.array(b), "x": np.ones((3, 6), np.float32)} for b in (True, False)],
    LOOP: [{"n": np.array(n), "x": np.ones((2, 6), np.float32)} for n in (0, 1, 4)],
    CARRIED: [{"n": np.array(n), "x": np.ones((2, 6), np.float32)} for n in (0, 3)],
    COUNTED: [{"x": np.linspace(-1, 1, 108, dtype=np.float32).reshape(1, 3, 6, 6)}],
}
NETS = pytest.mark.parametrize("text", FEEDS, ids=["branch", "loop", "carried", "counted"])


def model(text: str, seed: int) -> ModelProto:
    rng = np.random.default_rng(seed)
    made = parser.parse_model(HEAD + text)
    read = {name for name in SHAPES if f"{name})" in text or f"{name}," in text}
    for name in sorted(read):
        array = (0.4 * rng.standard_normal(SHAPES[name])).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


@pytest.mark.parametrize("level", [1, 3])
@NETS
def test_weights_of_all_graphs_are_exchanged(text: str, level: int) -> None:
    first, second = model(text, 1), model(text, 2)
    second = first if text is CARRIED else second
    engine = camshaft.build(first, refittable=True, optimization_level=level)
    fixed = {"start"} if text is CARRIED else set()
    assert engine.refittable.keys() == {t.name for t in first.graph.initializer} - fixed
    wanted = camshaft.build(second, refittable=True, optimization_level=level)
    other = engine.refit(second, copy=True)
    for feeds in FEEDS[text]:
        new, old = wanted(feeds)["y"], engine(feeds)["y"]
        assert np.array_equal(other(feeds)["y"], new)
        assert np.array_equal(old, new) == (text is CARRIED)
    engine.refit(second)
    for feeds in FEEDS[text]:
        assert np.array_equal(engine(feeds)["y"], wanted(feeds)["y"])


@NETS
def test_files_with_and_without_weights(text: str, tmp_path: Path) -> None:
    engine = camshaft.build(model(text, 1), refittable=True, optimization_level=1)
    engine.save(tmp_path / "whole")
    engine.save(tmp_path / "bare", strip_weights=True)
    whole, bare = (camshaft.load(tmp_path / name) for name in ("whole", "bare"))
    assert bare.lacks_weights and not whole.lacks_weights
    with pytest.raises(RefitError, match="saved without weights"):
        bare(FEEDS[text][0])
    bare.refit(model(text, 1))
    again = camshaft.load(bare.to_bytes())
    for feeds in FEEDS[text]:
        for one in (whole, bare, again):
            assert np.array_equal(one(feeds)["y"], engine(feeds)["y"])


def test_equal_weights_of_two_graphs_stay_two(tmp_path: Path) -> None:
    first = model(BRANCH, 1)
    for t in first.graph.initializer:
        if t.name == "a":
            values = next(
                numpy_helper.to_array(o) for o in first.graph.initializer if o.name == "w"
            )
            t.CopyFrom(numpy_helper.from_array(values, "a"))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    engine.refit({"a": np.eye(6, dtype=np.float32)})
    engine.save(tmp_path / "e")
    loaded = camshaft.load(tmp_path / "e")
    for feeds in FEEDS[BRANCH]:
        assert np.array_equal(loaded(feeds)["y"], engine(feeds)["y"])


def test_a_body_with_other_weights_of_its_own_is_another_model() -> None:
    def within(value: float) -> ModelProto:
        made = model(BRANCH, 1)
        body = made.graph.node[1].attribute[0].g
        body.initializer.append(numpy_helper.from_array(np.full(6, value, np.float32), "own"))
        body.node[1].input[1] = "own"
        return made

    engine = camshaft.build(within(1), refittable=True, optimization_level=1)
    with pytest.raises(RefitError, match="another than the engine was built from"):
        engine.refit(within(2))
