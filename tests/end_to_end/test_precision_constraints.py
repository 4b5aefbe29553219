"""What is asked of single layers as an order, a wish or a hint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import camshaft
from camshaft.builder.engine_builder import Tuned
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.session import BuildSession
from cli_models import QUICK, call, residual_net
from onnx_models import encoder_layer, model_of

RNG = np.random.default_rng(0)
PHOTOS = [{"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(2)]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("constraints") / "net.onnx")


def built(
    model: Any, asked: dict[str, str], constraints: str, data: Any = None, **options: Any
) -> tuple[BuildSession, camshaft.Engine]:
    given = {
        "threads": 1,
        "optimization_level": 1,
        "layer_precision": asked,
        "precision_constraints": constraints,
        **options,
    }
    session = BuildSession(model, BuildConfig.of(None, given), data)
    return session, session.run()


def precisions(engine: camshaft.Engine) -> dict[str, str]:
    """Source layer -> precision of its step."""
    return {o: s["precision"] for s in engine.inspect()["steps"] for o in s["origin"]}


def test_there_are_three() -> None:
    with pytest.raises(
        ConfigError, match=r"precision_constraints is 'none'; there is obey, prefer, fastest"
    ):
        BuildConfig(precision_constraints="none")


UNABLE = [
    ("softmax", "int8", r"its op \(softmax\) has no INT8 form of its own"),
    ("gap", "bf16", r"its op \((pool|reduce)\) has no weights"),
    ("fc", "fp16", "its weights reach 1e\\+06, beyond the 65504 of FP16"),
]


@pytest.mark.parametrize(("layer", "asked", "why"), UNABLE, ids=lambda v: str(v)[:6])
def test_what_cannot_be_is_an_error_a_remark_or_nothing(
    net: Path, layer: str, asked: str, why: str
) -> None:
    model = onnx.load(net)
    model.graph.node.append(helper.make_node("Softmax", ["y"], ["p"], "softmax"))
    model.graph.output[0].name = "p"
    (fc,) = (t for t in model.graph.initializer if t.name == "w3")
    fc.CopyFrom(onnx.numpy_helper.from_array(np.full((10, 8), 1e6, np.float32), "w3"))
    data = PHOTOS if asked == "int8" else None
    options: dict[str, Any] = {"precision": {asked}, "data": data}
    wanted = {layer: asked, "conv2": asked}
    with pytest.raises(ConfigError, match=f"asks for {asked} in '{layer}', but {why}"):
        built(model, wanted, "obey", **options)
    session, engine = built(model, wanted, "prefer", **options)
    (remark,) = session.remarks
    assert remark.startswith(f"layer_precision prefers {asked} in {layer!r}, but its ")
    assert remark.endswith("; it is f32")
    assert session.reasons[layer].startswith(f"f32: layer_precision prefers {asked}, but its ")
    assert session.reasons["conv2"].partition(": ")[2] == "layer_precision"  # the other wish holds
    found = precisions(engine)
    half = {"int8": "u8", "bf16": "bf16", "fp16": "f16"}[asked]
    assert half in found["conv2"] and found[layer] == "f32"
    session, engine = built(model, wanted, "fastest", **options)
    assert session.remarks == () and half in precisions(engine)["conv2"]


def test_what_reads_bytes_is_int8(net: Path) -> None:
    with pytest.raises(ConfigError, match="asks for int8 in 'gap', but its op"):
        built(net, {"gap": "int8"}, "obey", PHOTOS, precision={"int8"})
    session, engine = built(net, {"gap": "int8"}, "prefer", PHOTOS, precision={"int8"})
    assert session.remarks == () and precisions(engine)["gap"] == "u8"


def test_the_remark_reaches_the_user(net: Path, tmp_path: Path) -> None:
    options = {"precision": {"bf16"}, "layer_precision": {"gap": "bf16"}, "optimization_level": 1}
    with pytest.warns(UserWarning, match="prefers bf16 in 'gap', but its op"):
        camshaft.build(net, precision_constraints="prefer", **options)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        camshaft.build(net, precision_constraints="fastest", **options)  # type: ignore[arg-type]
    typed = ("--bf16", "--layer-precisions", "gap:bf16", "--precision-constraints", "prefer")
    said = call("build", net, "-o", tmp_path / "e.engine", *typed, *QUICK)
    assert "warning: --layer-precisions prefers bf16 in 'gap'" in said.stderr


@pytest.mark.parametrize("constraints", ["obey", "prefer", "fastest"])
def test_names_and_permissions_are_no_matter_of_constraints(net: Path, constraints: str) -> None:
    for precision in ("int8", "bf16", "fp16"):
        with pytest.raises(
            ConfigError, match=f"asks for {precision} in 'fc', which is not permitted"
        ):
            built(net, {"fc": precision}, constraints)
    with pytest.raises(ConfigError, match="'cf', which no layer of the model is called"):
        built(net, {"cf": "fp32"}, constraints)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"conv1": "int8", "relu1": "fp32"}, {"conv1": "u8"}),
        ({"conv1": "bf16", "relu1": "fp16"}, {"conv1": "f32, weights bf16"}),
        ({"conv1": "fp16", "relu1": "int8"}, {"conv1": "f32, weights f16"}),
    ],
    ids=str,
)
def test_layers_that_became_one_kernel(
    net: Path, asked: dict[str, str], kept: dict[str, str]
) -> None:
    options = {"precision": set(asked.values()) - {"fp32"}}
    data = PHOTOS if "int8" in asked.values() else None
    with pytest.raises(ConfigError, match=r"one kernel with 'conv1', of which .*; ask for one"):
        built(net, asked, "obey", data, **options)
    session, engine = built(net, asked, "prefer", data, **options)
    assert len(session.remarks) == 1 and "in 'relu1', but it is one kernel" in session.remarks[0]
    found = precisions(engine)
    if found["conv1"] == "bf16":  # processors with products of BF16
        found["conv1"] = "f32, weights bf16"
    assert found.items() >= kept.items()


def test_attention_without_data_and_a_wish_beside_it() -> None:
    """A wish that only rows can fulfil is not given up for one that nothing can."""
    asked = {"softmax": "int8", "query.heads": "int8"}
    data = [{"x": RNG.standard_normal((2, 24, 64)).astype(np.float32)}]
    session, engine = built(encoder_layer(), asked, "prefer", data, precision={"int8"})
    assert len(session.remarks) == 1 and "prefers int8 in 'query.heads'" in session.remarks[0]
    assert precisions(engine)["softmax"] == "i8"
    session, _ = built(encoder_layer(), {"softmax": "fp16"}, "prefer", precision={"fp16"})
    assert "products of f32 and of bf16 only; it is f32" in session.remarks[0]


def mixed_net() -> onnx.ModelProto:
    """A convolution of few channels before larger products of rows."""
    rng = np.random.default_rng(1)
    constants = {
        "k": rng.standard_normal((2, 1, 3, 3)).astype(np.float32),
        "w": rng.standard_normal((256, 256)).astype(np.float32) / 16,
        "v": rng.standard_normal((256, 256)).astype(np.float32) / 16,
    }
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("MatMul", ["c", "w"], ["m"], "first"),
        helper.make_node("MatMul", ["m", "v"], ["y"], "second"),
    ]
    return model_of(nodes, {"x": np.zeros((1, 1, 32, 256), np.float32)}, ["y"], constants)


@pytest.mark.parametrize("constraints", ["obey", "prefer"])
def test_a_convolution_that_takes_ranges_beside_rows(constraints: str) -> None:
    data = [{"x": RNG.standard_normal((1, 1, 32, 256)).astype(np.float32)} for _ in range(2)]
    session, engine = built(mixed_net(), {"conv": "int8"}, constraints, data, precision={"int8"})
    assert session.remarks == () and precisions(engine)["conv"] == "u8"
    assert session.reasons["conv"] == "int8: layer_precision"
    if constraints == "prefer":  # without data rows are quantized as they run
        session, engine = built(mixed_net(), {"conv": "int8"}, constraints, precision={"int8"})
        assert "prefers int8 in 'conv', but only products of rows" in session.remarks[0]
        assert precisions(engine)["conv"] == "f32" and precisions(engine)["second"] == "u8"


@pytest.mark.parametrize("faster", ["f32", "bf16"])
def test_a_hint_leaves_the_choice_to_time(
    net: Path, faster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_us(tuned: Tuned) -> float:
        halves = sum("bf16" in t.precision for t in tuned.tasks)
        return 10.0 - halves if faster == "bf16" else 10.0 + halves

    monkeypatch.setattr(Tuned, "time_us", property(time_us))
    monkeypatch.setattr(Tuned, "time_by_origin", lambda self: {t.origin: 1.0 for t in self.tasks})
    asked = {"conv1": "bf16", "conv2": "fp32"}
    options: dict[str, Any] = {"precision": {"bf16"}, "optimization_level": 2}
    session, engine = built(net, asked, "fastest", **options)
    found = precisions(engine)
    assert ("bf16" in found["conv1"], "bf16" in found["conv2"]) == (faster == "bf16",) * 2
    assert not session.remarks
    for constraints in ("obey", "prefer"):
        found = precisions(built(net, asked, constraints, **options)[1])
        assert "bf16" in found["conv1"] and found["conv2"] == "f32"
