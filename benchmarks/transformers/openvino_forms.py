"""Files of a zoo transformer in OpenVINO's form (.xml), made of its float ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nncf
import numpy as np
import openvino

from benchmarks.zoo_model import ZooModel

Write = Callable[[ZooModel, Path, Path], None]


def compress(bits: int) -> Write:
    """Weights of 8 bits per channel, or of 4 bits in blocks of 128, both symmetric; OpenVINO quantizes
    activations at run time."""

    def write(model: ZooModel, source: Path, path: Path) -> None:
        network = openvino.Core().read_model(str(source))
        network.reshape({n: list(a.shape) for n, a in model.feeds(1)[0].items()})
        if bits == 8:
            made = nncf.compress_weights(network, mode=nncf.CompressWeightsMode.INT8_SYM)
        else:
            mode = nncf.CompressWeightsMode.INT4_SYM
            made = nncf.compress_weights(network, mode=mode, group_size=128, all_layers=True)
        openvino.save_model(made, str(path), compress_to_fp16=False)

    return write


def attention(model: ZooModel, source: Path, path: Path) -> None:
    """OpenVINO's ScaledDotProductAttention, of q, k, v [1, 12, S, 64]."""
    ops = openvino.opset13
    shape = list(model.feeds(1)[0]["q"].shape)
    inputs = [ops.parameter(shape, np.float32, n) for n in "qkv"]
    for node, name in zip(inputs, "qkv", strict=True):
        node.output(0).set_names({name})
    result = ops.scaled_dot_product_attention(*inputs)
    openvino.save_model(openvino.Model([result], inputs), str(path), compress_to_fp16=False)


FORMS: dict[str, Write] = {
    "int8-weights": compress(8),
    "int4-weights": compress(4),
    "sdpa": attention,
}
"""Suffix of a file -> what makes it."""
