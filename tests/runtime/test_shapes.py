"""Engines of open extents seen from outside: sizes, shapes of outputs, what is refused and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft import BindingError, Engine, ShapeError
from camshaft.ir.extents.symbol import Symbol
from camshaft.runtime.profile import describe

RNG = np.random.default_rng(0)
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}


def model(nodes: Sequence[Any], inputs: Mapping[str, Sequence[Any]], **weights: Any) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def linear(batch: Any = "batch") -> ModelProto:
    """y = relu(x w): x [batch, 64], y [batch, 8]."""
    w = RNG.standard_normal((64, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "project"),
        helper.make_node("Relu", ["p"], ["y"], "relu"),
    ]
    return model(nodes, {"x": (batch, 64)}, w=w)


def joined() -> ModelProto:
    """y = concat(a, b) along axis 1: y [n, k + m]."""
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], "join", axis=1)]
    return model(nodes, {"a": ("n", "k"), "b": ("n", "m")})


def reshaped() -> ModelProto:
    """y = x as pairs: x [n], y [n / 2, 2], so that n must be even."""
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"], "pairs")]
    return model(nodes, {"x": ("n",)}, to=np.array([-1, 2], np.int64))


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return camshaft.build(linear(), shapes={"x": ("batch=1..4..16", 64)}, **QUICK)


def test_types_and_sizes_are_shown(engine: Engine, tmp_path: Path) -> None:
    engine.save(tmp_path / "e.engine")
    for each in (engine, camshaft.load(tmp_path / "e.engine")):
        assert repr(each.inputs["x"]) == "f32[batch,64]"
        assert repr(each.outputs["y"]) == "f32[batch,8]"
        assert each.symbols == {"batch": Symbol("batch", 1, 4, 16)}
    assert "shapes=x:batch=1..4..16x64" in engine.fingerprint.config
    fixed = camshaft.build(linear(), shapes={"x": (2, 64)}, **QUICK)
    assert fixed.symbols == {} and "shapes=x:2x64" in fixed.fingerprint.config


def test_inspect_reports_sizes_and_memory_at_them(engine: Engine) -> None:
    report = engine.inspect()
    assert report["symbols"] == [{"name": "batch", "least": 1, "typical": 4, "most": 16}]
    assert report["inputs"] == {"x": "f32[batch,64]"}
    assert report["arena"]["typical"] == report["arena_bytes"]
    types = [o["type"] for s in report["steps"] for o in s["operands"]]
    assert any("batch,64]" in t for t in types) and all(isinstance(t, str) for t in types)
    opened = camshaft.build(joined(), **QUICK).inspect()
    assert [s["most"] for s in opened["symbols"]] == [None] * 3


def test_the_arena_grows_with_the_sizes_as_reported() -> None:
    w = np.eye(64, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Softmax", ["a"], ["s"], "middle"),
        helper.make_node("MatMul", ["s", "w"], ["y"], "last"),
    ]
    chain = camshaft.build(
        model(nodes, {"x": ("n", 64)}, w=w), shapes={"x": ("1..8..64", 64)}, **QUICK
    )
    arena = describe(chain.manifest)["arena"]
    assert arena["least"] < arena["typical"] < arena["most"]
    assert arena["most"] >= 64 * 64 * 4
    unbounded = camshaft.build(model(nodes, {"x": ("n", 64)}, w=w), **QUICK).inspect()["arena"]
    assert unbounded["most"] is None and unbounded["least"] <= unbounded["typical"]


def test_output_shapes_need_no_run(engine: Engine) -> None:
    for given in ((3, 64), [3, 64], array(3, 64)):
        assert engine.output_shapes({"x": given}) == {"y": (3, 8)}
        assert engine.create_context().output_shapes({"x": given}) == {"y": (3, 8)}
    both = camshaft.build(joined(), **QUICK)
    assert both.output_shapes({"a": (2, 3), "b": array(2, 5)}) == {"y": (2, 8)}
    fixed = camshaft.build(linear(2), **QUICK)
    assert fixed.output_shapes({"x": (2, 64)}) == {"y": (2, 8)}
    with pytest.raises(ShapeError, match=r"shape \(3, 64\), expected f32\[2,64\]"):
        fixed.output_shapes({"x": (3, 64)})
    with pytest.raises(BindingError, match="unknown input 'z'"):
        fixed.output_shapes({"z": (3, 64)})
    wrong: Any
    for wrong in (
        (3, "64"), (3, -64), (3.0, 64), (True, 64), (np.True_, 64), ((3, 64),), (2**63, 0),
        (10**5000, 1), "ab", None, {}, {"x": 3},
    ):  # fmt: skip
        for each in (engine, fixed):
            with pytest.raises(BindingError, match="neither an array nor a shape"):
                each.output_shapes({"x": wrong})


def test_shapes_of_outputs_that_no_memory_holds_are_refused_as_a_call_would() -> None:
    both = camshaft.build(joined(), **QUICK)
    for n, k, m in ((2**50, 1, 1), (2**23, 2**23, 2**23), (2**62, 2**62, 2**62)):
        with pytest.raises(ShapeError, match=r"would have \d+ bytes"):
            both.output_shapes({"a": (n, k), "b": (n, m)})
    assert both.output_shapes({"a": (2**30, 2), "b": (2**30, 1)}) == {"y": (2**30, 3)}


def test_run_into_checks_outputs_at_the_sizes_of_the_call(engine: Engine) -> None:
    context = engine.create_context()
    x, y = array(3, 64), np.empty((3, 8), np.float32)
    context.run_into({"x": x}, {"y": y})
    np.testing.assert_array_equal(y, engine(x)["y"])
    for rows in (2, 4):
        with pytest.raises(
            ShapeError, match=rf"output 'y' has shape \({rows}, 8\), expected \(3, 8\).*batch,8"
        ):
            context.run_into({"x": x}, {"y": np.empty((rows, 8), np.float32)})
    with pytest.raises(ShapeError, match=r"output 'y' .* expected \(2, 8\)"):
        context.run_into({"x": array(2, 64)}, {"y": y})  # fits the call before
    context.run_into({"x": x}, {"y": y})


def test_sizes_outside_the_range_name_tensor_axis_value_and_range(engine: Engine) -> None:
    for rows in (0, 17):
        words = rf"input 'x', axis 0 is {rows}, and the engine was built for batch = 1\.\.16"
        with pytest.raises(ShapeError, match=words):
            engine(array(rows, 64))
    with pytest.raises(ShapeError, match=r"shape \(3, 65\), expected f32\[batch,64\].*\(3, 64\)"):
        engine(array(3, 65))
    with pytest.raises(ShapeError, match="its rank is 2"):
        engine(array(64))
    with pytest.raises(BindingError, match="dtype"):
        engine(np.zeros((3, 64)))
    assert engine(array(3, 64))["y"].shape == (3, 8), "the engine must still work"


def test_one_name_is_one_size() -> None:
    both = camshaft.build(joined(), **QUICK)
    with pytest.raises(ShapeError, match="input 'b', axis 0 is 3, and input 'a', axis 0 is 2"):
        both({"a": array(2, 3), "b": array(3, 3)})


def test_what_the_model_cannot_take_names_the_node() -> None:
    engine = camshaft.build(reshaped(), **QUICK)
    assert engine(array(6))["y"].shape == (3, 2)
    with pytest.raises(
        ShapeError, match=r"node 'pairs' needs .* which n=5 breaks; the next that fit: 4 and 6$"
    ):
        engine(array(5))
    assert engine(array(4))["y"].shape == (2, 2)


def test_profiles_are_kept_and_span_a_range() -> None:
    profiles = [{"x": ((1, 64), (2, 64), (4, 64))}, {"x": ((8, 64), (16, 64), (32, 64))}]
    engine = camshaft.build(linear(), profiles=profiles, **QUICK)
    assert engine.symbols == {"batch": Symbol("batch", 1, 2, 32)}
    assert "profiles=x:1..2..4x64;x:8..16..32x64" in engine.fingerprint.config


def scaled() -> ModelProto:
    """y = x s: x [n, k], s a scalar."""
    return model([helper.make_node("Mul", ["x", "s"], ["y"])], {"x": ("n", "k"), "s": ()})


@pytest.mark.parametrize("ran_before", [False, True])
def test_what_is_no_array_is_named_in_the_first_call_as_in_later_ones(ran_before: bool) -> None:
    engine = camshaft.build(scaled(), **QUICK)
    good: dict[str, Any] = {"x": array(2, 3), "s": 1.0}
    wrong: tuple[Any, ...]
    for name, wrong in (
        ("x", ([[1, 2]], None, np.float32(3), "a", 2.0)),
        ("s", ([1], "a", None, 1j, True, 10**400, -(10**5000), 1e300)),
    ):
        for value in wrong:
            context = engine.create_context()
            if ran_before:
                context.run(good)
            for _ in range(2):
                with pytest.raises(BindingError, match=f"input '{name}' is "):
                    context.run({**good, name: value})
                with pytest.raises(BindingError, match=f"input '{name}' is "):
                    context.run_into({**good, name: value}, {"y": array(2, 3)})
            np.testing.assert_array_equal(context.run(good)["y"], good["x"])
    with np.errstate(all="ignore"):
        for number in (float("inf"), -float("inf"), float("nan"), 3.4028235e38, 2**127):
            got = engine({**good, "s": number})["y"]
            np.testing.assert_array_equal(got, good["x"] * np.float32(number))


def test_the_most_sizes_need_not_fit_any_memory() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn"),
        helper.make_node("MatMul", ["x", "t"], ["y"], "square"),
    ]
    proto = model(nodes, {"x": ("n", 3)})
    engine = camshaft.build(proto, shapes={"x": ("1..1000000000000", 3)}, **QUICK)
    x = array(5, 3)
    np.testing.assert_allclose(engine(x)["y"], x @ x.T, rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="bytes"):
        engine.output_shapes({"x": (10**12, 3)})
