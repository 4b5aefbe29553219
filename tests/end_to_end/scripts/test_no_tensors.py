"""Sequences, optionals and strings: at the ends, computed, and carried by loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, TypeProto, helper

import camshaft
from camshaft import BindingError, ModelError
from script_models import QUICK, check, same, text_model

RNG = np.random.default_rng(5)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def words(*texts: str) -> np.ndarray:
    return np.array(texts, object)


def test_sequences_at_the_ends(tmp_path: Path) -> None:
    model = text_model(
        """(seq(float[n]) xs, float[n] x) => (seq(float[n]) ys, float[k] y, int64 count) {
            e = Exp (x)
            ys = SequenceInsert (xs, e)
            y = ConcatFromSequence <axis = 0> (ys)
            count = SequenceLength (xs)
        }"""
    )
    calls = [{"xs": [f(n) for n in sizes], "x": f(3)} for sizes in ((2, 3), (1,), (4, 1, 2))]
    engine = check(model, calls, tmp_path)
    same(engine({"xs": [], "x": np.zeros(2, np.float32)})["y"], np.ones(2, np.float32))
    for wrong in (f(3), 3, "ab", [f(2), "x"], [np.zeros(2)]):
        with pytest.raises(BindingError, match="'xs'"):
            engine({"xs": wrong, "x": f(3)})


def test_a_loop_carries_a_sequence(tmp_path: Path) -> None:
    model = text_model(
        """(float[n] x, int64 trips) => (float[k] y, int64 count) {
            none = SequenceEmpty <dtype = 1> ()
            parts = Loop (trips, , none) <
                body = step (int64 i, bool go, seq(float[n]) s) => (bool on, seq(float[n]) t) {
                    on = Identity (go)
                    number = Cast <to = 1> (i)
                    part = Add (x, number)
                    t = SequenceInsert (s, part)
                }
            >
            more = SequenceInsert (parts, x)
            y = ConcatFromSequence <axis = 0> (more)
            count = SequenceLength (parts)
        }"""
    )
    check(model, [{"x": f(n), "trips": np.array(t)} for n, t in ((2, 3), (1, 0), (3, 1))], tmp_path)


def test_elements_of_a_split(tmp_path: Path) -> None:
    model = text_model(
        """(float[n,3] x, int64 at) => (float[a,3] y, float[b] z) {
            parts = SplitToSequence <axis = 0> (x)
            y = SequenceAt (parts, at)
            rest = SequenceErase (parts, at)
            whole = ConcatFromSequence <axis = 0> (rest)
            z = ReduceSum <axes = [1], keepdims = 0> (whole)
        }""",
        opset=12,
    )
    check(model, [{"x": f(n, 3), "at": np.array(at)} for n, at in ((4, 2), (2, -1))], tmp_path)


def test_sequence_map() -> None:
    model = text_model(
        """(seq(float[n]) xs, float[1] w) => (float[k] y) {
            ys = SequenceMap (xs, w) <
                body = each (float[n] a, float[1] b) => (float[n] c) { d = Mul (a, b) c = Exp (d) }
            >
            y = ConcatFromSequence <axis = 0> (ys)
        }"""
    )
    check(model, [{"xs": [f(n) for n in sizes], "w": f(1)} for sizes in ((2, 3), (1,))])


def optional_model() -> Any:
    """y = exp of x if there is one, else of its stand-in."""
    branches = []
    for name, nodes in (
        ("then", [helper.make_node("OptionalGetElement", ["x"], ["p"])]),
        ("else", [helper.make_node("Identity", ["other"], ["q"])]),
    ):
        out = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n"])
        branches.append(helper.make_graph(nodes, name, [], [out]))
    nodes = [
        helper.make_node("OptionalHasElement", ["x"], ["has"]),
        helper.make_node("If", ["has"], ["v"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Exp", ["v"], ["y"]),
    ]
    optional = TypeProto()
    optional.optional_type.elem_type.CopyFrom(
        helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])
    )
    inputs = [
        helper.make_value_info("x", optional),
        helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n"]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"]),
        helper.make_tensor_value_info("has", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "optional", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_optionals_at_the_ends(tmp_path: Path) -> None:
    engine = camshaft.build(optional_model(), **QUICK)
    engine.save(tmp_path / "e.engine")
    x, other = f(3), f(2)
    for each in (engine, camshaft.load(tmp_path / "e.engine")):
        for given, want in (({"x": x}, x), ({"x": None}, other), ({}, other)):
            got = each({**given, "other": other})
            np.testing.assert_allclose(got["y"], np.exp(want), rtol=1e-6)
            assert got["has"] == (given.get("x") is not None)


def test_strings_at_the_ends(tmp_path: Path) -> None:
    model = text_model(
        """(string[n] a, string[n] b, float[n] x) => (string[n] joined, bool[n] same, string[k] picked, float[n] y) {
            joined = StringConcat (a, b)
            same = Equal (a, b)
            at = NonZero (same)
            flat = Reshape (at, all)
            picked = Gather <axis = 0> (a, flat)
            number = Cast <to = 1> (same)
            y = Add (x, number)
        }""",
        opset=20,
        all=np.array([-1], np.int64),
    )
    calls = [
        {"a": words("ab", "", "c"), "b": words("ab", "x", "ü"), "x": f(3)},
        {"a": words("same"), "b": words("same"), "x": f(1)},
    ]
    engine = check(model, calls, tmp_path)
    same(engine({**calls[1], "a": np.array(["same"])})["joined"], words("samesame"))
    for wrong in (f(1), np.array([b"same"]), np.array([3], object), ["same"]):
        with pytest.raises(BindingError, match="'a'"):
            engine({**calls[1], "a": wrong})


def test_numbers_as_strings_and_back() -> None:
    model = text_model(
        "(string[n] x) => (float[n] y, string[n] z) { v = Cast <to = 1> (x) y = Neg (v) i = Cast <to = 7> (v) z = Cast <to = 8> (i) }"
    )
    engine = check(model, [{"x": words("1.5", "-3")}, {"x": words("1e3", "0", "7")}])
    with pytest.raises(ModelError, match=r"node 'v' \(Cast\)"):
        engine(words("three"))


def test_half_precision_of_open_rank_and_in_sequences(tmp_path: Path) -> None:
    """Held in f32 inside, given and taken as the model declares."""
    ranks = text_model(
        "(float16[a,4] x) => (float16 y) { s = Squeeze (x) y = Add (s, s) }", opset=18
    )
    for n in (1, 3):
        check(ranks, [{"x": f(n, 4).astype(np.float16)}], tmp_path)
    parts = text_model(
        """(seq(float16[n]) many, int64 at) => (float16[n] one, seq(float16[n]) more) {
            one = SequenceAt (many, at)
            more = SequenceInsert (many, one)
        }"""
    )
    engine = camshaft.build(parts, **QUICK)
    many = [f(3).astype(np.float16), f(3).astype(np.float16)]
    found = engine({"many": many, "at": np.array(1)})
    assert found["one"].dtype == np.float16 and [a.dtype for a in found["more"]] == [np.float16] * 3
    np.testing.assert_array_equal(found["more"][2], many[1])
    assert "f16" in repr(engine.inputs["many"])
    with pytest.raises(camshaft.BindingError, match="holds float32, expected float16"):
        engine({"many": [f(3)], "at": np.array(0)})
