"""A convolutional net of two branches, one with values of `TIMES` times the other's, which are joined."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from onnx_models import model_of

TIMES = 100.0
SIZE, CHANNELS = 12, 16


def net(between: str = "") -> onnx.ModelProto:
    """Both branches count alike for what reads the join; the quiet one is also read by a convolution of its own.

    between: an operator between the join and its reader: "MaxPool", "AveragePool" or none.
    """
    rng = np.random.default_rng(0)

    def w(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    c = CHANNELS
    constants = {"loud": w(c, c, 3, 3) * np.float32(TIMES), "quiet": w(c, c, 3, 3)}
    constants |= {"both": w(c, 2 * c, 3, 3), "own": w(c, c, 1, 1)}
    constants |= {"then": w(2 * c, c, 3, 3), "last": w(24, 2 * c, 1, 1)}
    constants["both"][:, :c] /= np.float32(TIMES)
    padded = {"pads": [1] * 4}
    pool = {"kernel_shape": [3, 3], **padded}
    nodes = [
        helper.make_node("Conv", ["x", "loud"], ["a"], name="loud", **padded),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["x", "quiet"], ["b"], name="quiet", **padded),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Concat", ["ar", "br"], ["join"], name="join", axis=1),
        *([helper.make_node(between, ["join"], ["passed"], name="between", **pool)] * bool(between)),
        helper.make_node("Conv", ["passed" if between else "join", "both"], ["c"], name="both", **padded),
        helper.make_node("Conv", ["br", "own"], ["d"], name="own"),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("Relu", ["e"], ["er"]),
        helper.make_node("Conv", ["er", "then"], ["f"], name="then", **padded),
        helper.make_node("Relu", ["f"], ["fr"]),
        helper.make_node("Conv", ["fr", "last"], ["y"], name="last"),
    ]  # fmt: skip
    return model_of(nodes, {"x": images(1)[0]["x"]}, ["y"], constants)


def images(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    shape = (1, CHANNELS, SIZE, SIZE)
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]
