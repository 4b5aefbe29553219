"""A convolutional classifier with one layer that INT8 serves badly, whatever is done about it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from onnx_models import model_of


def net() -> onnx.ModelProto:
    """Four convolutions and a classifier; the second has weights that are huge beside the others and cancel out, since the
    channels that they multiply are alike: what rounding leaves of the others is no better with other ranges, with scales
    of channels or with finer inputs."""
    rng = np.random.default_rng(0)

    def w(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    twins = w(32, 32, 1, 1)
    twins[1] = twins[0]
    constants = {"w0": twins, "w1": w(32, 32, 3, 3), "w2": w(32, 32, 3, 3), "w3": w(64, 32, 1, 1)}
    huge = 400 * w(32, 3, 3)
    constants["w1"][:, 0] += huge
    constants["w1"][:, 1] -= huge
    nodes = [helper.make_node("Conv", ["x", "w0"], ["a"], name="twins")]
    for i, (before, after) in enumerate((("a", "b"), ("b", "c"), ("c", "d")), 1):
        pads = [int(i < 3)] * 4
        nodes += [
            helper.make_node("Relu", [before], [f"{before}r"], name=f"relu{i}"),
            helper.make_node("Conv", [f"{before}r", f"w{i}"], [after], name=f"conv{i}", pads=pads),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
        helper.make_node("Flatten", ["e"], ["y"], name="flat"),
    ]
    return model_of(nodes, {"x": images(1)[0]["x"]}, ["y"], constants)


def images(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, 32, 10, 10)).astype(np.float32)} for _ in range(count)]
