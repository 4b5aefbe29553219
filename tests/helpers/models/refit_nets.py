"""Nets whose weights are drawn, for tests that exchange them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft

Draw = Callable[[str, tuple[int, ...]], np.ndarray]


class Net:
    """An ONNX model under construction; weights by name, from `draw`."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.nodes, self.weights, self.count = draw, [], {}, 0

    def w(self, name: str, *shape: int) -> str:
        if name not in self.weights:
            self.weights[name] = self.draw(name, shape).astype(np.float32)
        return name

    def add(self, op: str, *inputs: str, **attrs: object) -> str:
        self.count += 1
        made = f"t{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [made], name=f"{op}_{self.count}", **attrs))
        return made

    def model(self, result: str, shape: list[int | str]) -> ModelProto:
        self.nodes.append(helper.make_node("Identity", [result], ["y"], name="last"))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(a, n) for n, a in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def random(seed: int) -> Draw:
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        a = rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5
        return np.abs(a) + 0.5 if name.endswith(".var") else a

    return draw


def fresh(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights before training: factors 1, summands 0, statistics of nothing, and all filters equal."""
    if name.endswith((".var", ".scale")):
        return np.ones(shape)
    return np.full(shape, 0.25) if len(shape) > 1 else np.zeros(shape)


def normalized(n: Net, x: str, name: str, c: int) -> str:
    parts = [n.w(f"{name}.{part}", c) for part in ("scale", "bias", "mean", "var")]
    return n.add("BatchNormalization", x, *parts)


def convolutions(draw: Draw) -> ModelProto:
    n = Net(draw)
    x = normalized(n, "x", "before", 3)
    x = n.add(
        "Relu", normalized(n, n.add("Conv", x, n.w("c1", 16, 3, 3, 3), pads=[1] * 4), "b1", 16)
    )
    wide = n.add("Conv", x, n.w("c2", 16, 16, 3, 3), n.w("c2.b", 16), pads=[1] * 4)
    x = n.add("Add", n.add("Clip", wide), x)
    x = n.add("Conv", x, n.w("depth", 16, 1, 3, 3), group=16, strides=[2, 2])
    x = normalized(n, n.add("Sigmoid", x), "b2", 16)
    ones = [n.add("Conv", x, n.w(f"s{i}", 8, 16, 1, 1), n.w(f"s{i}.b", 8)) for i in range(3)]
    x = n.add("PRelu", n.add("Concat", *ones, axis=1), n.w("slope", 24, 1, 1))
    x = n.add("ConvTranspose", x, n.w("up", 24, 6, 4, 4), strides=[2, 2], pads=[1] * 4)
    x = n.add("Mul", n.add("Add", x, n.w("shift", 1, 6, 1, 1)), n.w("gain.scale", 6, 1, 1))
    x = n.add("Flatten", n.add("GlobalAveragePool", x))
    return n.model(n.add("Gemm", x, n.w("fc", 10, 6), n.w("fc.b", 10), transB=1), ["N", 3, 14, 14])


def flattened(draw: Draw) -> ModelProto:
    n = Net(draw)
    x = n.add("Relu", n.add("Conv", "x", n.w("c", 4, 3, 2, 2)))
    x = n.add("Gemm", n.add("Flatten", x), n.w("fc", 4 * 25, 7), n.w("fc.b", 7), alpha=0.5)
    return n.model(n.add("Softmax", x), [2, 3, 6, 6])


def attention(draw: Draw) -> ModelProto:
    n = Net(draw)
    x = n.add("Add", n.add("MatMul", "x", n.w("in", 12, 16)), n.w("place", 5, 16))
    for i in range(2):
        named = n.add(
            "LayerNormalization", x, n.w(f"n{i}.scale", 16), n.w(f"n{i}.bias", 16), axis=-1
        )
        q, k, v = (n.add("MatMul", named, n.w(f"{p}{i}", 16, 16)) for p in "qkv")
        scores = n.add("MatMul", q, n.add("Transpose", k, perm=[0, 2, 1]))
        mixed = n.add("MatMul", n.add("Softmax", scores, axis=-1), v)
        tied = n.add("MatMul", mixed, n.w("tied", 16, 16))  # by both blocks
        x = n.add("Add", n.add("Add", tied, n.w(f"o{i}.b", 16)), x)
    return n.model(n.add("Tanh", x), ["batch", 5, 12])


def recurrent(draw: Draw) -> ModelProto:
    n = Net(draw)
    x = n.add("LSTM", "x", n.w("w", 1, 32, 6), n.w("r", 1, 32, 8), n.w("b", 1, 64), hidden_size=8)
    x = n.add("Squeeze", x, "one")
    n.nodes.insert(0, helper.make_node("Constant", [], ["one"], value_ints=[1]))
    gru = n.add("GRU", x, n.w("gw", 2, 12, 8), n.w("gr", 2, 12, 4), hidden_size=4, direction="bidirectional")  # fmt: skip
    return n.model(n.add("ReduceSum", gru, keepdims=0, noop_with_empty_axes=1), [4, 2, 6])


def feed(engine: camshaft.Engine) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(9)
    shape = [d if isinstance(d, int) else 3 for d in engine.inputs["x"].shape]
    return {"x": rng.standard_normal(shape).astype(np.float32)}


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(a, b, rtol=1e-5, atol=2e-6 * (1 + np.abs(b).max())))
