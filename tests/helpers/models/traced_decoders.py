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
    mask_batch: str = "batch",
) -> ModelProto:
    """ids [batch, seq], mask [batch, total], past.key and past.value [batch, HEADS, past, SIZE] -> y [batch, seq, WIDTH],
    present.key, present.value.  places: rows of the table of positions.  total, pasts, seq, mask_batch: what extents are called.  With a
    mask of a batch of its own, it is picked from as PyTorch's newer exporter does, by pairs of indices."""
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
        info("mask", (mask_batch, total), TensorProto.INT64),
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
        "Where",
        [_shown(net, mask_batch != "batch"), scores, net.constant("hidden", np.float32(-1e9))],
        "seen",
    )
    mixed = net.add(
        "MatMul", [net.add("Softmax", [seen], "shares", axis=-1), parts["value"]], "mixed"
    )
    rows = net.add("Transpose", [mixed], "rows", perm=[0, 2, 1, 3])
    net.add("Reshape", [rows, net.constant("width", np.array([0, 0, WIDTH], np.int64))], "y")
    return model_of(net.nodes, inputs, outputs, net.constants)


def _shown(net: Layers, by_pairs: bool) -> str:
    """bool [batch, 1, 1, past + seq]: the mask at the places counted from 0."""
    picked = _by_pairs(net) if by_pairs else _of_flat(net)
    return net.add("Cast", [picked], "shown", to=TensorProto.BOOL)


def _counted(net: Layers, count: str, axes: list[int]) -> str:
    """0 to count - 1 along one of four axes."""
    row = net.add("Range", ["zero", count, "one"], f"{count}.row")
    kept = net.constant(f"{count}.axes", np.array(axes, np.int64))
    return net.add("Unsqueeze", [row, kept], f"{count}.counted")


def _of_flat(net: Layers) -> str:
    """Picked from the mask's flat elements."""
    flat = net.add("Reshape", ["mask", net.constant("flat", np.array([-1], np.int64))], "mask.flat")
    down = net.add("Mul", [_counted(net, "batch", [1, 2, 3]), "t"], "down")
    at = net.add("Add", [_counted(net, "all", [0, 1, 2]), down], "at")
    return net.add("Gather", [flat, at], "picked")


def _by_pairs(net: Layers) -> str:
    """Picked from the mask as rows of the batch, by indices of both axes side by side."""
    first = net.constant("first", np.array([0], np.int64))
    last = net.constant("last", np.array([-1], np.int64))
    batch = net.add("Unsqueeze", ["batch", first], "batch.list")
    count = net.add("Unsqueeze", ["all", first], "all.list")
    shape = net.add("Concat", [batch, last], "view.shape", axis=0)
    view = net.add("Reshape", ["mask", shape], "view")
    ones = net.constant("ones", np.array([1, 1], np.int64))
    shape = net.add("Concat", [batch, ones, count], "pairs.shape", axis=0)
    pairs = [
        net.add(
            "Unsqueeze",
            [net.add("Expand", [_counted(net, n, axes), shape], f"{n}.wide"), last],
            f"{n}.index",
        )
        for n, axes in (("batch", [1, 2, 3]), ("all", [0, 1, 2]))
    ]
    return net.add("GatherND", [view, net.add("Concat", pairs, "pairs", axis=-1)], "picked")


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
