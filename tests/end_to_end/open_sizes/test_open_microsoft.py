"""Engines of ONNX Runtime's transformer operators: any batch and length, ONNX Runtime's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from open_engines import check_open, open_model

pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.codegen]

RNG = np.random.default_rng(15)
WIDTH, HEADS, SIZE, WORDS = 32, 2, 16, 40
SIZES = [(1, 7), (3, 1), (2, 16), (1, 33)]


def f(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.5).astype(np.float32)


def node(op_type: str, inputs: list[str], outputs: list[str], **attrs: Any) -> Any:
    return helper.make_node(op_type, inputs, outputs, outputs[0], domain="com.microsoft", **attrs)


def test_a_layer_as_the_optimizer_of_bert_writes_it(tmp_path: Path) -> None:
    constants = {
        "words": f(WORDS, WIDTH),
        "places": f(64, WIDTH),
        "kinds": f(2, WIDTH),
        "gamma": f(WIDTH) + 1,
        "beta": f(WIDTH),
        "qkv": f(WIDTH, 3 * WIDTH),
        "qkv_bias": f(3 * WIDTH),
        "out": f(WIDTH, WIDTH),
        "bias": f(WIDTH),
        "up": f(WIDTH, 4 * WIDTH),
        "up_bias": f(4 * WIDTH),
        "down": f(4 * WIDTH, WIDTH),
    }
    tables = ["words", "places", "kinds", "gamma", "beta"]
    nodes = [
        node("EmbedLayerNormalization", ["ids", "types", *tables], ["e", ""]),
        node("Attention", ["e", "qkv", "qkv_bias", "mask"], ["a"], num_heads=HEADS),
        helper.make_node("MatMul", ["a", "out"], ["o"]),
        node("SkipLayerNormalization", ["o", "e", "gamma", "beta", "bias"], ["h"], epsilon=1e-5),
        helper.make_node("MatMul", ["h", "up"], ["u"]),
        node("BiasGelu", ["u", "up_bias"], ["g"]),
        helper.make_node("MatMul", ["g", "down"], ["d"]),
        node("SkipLayerNormalization", ["d", "h", "gamma", "beta", "bias"], ["y"], epsilon=1e-5),
    ]
    inputs: Any = {n: ["batch", "length"] for n in ("ids", "types", "mask")}
    kinds = dict.fromkeys(inputs, np.int32)
    model = open_model(
        nodes, inputs, ["y"], constants, types=kinds, domains=["com.microsoft"], opset=14
    )
    batches = []
    for shape in SIZES:
        mask = RNG.integers(0, 2, shape).astype(np.int32)
        mask[:, 0] = 1
        ids = RNG.integers(0, WORDS, shape).astype(np.int32)
        batches.append({"ids": ids, "types": ids % 2, "mask": mask})
    check_open(model, batches, tmp_path)


def test_a_layer_of_a_language_model_with_its_state(tmp_path: Path) -> None:
    """A prompt without a past and tokens behind one, in one engine: the state's extent is open."""
    constants = {
        "qkv": f(WIDTH, 2 * WIDTH),
        "gamma": f(WIDTH) + 1,
        "out": f(WIDTH, WIDTH),
        "cos": f(64, SIZE // 2),
        "sin": f(64, SIZE // 2),
        "one": np.array([1]),
    }
    state = ["past_key", "past_value"]
    group = ["p", "", "", *state, "last", "total", "cos", "sin"]
    attrs = {"num_heads": HEADS, "kv_num_heads": 1, "do_rotary": 1}
    nodes = [
        helper.make_node("ReduceSum", ["mask", "one"], ["tokens"], keepdims=0),
        helper.make_node("Sub", ["tokens", "one"], ["last64"]),
        helper.make_node("Cast", ["last64"], ["last"], to=6),
        helper.make_node("Shape", ["mask"], ["total64"], start=1),
        helper.make_node("Cast", ["total64"], ["total"], to=6),
        helper.make_node("MatMul", ["x", "qkv"], ["p"]),
        node("GroupQueryAttention", group, ["a", "key", "value"], **attrs),
        helper.make_node("MatMul", ["a", "out"], ["o"]),
        node("SkipSimplifiedLayerNormalization", ["o", "x", "gamma"], ["y"], epsilon=1e-5),
    ]
    inputs: Any = {"x": ["batch", "length", WIDTH], "mask": ["batch", "total"]}
    inputs |= {n: ["batch", 1, "past", SIZE] for n in state}
    model = open_model(
        nodes, inputs, ["y", "key", "value"], constants, types={"mask": np.int64},
        domains=["com.microsoft"],
    )  # fmt: skip
    batches = []
    for batch, length, past in [(1, 7, 0), (2, 1, 5), (1, 3, 9), (3, 4, 0)]:
        states = {n: f(batch, 1, past, SIZE) for n in state}
        mask = np.ones((batch, past + length), np.int64)
        batches.append({"x": f(batch, length, WIDTH), "mask": mask, **states})
    shapes = {n: ["batch", 1, "past=0..1000", SIZE] for n in state}
    check_open(model, batches, tmp_path, shapes=shapes)
