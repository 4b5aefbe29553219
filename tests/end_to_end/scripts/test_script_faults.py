"""Scripts that make no sense are refused when they are built, and what a call brings is told of in the
model's own terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

import camshaft
from camshaft import BindingError, ModelError, ShapeError
from script_models import QUICK, check, text_model

RNG = np.random.default_rng(5)
NEG = "a () => (float[n] p) { p = Neg (x) }"
ABS = "b () => (float[n] q) { q = Abs (x) }"


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def branching(node: str, inputs: str = "float[n] x, bool c", then: str = NEG) -> ModelProto:
    return text_model(
        f"({inputs}) => (float[n] y) {{ {node} < then_branch = {then}, else_branch = {ABS} > }}"
    )


def looping(node: str, inputs: str, body: str = "k2 = Identity (k) b = Neg (a)") -> ModelProto:
    return text_model(
        f"""({inputs}) => (float[n] y) {{ {node} <
            body = g (int64 i, bool k, float[n] a) => (bool k2, float[n] b) {{ {body} }} > }}"""
    )


def scanning(attributes: str, x: str = "float[n] x") -> ModelProto:
    body = "body = g (float a) => (float b) { b = Neg (a) }"
    return text_model(
        f"({x}) => (float[n] y) {{ y = Scan < num_scan_inputs = 1, {attributes} {body} > (x) }}"
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (branching("y, z = If (c)"), "names 2 results, and each of its branches gives 1"),
        (branching("y = If (c)", then=NEG.replace("()", "(float[n] w)")), r"inputs \['w'\]"),
        (
            branching(
                "y = If (c)", then="a () => (float[n] p, float[n] r) { p = Neg (x) r = Abs (x) }"
            ),
            "give 2 and 1 results",
        ),
        (branching("y = If (x)", "float[n] x"), r"condition 'x' is f32\[n\], not one bool"),
        (branching("y = If (c)", "float[n] x, bool[2] c"), "not one bool"),
        (looping("y = Loop (m, , x)", "float[n] x, float m"), "trip count 'm' is f32"),
        (looping("y = Loop (, m, x)", "float[n] x, int64 m"), "condition 'm' is i64"),
        (looping("y, z = Loop (m, , x)", "float[n] x, int64 m"), "names 2 results"),
        (scanning("scan_input_directions = [7],"), r"scan_input_directions=\[7\]"),
        (scanning("scan_output_directions = [-1],"), r"scan_output_directions=\[-1\]"),
        (scanning("", "float x"), "no axis to scan along"),
    ],
)
def test_forms_that_no_runtime_takes(model: ModelProto, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        camshaft.build(model, **QUICK)
    assert "node 'y'" in str(caught.value)


DEAD = text_model(
    """(float[n] x, float least) => (float y) {
        first = Constant <value = int64 {0}> ()
        sum = ReduceSum <keepdims = 0> (x)
        flag = Greater (sum, least)
        z = If (flag) <
            then_branch = a () => (float p) { p = ReduceSum <keepdims = 0> (x) },
            else_branch = b () => (float[n] q) { q = Neg (x) }
        >
        shape = Shape (z)
        count = Gather (shape, first)
        y = Cast <to = 1> (count)
    }"""
)


def test_a_branch_behind_which_nothing_fits_fails_only_if_it_is_taken(tmp_path: Any) -> None:
    with pytest.warns(UserWarning, match=r"node 'z' \(If\) fails if its then_branch is taken"):
        engine = camshaft.build(DEAD, **QUICK)
    calls = [{"x": f(n), "least": np.array(1e9, np.float32)} for n in (3, 1)]
    with pytest.warns(UserWarning):
        check(DEAD, calls, tmp_path)
    with pytest.raises(ModelError, match=r"node 'count' \(Gather\): index 0"):
        engine({"x": f(3), "least": np.array(-1e9, np.float32)})


def test_sizes_that_a_node_finds_are_told_of_as_its_result() -> None:
    model = text_model(
        """(float[n] x) => (float[k] y, int64[k] at) {
            zero = Constant <value = float {0.0}> ()
            axis = Constant <value = int64[1] {0}> ()
            three = Constant <value = int64[1] {3}> ()
            positive = Greater (x, zero)
            where = NonZero (positive)
            places = Squeeze (where, axis)
            found = Gather (x, places)
            y, at = TopK (found, three)
        }"""
    )
    engine = camshaft.build(model, **QUICK)
    assert engine({"x": np.abs(f(4))})["y"].shape == (3,)
    with pytest.raises(
        ShapeError, match=r"the result of node 'where' \(NonZero\), axis 1 is 2"
    ) as e:
        engine({"x": np.array([1, -1, 2], np.float32)})
    assert "rebuild" not in str(e.value)


ENDS = text_model(
    """(float[n] x, seq(float[n]) many, optional(float[n]) maybe, string[2] words)
        => (float[n] y, float[n] same, int64 count, float[n] got, string[2] out) {
        y = Exp (x)
        same = Identity (y)
        count = SequenceLength (many)
        got = OptionalGetElement (maybe)
        out = Identity (words)
    }""",
    opset=18,
)


def test_inputs_that_are_no_tensors_are_checked() -> None:
    engine = camshaft.build(ENDS, **QUICK)
    given = {
        "x": f(3),
        "many": [f(2)],
        "maybe": f(4),
        "words": np.array(["a", "b"], object),
    }
    assert engine(given)["got"].shape == (4,)
    with pytest.raises(BindingError, match=r"unknown input 'z', missing input 'many'.*'?words"):
        engine({k: v for k, v in given.items() if k != "many"} | {"z": f(1)})
    with pytest.raises(
        ShapeError, match=r"input 'maybe' has shape \(2, 2\), expected optional f32\[\?\]"
    ):
        engine({**given, "maybe": f(2, 2)})
    with pytest.raises(BindingError, match=r"input 'maybe'.*holds a list"):
        engine({**given, "maybe": [f(2)]})
    with pytest.raises(ShapeError, match=r"input 'words' has shape \(3,\), expected strings\[2\]"):
        engine({**given, "words": np.array(["a", "b", "c"], object)})
    with pytest.raises(BindingError, match="give a list"):
        engine({**given, "many": f(2)})


def test_outputs_share_no_memory() -> None:
    found = camshaft.build(ENDS, **QUICK)(
        {"x": f(3), "many": [], "maybe": f(1), "words": np.array(["", ""], object)}
    )
    assert not np.shares_memory(found["y"], found["same"])


def test_what_a_step_reads_is_listed() -> None:
    model = text_model(
        """(float[n] x, float[m,n] rows, int64 times) => (float[n] y, float[n] z) {
            y = Loop (times, , x) <
                body = g (int64 i, bool k, float[n] a) => (bool k2, float[n] b) {
                    k2 = Identity (k) b = Neg (a) } >
            z = Scan <num_scan_inputs = 1,
                body = h (float[n] s, float[n] row) => (float[n] t) { t = Add (s, row) } > (x, rows)
        }"""
    )
    lines = camshaft.build(model, **QUICK).inspect()["script"]
    assert any("y = Loop(times, -, x)" in line for line in lines)
    assert any("z = Scan(x, rows)" in line for line in lines)


def test_calls_of_changing_shapes_and_faults_between_them() -> None:
    """What is kept from call to call serves calls of the same shapes only."""
    model = text_model(
        """(float[n,m] x, float[n] w) => (float[k] y, float[n,m] z) {
            axis = Constant <value = int64[1] {1}> ()
            column = Unsqueeze (w, axis)
            z = Mul (x, column)
            flat = Constant <value = int64[1] {-1}> ()
            long = Reshape (z, flat)
            zero = Constant <value = float {0.0}> ()
            on = Greater (long, zero)
            y = Compress (long, on)
        }"""
    )
    engine = camshaft.build(model, **QUICK)
    context = engine.create_context()
    for n, m in ((2, 3), (2, 3), (4, 1), (2, 3), (1, 5), (2, 3)):
        x, w = f(n, m), f(n)
        found = context.run({"x": x, "w": w})
        np.testing.assert_allclose(found["z"], x * w[:, None], rtol=1e-6)
        flat = (x * w[:, None]).reshape(-1)
        np.testing.assert_allclose(found["y"], flat[flat > 0], rtol=1e-6)
        for wrong in (
            {"x": x, "w": f(n + 1)},
            {"x": x.astype(np.float64), "w": w},
            {"x": x, "v": w},
            {"x": x},
            {"x": x, "w": w.tolist()},
        ):
            with pytest.raises(BindingError):
                context.run(wrong)
    turned, w = np.asfortranarray(f(2, 3)), np.broadcast_to(np.float32(2), 2)
    np.testing.assert_array_equal(context.run({"x": turned, "w": w})["z"], turned * 2)


def test_an_operator_that_nobody_defines_is_told_of_whatever_it_reads() -> None:
    model = text_model("(string[n] x) => (string[n] y) { y = Frobnicate (x) }")
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(
        ModelError, match=r"node 'y' .*'Frobnicate' of domain 'com.microsoft'.* is unknown"
    ):
        camshaft.build(model, **QUICK)


def test_a_trip_count_of_open_extent_is_one() -> None:
    engine = camshaft.build(looping("y = Loop (m, , x)", "float[n] x, int64[k] m"), **QUICK)
    assert [str(d) for d in engine.inputs["m"].shape] == ["1"]


def test_an_input_that_may_be_empty_is_hinted_at() -> None:
    engine = camshaft.build(
        text_model("(float[n] x) => (int64[1,k] y) { y = NonZero (x) }"), **QUICK
    )
    with pytest.raises(ShapeError, match=r'"0\.\." where it may be empty'):
        engine({"x": f(0)})
