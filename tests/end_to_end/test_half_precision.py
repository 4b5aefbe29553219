"""Half precision as a permission: what a build makes of it, and how far results are off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

import camshaft
import camshaft.machine.backend as backend_module
from camshaft.backends.cpu.conv.direct import ConvDirect
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.builder.engine_builder import Tuned
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.types import DType, f16, f32
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
    with pytest.raises(ConfigError, match="which is not permitted: add precision="):
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
    assert precisions in (["u8", "f32, weights bf16"], ["u8", "bf16"])  # with products of BF16


class TestFp16Activations:
    """A target with arithmetic on f16: this machine's, whose multiply-adds of f16 are those of f32, rounded."""

    MODEL = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[128,96] x) => (float[128,80] y)'
        "{ h = MatMul (x, w1) a = Relu (h) y = MatMul (a, w2) }"
    )

    @pytest.fixture(autouse=True)
    def arithmetic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fma, real = FunctionBuilder.fma, backend_module.host_target

        def widening(k: FunctionBuilder, a: Value, b: Value, c: Value) -> Value:
            if c.dtype != f16:
                return fma(k, a, b, c)
            return k.cast(fma(k, *(k.cast(x, f32) for x in (a, b, c))), f16)

        monkeypatch.setattr(FunctionBuilder, "fma", widening)
        monkeypatch.setattr(backend_module, "host_target", lambda: replace(real(), has_fp16=True))

    def model(self, scale: float) -> onnx.ModelProto:
        rng = np.random.default_rng(0)
        model = onnx.ModelProto()
        model.CopyFrom(self.MODEL)
        w1 = scale * rng.standard_normal((96, 128)).astype(np.float32)
        w2 = rng.standard_normal((128, 80)).astype(np.float32) / 100
        for name, w in (("w1", w1), ("w2", w2)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(w, name))
        return model

    @pytest.mark.parametrize("sums", [f16, f32], ids=lambda t: f"sums of {t}")
    @pytest.mark.parametrize("scale", [0.1, 1000.0])
    @pytest.mark.parametrize("calibrated", [True, False])
    def test_only_what_fits(
        self, scale: float, calibrated: bool, sums: DType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if sums == f16:  # the one candidate that is left, if x is f16
            plan = ConvDirect.plan
            monkeypatch.setattr(
                ConvDirect,
                "plan",
                lambda self, spec, *to: (
                    () if spec.inputs[0].dtype == f16 else plan(self, spec, *to)
                ),
            )
        x = np.random.default_rng(1).standard_normal((128, 96)).astype(np.float32)
        model = self.model(scale)
        config = BuildConfig.of(
            None, {"precision": {"fp16"}, "optimization_level": 1, "threads": 1}
        )
        engine = BuildSession(model, config, [{"x": x}] if calibrated else None).run()
        precisions = [
            s["precision"] for s in engine.inspect()["steps"] if s["op"] in ("conv", "matmul")
        ]
        narrow = calibrated and scale < 1
        assert precisions == (["f16", "f16"] if narrow else ["f32, weights f16"] * 2)
        tactics = [s["tactic"] for s in engine.inspect()["steps"] if s["op"] == "conv"]
        assert tactics == ["matmul_blocked" if narrow and sums == f16 else "conv_direct"] * 2
        (want,) = camshaft.build(model, optimization_level=1)({"x": x}).values()
        (got,) = engine({"x": x}).values()
        assert np.abs(got - want).max() < (1e-2 if narrow else 2e-3) * np.abs(want).max()
