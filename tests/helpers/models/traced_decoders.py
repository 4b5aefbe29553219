"""A small decoder as exporters trace it: places counted from the lengths of a past and of the tokens, a mask of all
places that is picked from by counted indices."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto

from decoders import Layers, info, model_of

HEADS, SIZE, WORDS = 2, 8, 10
WIDTH = HEADS * SIZE


def traced(
    total: str = "total",
    places: int = 64,
    *,
    pasts: tuple[str, str] = ("past", "past"),
    seq: int | str = "seq",
) -> ModelProto:
    """ids [batch, seq], mask [batch, total], past.key and past.value [batch, HEADS, past, SIZE] -> y [batch, seq, WIDTH],
    present.key, present.value.  places: rows of the table of positions.  total, pasts, seq: what extents are called."""
    net = Layers()
    for name, number in (("zero", 0), ("one", 1)):
        net.constant(name, np.int64(number))
    lengths = [
        ("batch", "ids", 0), ("s", "ids", 1), ("p", "past.key", 2), ("t", "mask", 1)
    ]  # fmt: skip
    for name, source, axis in lengths:
        shape = net.add("Shape", [source], f"{name}.shape")
        net.add("Gather", [shape, net.constant(f"{name}.axis", np.int64(axis))], name)
    net.add("Add", ["p", "s"], "all")
    net.add("Range", ["p", "all", "one"], "places")
    table = net.rng.standard_normal((places, WIDTH)).astype(np.float32)
    words = net.rng.standard_normal((WORDS, WIDTH)).astype(np.float32)
    here = net.add("Gather", [net.constant("table", table), "places"], "here")
    x = net.add(
        "Add", [net.add("Gather", [net.constant("words", words), "ids"], "word"), here], "x"
    )
    inputs = [
        info("ids", ("batch", seq), TensorProto.INT64),
        info("mask", ("batch", total), TensorProto.INT64),
    ]
    outputs = [info("y", ("batch", seq, WIDTH))]
    parts = {}
    shape = net.constant("heads", np.array([0, 0, HEADS, SIZE], np.int64))
    for kind, past in (("query", ""), ("key", pasts[0]), ("value", pasts[1])):
        rows = net.add("Reshape", [net.linear(x, kind, WIDTH, WIDTH), shape], f"{kind}.4d")
        parts[kind] = net.add("Transpose", [rows], f"{kind}.heads", perm=[0, 2, 1, 3])
        if past:
            inputs.append(info(f"past.{kind}", ("batch", HEADS, past, SIZE)))
            outputs.append(info(f"present.{kind}", ("batch", HEADS, f"{kind}_after", SIZE)))
            parts[kind] = net.add(
                "Concat", [f"past.{kind}", parts[kind]], f"present.{kind}", axis=2
            )
    keys = net.add("Transpose", [parts["key"]], "keys", perm=[0, 1, 3, 2])
    scores = net.add("MatMul", [parts["query"], keys], "scores")
    seen = net.add(
        "Where", [_picked(net), scores, net.constant("hidden", np.float32(-1e9))], "seen"
    )
    mixed = net.add(
        "MatMul", [net.add("Softmax", [seen], "shares", axis=-1), parts["value"]], "mixed"
    )
    rows = net.add("Transpose", [mixed], "rows", perm=[0, 2, 1, 3])
    net.add("Reshape", [rows, net.constant("width", np.array([0, 0, WIDTH], np.int64))], "y")
    return model_of(net.nodes, inputs, outputs, net.constants)


def _picked(net: Layers) -> str:
    """bool [batch, 1, 1, past + seq]: the mask at the places counted from 0, picked from its flat elements."""
    flat = net.add("Reshape", ["mask", net.constant("flat", np.array([-1], np.int64))], "mask.flat")
    across = net.add("Range", ["zero", "all", "one"], "across")
    down = net.add("Mul", [net.add("Range", ["zero", "batch", "one"], "row"), "t"], "down")
    column = net.add(
        "Unsqueeze", [down, net.constant("three", np.array([1, 2, 3], np.int64))], "column"
    )
    at = net.add("Add", [across, column], "at")
    return net.add("Cast", [net.add("Gather", [flat, at], "picked")], "shown", to=TensorProto.BOOL)


def tokens(batch: int, past: int, seq: int, total: int | None = None) -> dict[str, np.ndarray]:
    """Inputs of these sizes; total: without it what the two come to."""
    rng = np.random.default_rng(0)
    shape = (batch, HEADS, past, SIZE)
    return {
        "ids": rng.integers(0, WORDS, (batch, seq)),
        "mask": np.ones((batch, past + seq if total is None else total), np.int64),
        "past.key": rng.standard_normal(shape).astype(np.float32),
        "past.value": rng.standard_normal(shape).astype(np.float32),
    }
