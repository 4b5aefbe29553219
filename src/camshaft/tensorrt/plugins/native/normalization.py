"""InstanceNormalization_TRT, in layers of generated code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.plugins.native.base import Kind, Values


def _instance_norm(net: Network, inputs: Sequence[Tensor], values: Values) -> Sequence[Tensor]:
    """scale * (x - mean) / sqrt(variance + epsilon) + bias, and a leaky relu where asked.  x: [N, C, ...]."""
    if len(inputs) not in (1, 3):
        raise ModelError(f"{len(inputs)} inputs are not x, or x, scales and bias")
    x = inputs[0]
    if len(inputs) == 3:
        scale, bias = inputs[1:]
    else:
        scale, bias = (net.constant(np.array(values[name], x.dtype)) for name in ("scales", "bias"))
        if scale.shape != bias.shape or scale.shape[0] != x.shape[1]:
            raise ModelError(
                f"scales {scale.shape} and bias {bias.shape} are not one for each of the {x.shape[1]} channels"
            )
    made = net.op("InstanceNormalization", x, scale, bias, epsilon=values["epsilon"])
    return [net.op("LeakyRelu", made, alpha=values["alpha"]) if values["relu"] else made]


KINDS: tuple[Kind, ...] = (
    Kind(
        "InstanceNormalization_TRT",
        {"1": 2, "2": 2, "3": 3},
        {"epsilon": 1e-5, "scales": (), "bias": (), "relu": False, "alpha": 0.0},
        1,
        _instance_norm,
    ),
)
