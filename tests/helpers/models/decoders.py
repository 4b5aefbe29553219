"""Small decoders whose keys and values come in as pasts and go out as presents, and nets with other states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

HEADS, KEY_HEADS, SIZE, LAYERS = 4, 2, 16, 2
WIDTH = HEADS * SIZE
MOST = 64
"""Longest sequence."""
STATE = {"past.*": "present.*"}
SHAPES = {"past.0.key": (None, None, f"p=0..16..{MOST}", None)}
PASTS = [f"past.{layer}.{kind}" for layer in range(LAYERS) for kind in ("key", "value")]
Arrays = dict[str, np.ndarray]


def info(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> object:
    return helper.make_tensor_value_info(name, kind, list(shape))


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Sequence[object],
    outputs: Sequence[object],
    constants: Mapping[str, np.ndarray],
) -> ModelProto:
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(list(nodes), "decoder", list(inputs), list(outputs), weights)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


class Layers:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.rng = np.random.default_rng(0)

    def add(self, op: str, inputs: Sequence[str], name: str, **attrs: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def constant(self, name: str, value: object) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def linear(self, x: str, name: str, rows: int, columns: int) -> str:
        weights = (self.rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        return self.add("MatMul", [x, self.constant(f"{name}.w", weights)], name)

    def heads(self, x: str, count: int) -> str:
        shape = self.constant(f"{x}.shape", np.array([0, 0, count, SIZE], np.int64))
        return self.add(
            "Transpose",
            [self.add("Reshape", [x, shape], f"{x}.4d")],
            f"{x}.heads",
            perm=[0, 2, 1, 3],
        )

    def turned(self, x: str, count: int) -> str:
        """Rotary positions."""
        return self.add(
            "RotaryEmbedding", [self.heads(x, count), "cos", "sin", "positions"], f"{x}.turned"
        )

    def attention(self, layer: int, form: str, q: str, k: str, v: str) -> str:
        past, present = (
            [f"{time}.{layer}.{kind}" for kind in ("key", "value")] for time in ("past", "present")
        )
        name = f"attention.{layer}"
        if form == "operator":
            self.nodes.append(
                helper.make_node(
                    "Attention", [q, k, v, "", *past], [name, *present], name=name, is_causal=1
                )
            )
            return name
        for old, new, made in zip(past, (k, v), present, strict=True):
            self.add("Concat", [old, new], made, axis=2)
        return self.add("Attention", [q, *present, "mask"], name)


def decoder(form: str = "concat", batch: int | str = "batch") -> ModelProto:
    """x [batch, s, WIDTH] and positions [batch, s] -> y [batch, s, WIDTH]; grouped keys, rotary positions.

    form: "operator" appends in a causal Attention; "concat" before one, with a mask [batch, 1, s, total].
    """
    net, total = Layers(), "total"
    angles = np.outer(np.arange(MOST + 8), 0.5 ** np.arange(SIZE // 2))
    net.constant("cos", np.cos(angles).astype(np.float32))
    net.constant("sin", np.sin(angles).astype(np.float32))
    inputs = [info("x", (batch, "s", WIDTH)), info("positions", (batch, "s"), TensorProto.INT64)]
    if form != "operator":
        inputs.append(info("mask", (batch, 1, "s", total)))
    outputs, x = [], "x"
    for i in range(LAYERS):
        width = KEY_HEADS * SIZE
        q, k, v = (
            net.linear(x, f"{n}.{i}", WIDTH, w)
            for n, w in (("q", WIDTH), ("k", width), ("v", width))
        )
        for kind in ("key", "value"):
            inputs.append(info(f"past.{i}.{kind}", (batch, KEY_HEADS, "p", SIZE)))
            outputs.append(info(f"present.{i}.{kind}", (batch, KEY_HEADS, total, SIZE)))
        made = net.attention(
            i, form, net.turned(q, HEADS), net.turned(k, KEY_HEADS), net.heads(v, KEY_HEADS)
        )
        rows = net.add("Transpose", [made], f"rows.{i}", perm=[0, 2, 1, 3])
        shape = net.constant(f"rows.{i}.shape", np.array([0, 0, WIDTH], np.int64))
        joined = net.linear(
            net.add("Reshape", [rows, shape], f"joined.{i}"), f"o.{i}", WIDTH, WIDTH
        )
        x = net.add("Add", [joined, x], f"y.{i}" if i + 1 < LAYERS else "y")
    outputs.append(info("y", (batch, "s", WIDTH)))
    return model_of(net.nodes, inputs, outputs, net.constants)


def grouped(batch: int | str = 1) -> ModelProto:
    """The same of ONNX Runtime's GroupQueryAttention, whose lengths follow from a mask [batch, total] of ones."""
    net = Layers()
    angles = np.outer(np.arange(MOST + 8), 0.5 ** np.arange(SIZE // 2))
    net.constant("cos", np.cos(angles).astype(np.float32))
    net.constant("sin", np.sin(angles).astype(np.float32))
    one = net.constant("one", np.array([1], np.int64))
    last = net.add("Sub", [net.add("ReduceSum", ["mask", one], "count", keepdims=0), one], "last")
    net.add("Cast", [last], "last.32", to=TensorProto.INT32)
    length = net.add("Gather", [net.add("Shape", ["mask"], "shape"), one], "length")
    net.add("Cast", [length], "length.32", to=TensorProto.INT32)
    inputs = [info("x", (batch, "s", WIDTH)), info("mask", (batch, "total"), TensorProto.INT64)]
    outputs, x = [], "x"
    for i in range(LAYERS):
        width = KEY_HEADS * SIZE
        parts = [
            net.linear(x, f"{n}.{i}", WIDTH, w)
            for n, w in (("q", WIDTH), ("k", width), ("v", width))
        ]
        pasts, presents = (
            [f"{time}.{i}.{kind}" for kind in ("key", "value")] for time in ("past", "present")
        )
        inputs += [info(n, (batch, KEY_HEADS, "p", SIZE)) for n in pasts]
        outputs += [info(n, (batch, KEY_HEADS, "total", SIZE)) for n in presents]
        net.nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [*parts, *pasts, "last.32", "length.32", "cos", "sin"],
                [f"mixed.{i}", *presents],
                name=f"attention.{i}",
                domain="com.microsoft",
                num_heads=HEADS,
                kv_num_heads=KEY_HEADS,
                do_rotary=1,
            )
        )
        joined = net.linear(f"mixed.{i}", f"o.{i}", WIDTH, WIDTH)
        x = net.add("Add", [joined, x], f"y.{i}" if i + 1 < LAYERS else "y")
    outputs.append(info("y", (batch, "s", WIDTH)))
    return model_of(net.nodes, inputs, outputs, net.constants)


def step(
    rng: np.random.Generator, first: int, length: int, form: str = "concat", batch: int = 1
) -> Arrays:
    """Inputs of a call on `length` tokens from place `first` on, but for pasts."""
    places = np.arange(first, first + length)
    arrays: Arrays = {
        "x": rng.standard_normal((batch, length, WIDTH)).astype(np.float32),
        "positions": np.broadcast_to(places, (batch, length)).copy(),
    }
    if form != "operator":
        hidden = np.where(np.arange(first + length) > places[:, None], -np.inf, 0).astype(
            np.float32
        )
        arrays["mask"] = np.broadcast_to(hidden, (batch, 1, *hidden.shape)).copy()
    return arrays


def no_past(batch: int = 1) -> Arrays:
    return {n: np.zeros((batch, KEY_HEADS, 0, SIZE), np.float32) for n in PASTS}


def recurrent(batch: int | str = "batch") -> ModelProto:
    """A cell with two states of fixed shape, h and c [batch, 8], and one that slides: the last 3 of x [batch, 8]
    and what came before, window [batch, 3, 8]."""
    net = Layers()
    gate = net.linear("h", "hh", 8, 8)
    own = net.linear("x", "xx", 8, 8)
    both = net.add("Tanh", [net.add("Add", [gate, own], "both")], "gate")
    kept = net.add("Mul", ["c", net.constant("decay", np.float32(0.5))], "kept")
    net.add("Add", [kept, both], "c_next")
    net.add("Tanh", ["c_next"], "h_next")
    row = net.add("Unsqueeze", ["x", net.constant("one", np.array([1], np.int64))], "row")
    long = net.add("Concat", ["window", row], "long", axis=1)
    ends = [net.constant(n, np.array([v], np.int64)) for n, v in (("from", 1), ("to", 4))]
    net.add("Slice", [long, *ends, net.constant("axis", np.array([1], np.int64))], "window_next")
    mean = net.add("ReduceMean", [long, "one"], "mean", keepdims=0)
    net.add("Add", [mean, "h_next"], "y")
    inputs = [
        info("x", (batch, 8)),
        *(info(n, (batch, 8)) for n in "hc"),
        info("window", (batch, 3, 8)),
    ]
    outputs = [info(n, (batch, 8)) for n in ("y", "h_next", "c_next")]
    outputs.append(info("window_next", (batch, 3, 8)))
    return model_of(net.nodes, inputs, outputs, net.constants)


def halved(model: ModelProto, kind: int = TensorProto.FLOAT16) -> ModelProto:
    """The model with all floats as halves."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = kind
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


RECURRENT_STATE = {"h": "h_next", "c": "c_next", "window": "window_next"}
