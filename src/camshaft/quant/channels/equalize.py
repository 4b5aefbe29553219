"""Channels of one magnitude: what a depthwise convolution reads, each channel at its own scale.

A depthwise convolution never adds channels up, so each may be scaled by itself: x * f is quantized in place of x, with
f float32 [C] >= 1 and one range, and the weights are divided by f.  Nothing else changes, and the scales of weights
are by channel anyway.  Without it a channel whose values are a tenth of the tensor's largest has a tenth of the levels,
and its error reaches the result undiminished; a product of many channels averages such errors out.

Source: M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019, section 4.1;
here with ranges of data in place of those of weights, and for any function between the layers, not only for ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.ir.attrs import int_attr
from camshaft.ir.graph import Node
from camshaft.ir.types import u8
from camshaft.ops import CONV
from camshaft.quant.scheme import QuantParams

ROOM = 2.0
"""How many times what data show of a channel fits: they show less of one channel than of all together."""
MOST = 32.0
"""Largest factor; what is much smaller in the data may be so by chance."""
LEAST_GAIN = 1.5
"""Geometric mean of the factors below which channels are left alone."""


@dataclass(frozen=True, eq=False)
class Equalized:
    """A decision on one tensor of channels-last images or rows.

    factors: float32 [C], what channels are multiplied by before they are quantized.
    params: of the tensor so multiplied.
    """

    factors: np.ndarray
    params: QuantParams

    @property
    def words(self) -> str:
        """The decision as part of a layer's reason."""
        return f"input channels scaled by 1 to {self.factors.max():.3g}"


def is_channels_last(node: Node) -> bool:
    """Whether the node is a convolution whose input has its channels last."""
    return node.op is CONV and node.attrs["layout"] == "NHWC"


def is_depthwise(node: Node) -> bool:
    """Whether each output of the node reads one input channel."""
    if not is_channels_last(node):
        return False
    x, w = node.args[:2]
    groups = int_attr(node, "groups")
    return w.is_const and groups > 1 and groups == x.shape[-1] and w.shape[-1] == 1


def equalized(least: np.ndarray, most: np.ndarray, params: QuantParams) -> Equalized | None:
    """Factors for channels that lie in [least, most], float32 [C]; None where they gain little.

    params: of the whole tensor; no channel's range is taken to be wider than it.
    """
    low, high = (float(v) for v in params.interval)
    low_c = np.clip(np.minimum(least, 0), low, 0).astype(np.float64)
    high_c = np.clip(np.maximum(most, 0), 0, high).astype(np.float64)
    zeros = np.arange(256)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.where(high_c > 0, high_c / (255 - zeros), 0)
        below = np.where(low_c < 0, -low_c / zeros, 0)
    scales = np.maximum(above, below)
    largest = scales.max(axis=1, keepdims=True)
    scales = np.clip(ROOM * scales, largest / MOST, largest)
    scales[:, (low_c == 0) & (high_c == 0)] = largest
    with np.errstate(divide="ignore"):
        costs = np.where(np.isfinite(largest[:, 0]), np.log2(scales).mean(axis=1), np.inf)
    zero = int(np.argmin(costs))
    if not np.isfinite(costs[zero]) or 2 ** costs[zero] * LEAST_GAIN > float(params.scale):
        return None
    factors = (largest[zero] / scales[zero]).astype(np.float32)
    return Equalized(
        factors,
        QuantParams(np.asarray(largest[zero, 0], np.float32), np.asarray(zero, np.uint8), u8),
    )
