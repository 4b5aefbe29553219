"""Bisection: each layer judged on what the engine gave it, and layers tried in FP32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from camshaft.compare.bisection import Bisection, bisect
from camshaft.compare.cuts import cut_at
from camshaft.compare.in_float import suspects
from camshaft.compare.others import run_other
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.frontends.onnx.handlers.elementwise import _FUNCTIONS
from camshaft.frontends.onnx.model import load_model
from camshaft.session import BuildSession
from cli_models import call_json, complaint, residual_net, save

pytestmark = pytest.mark.codegen
X = {"x": np.random.default_rng(7).standard_normal((1, 3, 8, 8), np.float32)}
QUICK = ("--level", 1, "--threads", 1, "--with", "reference")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("bisect") / "net.onnx")


def gates(path: Path, seed: int) -> Path:
    """Sigmoid, convolution, Softplus, two convolutions: x [1, 3, 8, 8] -> y."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s1"], "gate1"),
        helper.make_node("Conv", ["s1", "w1"], ["c1"], "conv1", pads=[1] * 4),
        helper.make_node("Softplus", ["c1"], ["s2"], "gate2"),
        helper.make_node("Conv", ["s2", "w2"], ["c2"], "conv2", pads=[1] * 4),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], "conv3", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c3"], ["y"], "gap"),
    ]
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape, np.float32) / 5, name)
        for name, shape in (("w1", (8, 3, 3, 3)), ("w2", (8, 8, 3, 3)), ("w3", (8, 8, 3, 3)))
    ]
    return save(path, nodes, {"x": (1, 3, 8, 8)}, {"y": (1, 8, 1, 1)}, weights)


def bisected(model: Path, **options: object) -> tuple[BuildSession, Bisection]:
    config = BuildConfig.of(None, {"optimization_level": 1, "threads": 1, **options})
    session = BuildSession(model, config, [X] if "int8" in config.precision else None)
    return session, bisect(model, session.run(), session, X, "reference")


# -- cuts ----------------------------------------------------------------------------------------


def test_readers_of_a_cut_tensor_read_what_is_given(model: Path) -> None:
    given = np.full((1, 8, 8, 8), 2, np.float32)
    cut, inputs = cut_at(load_model(model), {"r1": given})
    onnx.checker.check_model(cut)
    found = run_other("reference", cut, {**X, inputs["r1"]: given}, ["r1", "c2", "a"])
    whole = run_other("reference", load_model(model), X, ["r1"])
    np.testing.assert_array_equal(found["r1"], whole["r1"])  # still computed
    np.testing.assert_allclose(found["a"], found["c2"] + 2, rtol=1e-6)


def test_subgraphs_read_what_is_given_too() -> None:
    inner = helper.make_graph(
        [helper.make_node("Neg", ["t"], ["n"])],
        "then",
        [],
        [helper.make_empty_tensor_value_info("n")],
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["t"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
    ]
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])]
    infos += [helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", infos, ends),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    given = np.array([5, 6], np.float32)
    cut, inputs = cut_at(proto, {"t": given})
    feeds = {"x": np.zeros(2, np.float32), "c": np.array(True), inputs["t"]: given}
    np.testing.assert_array_equal(run_other("onnxruntime", cut, feeds, ["y"])["y"], -given)


# -- where ---------------------------------------------------------------------------------------


def test_right_engines_have_no_layer_that_departs(model: Path) -> None:
    for options in ({}, {"precision": {"int8"}, "noise_reduction": False}, {"precision": {"bf16"}}):
        _, found = bisected(model, **options)
        names = [s.own.name for s in found.steps]
        if (
            "g" not in names
        ):  # processors with BF16 products: the last one reads g as halves that no one else sees
            assert options == {"precision": {"bf16"}} and found.steps[-1].layers[0] == "gap"
            names.insert(2, "g")
        assert names == ["r1", "r2", "g", "y"]
        assert found.first is None and found.worst is not None and not found.hidden
    assert found.steps[1].layers == ("conv2", "add", "relu2")
    precisions = {s.own.name: s.precision for s in found.steps}
    assert precisions in (
        {"r1": "bf16", "r2": "bf16", "g": "fp32", "y": "bf16"},
        {"r1": "bf16", "r2": "bf16", "y": "bf16"},
    )


@pytest.mark.parametrize("seed", range(4))  # extents are equal: axes are found in each
@pytest.mark.parametrize(("wrong", "layer"), [("Sigmoid", "gate1"), ("Softplus", "gate2")])
def test_the_wrong_layer_is_the_first_to_depart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, layer: str, seed: int
) -> None:
    monkeypatch.setitem(_FUNCTIONS, wrong, _FUNCTIONS["Tanh"])
    _, found = bisected(gates(tmp_path / "net.onnx", seed))
    departing = [s for s in found.steps if s.departs]
    assert len(departing) == 1 and departing[0] is found.first
    assert layer in departing[0].layers, [(s.own.name, s.layers) for s in found.steps]
    behind = found.steps[departing[0].own.order :]
    assert all(s.whole.relative > 0.01 for s in behind)
    assert all(s.own.relative < 1e-5 for s in found.steps if s is not departing[0])


def test_what_rounds_to_few_levels_may_be_off_by_one(tmp_path: Path) -> None:
    scale, zero = np.array(0.1, np.float32), np.array(0, np.int8)
    nodes = [
        helper.make_node("Exp", ["x"], ["e"], "exp"),
        helper.make_node("QuantizeLinear", ["e", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantize"),
        helper.make_node("GlobalAveragePool", ["d"], ["g"], "gap"),
        helper.make_node("Softmax", ["g"], ["y"], "softmax", axis=1),
    ]
    weights = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(zero, "zero")]
    path = save(tmp_path / "q.onnx", nodes, {"x": (1, 3, 8, 8)}, {"y": (1, 3, 1, 1)}, weights)
    _, found = bisected(path)
    said = {s.own.name: s.precision for s in found.steps if "quantize" in s.layers}
    assert said and set(said.values()) == {"int8"}
    assert {s.precision for s in found.steps if "quantize" not in s.layers} == {"fp32"}


def test_an_engine_that_differs_from_its_kernels_is_told(model: Path) -> None:
    session = BuildSession(model, BuildConfig(optimization_level=1, threads=1))
    engine = session.run()
    assert session.final is not None
    conv = next(n for n in session.final.nodes if "conv2" in n.origin)
    wrong = replace(conv, inputs=(conv.inputs[0], conv.inputs[1], conv.inputs[0]))
    broken = replace(wrong.inputs[1], stored=wrong.args[1].array * 2)
    wrong = replace(wrong, inputs=(wrong.inputs[0], broken, wrong.inputs[2]))
    nodes = tuple(wrong if n is conv else n for n in session.final.nodes)
    session.final = replace(session.final, nodes=nodes)
    found = bisect(model, engine, session, X, "reference")
    assert found.hidden == ("y",) and found.first is not None
    assert found.first.own.name == "r2"


def test_scripts_are_refused(model: Path, tmp_path: Path) -> None:
    session = BuildSession(model, BuildConfig(optimization_level=1, threads=1))
    engine = session.run()
    session.final_graphs = (*session.final_graphs, *session.final_graphs)
    with pytest.raises(ConfigError, match="one graph"):
        bisect(model, engine, session, X, "reference")


# -- in float ------------------------------------------------------------------------------------


def test_those_that_read_a_badly_rounded_tensor_are_suspected(model: Path) -> None:
    session, found = bisected(
        model, precision={"int8"}, noise_reduction=False, dynamic_ranges={"r1": 0.01}
    )
    assert found.first is not None and found.first.own.name == "r1"  # what it holds is clipped
    notes = session.run().notes
    groups = suspects(found, notes, session.reasons, 12)
    assert set(groups[:2]) == {("conv1", "relu1"), ("conv2", "add", "relu2")}
    assert suspects(found, notes, session.reasons, 1) == groups[:1]
    assert suspects(found, notes, dict.fromkeys(session.reasons, "fp32: asked"), 12) == []


def test_the_layer_that_helps_most_is_found(model: Path, tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text('{"r1": 0.01}')
    np.savez(tmp_path / "data.npz", **X)
    command = ("compare", model, "--bisect", "--int8", "--no-noise-reduction", *QUICK)
    command = (*command, "--calibration", tmp_path / "data.npz", "--tolerance", 100)
    data = call_json(*command, "--dynamic-ranges", tmp_path / "ranges.json")["bisection"]
    assert data["first"] == "r1"
    best, *others = data["in_float"]["layers"]
    assert best["layers"] == ["conv2", "add", "relu2"] and len(others) == 2
    (before,), (after,) = data["in_float"]["without"]["outputs"], best["outputs"]
    assert after["relative"] < before["relative"] / 10
    assert all(t["outputs"][0]["relative"] > after["relative"] for t in others)


def test_what_is_shown(model: Path) -> None:
    data = call_json("compare", model, "--bisect", *QUICK)
    assert data["passed"] and data["bisection"]["first"] is None
    assert data["bisection"]["in_float"] is None  # nothing is rounded
    data = call_json("compare", model, "--bisect", "--bf16", "--candidates", 1, *QUICK)
    assert len(data["bisection"]["in_float"]["layers"]) == 1
    engine = model.with_suffix(".engine")
    engine.write_bytes(b"")
    assert "--bisect" in complaint("compare", model, "--bisect", "--engine", engine, code=2)
