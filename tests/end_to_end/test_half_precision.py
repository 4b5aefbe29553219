"""Half precision as a permission: what a build makes of it, and how far results are off."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import camshaft
from camshaft.builder.engine_builder import Tuned
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.session import BuildSession
from onnx_models import two_convs


def built(**options: Any) -> tuple[BuildSession, camshaft.Engine]:
    session = BuildSession(two_convs(), BuildConfig.of(None, {"threads": 1, **options}))
    return session, session.run()


def conv_names() -> list[str]:
    graph = onnx.load_from_string(two_convs()).graph
    return [n.name or n.output[0] for n in graph.node if n.op_type == "Conv"]


def outputs(engine: camshaft.Engine) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 9)).astype(np.float32)
    (y,) = engine({"x": x}).values()
    return y


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_permitted(precision: str) -> None:
    session, engine = built(precision={precision}, optimization_level=1)
    convs = [s for s in engine.inspect()["steps"] if s["op"] == "conv"]
    half = {"bf16": "bf16", "fp16": "f16"}[precision]
    assert convs and all(half in s["precision"] for s in convs)
    assert all(s["reason"].startswith(precision) for s in convs)
    assert session.precision_summary.startswith(precision)
    want = outputs(built(optimization_level=1)[1])
    got = outputs(engine)
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 0 < error < {"bf16": 0.02, "fp16": 0.003}[precision]


@pytest.mark.parametrize("faster", [True, False])
def test_the_faster_graph_wins(faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_us(tuned: Tuned) -> float:
        halves = any("weights bf16" in t.precision for t in tuned.tasks)
        return 1.0 if halves == faster else 2.0

    monkeypatch.setattr(Tuned, "time_us", property(time_us))
    monkeypatch.setattr(Tuned, "time_by_origin", lambda self: {t.origin: 1.0 for t in self.tasks})
    session, engine = built(precision={"bf16"}, optimization_level=2)
    precisions = {s["precision"] for s in engine.inspect()["steps"] if s["op"] == "conv"}
    assert precisions == ({"f32, weights bf16"} if faster else {"f32"})
    assert session.precision_summary.startswith("bf16 weights" if faster else "fp32: ")


def test_layers_are_what_they_must_be() -> None:
    names = conv_names()
    layers = {names[0]: "fp16", names[1]: "fp32"}
    session, engine = built(
        precision={"bf16", "fp16"}, layer_precision=layers, optimization_level=1
    )
    precisions = [s["precision"] for s in engine.inspect()["steps"] if s["op"] == "conv"]
    assert precisions == ["f32, weights f16", "f32"]
    assert session.reasons[names[0]] == "fp16 weights: layer_precision"
    with pytest.raises(ConfigError, match="does not permit it: add precision="):
        built(layer_precision={names[0]: "bf16"}, optimization_level=1)
    with pytest.raises(ConfigError, match="which no layer of the model is called"):
        built(precision={"bf16"}, layer_precision={"nowhere": "bf16"}, optimization_level=1)


def test_beside_int8() -> None:
    rng = np.random.default_rng(1)
    names = conv_names()
    batches = [{"x": rng.standard_normal((1, 4, 9, 9)).astype(np.float32)}]
    config = BuildConfig.of(
        None,
        {
            "precision": {"int8", "bf16"},
            "layer_precision": {names[1]: "bf16"},
            "optimization_level": 1,
            "threads": 1,
        },
    )
    engine = BuildSession(two_convs(), config, batches).run()
    precisions = [s["precision"] for s in engine.inspect()["steps"] if s["op"] == "conv"]
    assert precisions == ["u8", "f32, weights bf16"]
