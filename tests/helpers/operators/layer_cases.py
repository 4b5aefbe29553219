"""Cases of recurrent layers, normalizations and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operator_case import Case, Generate, Rng, extents, floats, given, maybe, pick, trimmed

ACTIVATIONS = (
    "Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
    "HardSigmoid", "Elu", "Softsign", "Softplus",
)  # fmt: skip
WITH_ALPHA = ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")
WITH_BETA = ("Affine", "ScaledTanh", "HardSigmoid")
NO_DEFAULTS = ("Affine", "ScaledTanh", "ThresholdedRelu")
"""ONNX has no operators of the first two names to take defaults from; of the third, ONNX Runtime takes 0
and not, as ONNX says ("default values are the same as of corresponding ONNX operators"), 1."""


def activations(rng: Rng, count: int) -> dict[str, Any]:
    """Activation functions, with the numbers of all that take some, or of none."""
    if rng.random() < 0.4:
        return {}
    names = [pick(rng, *ACTIVATIONS) for _ in range(count)]
    attrs: dict[str, Any] = {"activations": names}
    if rng.random() < 0.6 or any(n in NO_DEFAULTS for n in names):
        alphas = [n for n in names if n in WITH_ALPHA]
        betas = [n for n in names if n in WITH_BETA]
        for name, takers in (("activation_alpha", alphas), ("activation_beta", betas)):
            if takers:
                attrs[name] = [float(v) for v in rng.uniform(0.2, 0.9, len(takers))]
    return attrs


def recurrent(op_type: str, gates: int, functions: int) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        direction = pick(rng, "forward", "reverse", "bidirectional")
        d = 2 if direction == "bidirectional" else 1
        (t, n, width, h) = extents(rng, 4, 1, 4)
        lengths = rng.integers(1, t + 1, n).astype(np.int32)
        chosen = activations(rng, functions * d)
        clip = maybe(rng, float(rng.uniform(0.2, 1.0)), 0.3)
        if "Softplus" in chosen.get("activations", ()):
            clip = 1.0  # ONNX Runtime's overflows where its argument is large
        inputs = [
            floats(rng, t, n, width),
            floats(rng, d, gates * h, width),
            floats(rng, d, gates * h, h) / 2,
            maybe(rng, floats(rng, d, 2 * gates * h)),
            maybe(rng, lengths),
            maybe(rng, floats(rng, d, n, h)),
        ]
        attrs = given(
            hidden_size=h,
            direction=maybe(rng, direction) if direction == "forward" else direction,
            clip=clip,
        )
        attrs |= chosen
        if op_type == "GRU":
            attrs |= given(linear_before_reset=maybe(rng, 1))
        outputs = [pick(rng, "y", ""), "h"]
        if op_type == "LSTM":
            attrs |= given(input_forget=maybe(rng, 1, 0.3))
            inputs += [maybe(rng, floats(rng, d, n, h)), maybe(rng, floats(rng, d, 3 * h), 0.4)]
            outputs = [pick(rng, "y", ""), pick(rng, "h", ""), "c"]
        return Case(op_type, opset, trimmed(inputs), attrs, outputs, rtol=1e-4, atol=1e-5)

    return generate


def batch_normalization(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 2, 3, 4, 5), 1, 4))
    c = x.shape[1]
    inputs = [x, floats(rng, c), floats(rng, c), floats(rng, c), rng.uniform(0.2, 2, c)]
    inputs = [np.asarray(v, np.float32) for v in inputs]
    attrs: dict[str, Any] = given(
        epsilon=maybe(rng, float(rng.uniform(1e-4, 1e-1))), momentum=maybe(rng, 0.7)
    )
    outputs = ["y"]
    if opset >= 14 and rng.random() < 0.5:
        attrs["training_mode"] = 1
        outputs = ["y", "m", "v"]
    return Case("BatchNormalization", opset, inputs, attrs, outputs, atol=1e-5, rtol=1e-4)


def group_normalization(rng: Rng, opset: int) -> Case:
    groups, each = extents(rng, 2, 1, 3)
    c = groups * each
    count = groups if opset < 21 else c
    x = floats(rng, 2, c, *extents(rng, pick(rng, 1, 2, 3), 2, 4))
    attrs = given(num_groups=groups, epsilon=maybe(rng, 0.01))
    inputs = [x, floats(rng, count), floats(rng, count)]
    return Case("GroupNormalization", opset, inputs, attrs, atol=1e-5, rtol=1e-4)


def instance_normalization(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 3, 4, 5), 1, 4))
    inputs = [x, floats(rng, x.shape[1]), floats(rng, x.shape[1])]
    attrs = given(epsilon=maybe(rng, 0.01))
    return Case("InstanceNormalization", opset, inputs, attrs, atol=1e-5, rtol=1e-3)


def layer_normalization(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 2, 3, 4), 2, 4))
    axis = int(rng.integers(-x.ndim, x.ndim))
    behind = x.shape[axis:]
    inputs = [x, floats(rng, *behind), maybe(rng, floats(rng, *behind))]
    attrs = given(axis=axis, epsilon=maybe(rng, 0.01))
    return Case("LayerNormalization", opset, inputs, attrs, ("y", "m", "d"), atol=1e-5, rtol=1e-3)


def lp_normalization(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 1, 2, 3)))
    if x.ndim > 1:
        x[0] = 0
    attrs = given(
        axis=maybe(rng, int(rng.integers(-x.ndim, x.ndim))), p=maybe(rng, pick(rng, 1, 2))
    )
    return Case("LpNormalization", opset, [x], attrs)


def local_response(rng: Rng, opset: int) -> Case:
    # ONNX Runtime takes odd sizes and images only.
    attrs = given(
        size=pick(rng, 1, 3, 5), alpha=maybe(rng, 0.3), beta=maybe(rng, 0.6), bias=maybe(rng, 2.0)
    )
    return Case("LRN", opset, [floats(rng, 2, *extents(rng, 3, 1, 5))], attrs)


def along_an_axis(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        x = floats(rng, *extents(rng, pick(rng, 1, 2, 3, 4)))
        if op_type == "Hardmax" and rng.random() < 0.5:
            x = np.round(x)  # ties
        attrs = given(
            axis=maybe(rng, int(rng.integers(-x.ndim if opset >= 11 else 0, x.ndim)), 0.7)
        )
        if not attrs and opset < 13 and x.ndim == 1:
            attrs = {"axis": 0}
        return Case(op_type, opset, [x], attrs)

    return generate


def mean_variance(rng: Rng, opset: int) -> Case:
    axes = pick(rng, None, [0, 2, 3], [2, 3], [1, 2, 3], [-1])
    x = floats(rng, *extents(rng, 4, 2, 4))
    return Case("MeanVarianceNormalization", opset, [x], given(axes=axes), atol=1e-5, rtol=1e-3)


LAYERS: Mapping[str, Generate] = {
    "BatchNormalization": batch_normalization,
    "GRU": recurrent("GRU", 3, 2),
    "GroupNormalization": group_normalization,
    "Hardmax": along_an_axis("Hardmax"),
    "InstanceNormalization": instance_normalization,
    "LRN": local_response,
    "LSTM": recurrent("LSTM", 4, 3),
    "LayerNormalization": layer_normalization,
    "LogSoftmax": along_an_axis("LogSoftmax"),
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance,
    "RNN": recurrent("RNN", 1, 1),
    "Softmax": along_an_axis("Softmax"),
}
