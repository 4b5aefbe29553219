"""Attention in the precisions that are permitted: what a build makes of it, and how far results are off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.backends.cpu.target import AVX512_BF16
from camshaft.builder.engine_builder import Builder
from camshaft.builder.halves import HalfPrecision, with_half_precision
from camshaft.builder.precision import Attempt, Decision
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.frontends.onnx import import_model
from camshaft.machine.backend import backend_of
from camshaft.passes.pipeline import optimize
from camshaft.session import BuildSession
from onnx_models import encoder_layer


def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((2, 24, 64)).astype(np.float32)}


def wide_feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((2, 24, 128)).astype(np.float32)}


def built(
    width: int = 64, tokens: int = 24, **options: Any
) -> tuple[BuildSession, camshaft.Engine]:
    options = {"threads": 1, "optimization_level": 1, **options}
    session = BuildSession(encoder_layer(tokens, width), BuildConfig.of(None, options))
    return session, session.run()


def step(engine: camshaft.Engine, op: str = "attention") -> dict[str, Any]:
    (found,) = (s for s in engine.inspect()["steps"] if s["op"] == op)
    return dict(found)


def test_bf16_where_the_target_multiplies_it() -> None:
    """Compiled for it; queries, keys, values and results are halves, with no step that casts them."""
    graph = optimize(import_model(encoder_layer()).graphs[0])
    builder = Builder(
        backend_of(AVX512_BF16), TimingCache(), level=1, threads=1, workspace_limit=1 << 30
    )
    plain = Decision(Attempt(graph, None, {}), builder.tune(graph), "fp32")
    made = with_half_precision(builder, plain, HalfPrecision(["bf16"], {}, ["bf16"]))
    (task,) = (t for t in made.tuned.tasks if t.op == "attention")
    assert task.precision == "bf16" and task.spec is not None
    operands = (*task.spec.inputs[:3], task.spec.outputs[0])
    assert [o.dtype.name for o in operands] == ["bf16"] * 4
    casts = [t for t in made.tuned.tasks if t.op in ("pointwise", "copy") and t.origin == task.origin]  # fmt: skip
    assert not casts
    assert made.attempt.reasons[task.origin[-1]] == "bf16: permitted"


def test_layers_are_what_they_must_be() -> None:
    """On any target; else attention is FP32 where nothing multiplies halves."""
    want = built()[1](feeds())["y"]
    engine = built(precision={"bf16"}, layer_precision={"softmax": "bf16"})[1]
    found = step(engine)
    assert (found["precision"], found["reason"].split(";")[0]) == ("bf16", "bf16: layer_precision")
    got = engine(feeds())["y"]
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 0 < error < 0.02
    with pytest.raises(ConfigError, match="products of f32 and of bf16 only"):
        built(precision={"fp16"}, layer_precision={"softmax": "fp16"})


def test_integers_where_int8_is_permitted() -> None:
    """Without calibration; not for few queries, and not where a layer must be FP32."""
    want = built(width=128)[1](wide_feeds())["y"]
    session, engine = built(precision={"int8"}, width=128)
    assert step(engine)["precision"] == "i8"
    assert session.reasons["softmax"].startswith("int8: permitted")
    got = engine(wide_feeds())["y"]
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 0 < error < 0.03
    session, engine = built(precision={"int8"}, width=128, tokens=8)
    assert step(engine)["precision"] == "f32"
    assert "few queries" in session.reasons["softmax"]
    engine = built(precision={"int8"}, layer_precision={"softmax": "fp32"}, width=128)[1]
    assert step(engine)["precision"] == "f32"


def test_integers_where_layers_must_be_int8() -> None:
    engine = built(precision={"int8"}, layer_precision={"softmax": "int8"})[1]
    found = step(engine)
    assert (found["precision"], found["reason"].split(",")[0]) == ("i8", "int8: layer_precision")
    want, got = built()[1](feeds())["y"], engine(feeds())["y"]
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 0 < error < 0.03
