"""Transformer-like nets some of whose channels are 20 to 100 times the others, as trained ones have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

WIDTH, HIDDEN, TOKENS = 64, 128, 24


def save_outlier_net(path: Path, seed: int, planted: int = 3, blocks: int = 2) -> list[int]:
    """Residual blocks norm -> product -> GELU -> product, and a product at the end; input x [1, TOKENS, WIDTH].

    The norms' gains make `planted` channels, the same in all, 20 to 100 times the others; returns these.
    """
    rng = np.random.default_rng(seed)
    channels = sorted(rng.choice(WIDTH, planted, replace=False).tolist())
    nodes, constants = [], {}

    def weight(name: str, k: int, n: int) -> str:
        constants[name] = (rng.standard_normal((k, n)) * k**-0.5).astype(np.float32)
        return name

    x = "x"
    for b in range(blocks):
        gain = rng.uniform(0.5, 1.5, WIDTH)
        gain[channels] *= rng.uniform(20, 100, planted)
        constants[f"gain{b}"] = gain.astype(np.float32)
        constants[f"shift{b}"] = rng.standard_normal(WIDTH).astype(np.float32)
        up = weight(f"up{b}", WIDTH, HIDDEN)
        constants[up][channels] /= 30  # trained nets weigh such channels little
        down = weight(f"down{b}", HIDDEN, WIDTH)
        nodes += [
            helper.make_node("LayerNormalization", [x, f"gain{b}", f"shift{b}"], [f"n{b}"], f"norm{b}"),
            helper.make_node("MatMul", [f"n{b}", up], [f"h{b}"], f"up{b}"),
            helper.make_node("Gelu", [f"h{b}"], [f"g{b}"], f"gelu{b}"),
            helper.make_node("MatMul", [f"g{b}", down], [f"d{b}"], f"down{b}"),
            helper.make_node("Add", [x, f"d{b}"], [f"x{b}"], f"add{b}"),
        ]  # fmt: skip
        x = f"x{b}"
    nodes.append(helper.make_node("MatMul", [x, weight("head", WIDTH, 16)], ["y"], "head"))
    graph = helper.make_graph(
        nodes,
        "outliers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9),
        str(path),
    )
    return channels


def outlier_batches(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Inputs of such a net."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]
