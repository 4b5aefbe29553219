"""INT8 weights as functions of constants, so that engines can make them again of other weights (see `ir.recipe`)."""

from __future__ import annotations

import numpy as np

from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32, i8
from camshaft.ops import OPS_BY_NAME
from camshaft.quant.rounding import quantize_kernels
from camshaft.quant.scheme import QuantParams, dequantize, quantize, weight_params


def symmetric(scale: np.ndarray, axis: int) -> QuantParams:
    """Parameters of weights with these scales along an axis."""
    return QuantParams(scale, np.zeros(scale.shape, np.int8), i8, axis, narrow=True)


def scale_of(weight: np.ndarray, axis: int, of: str) -> np.ndarray:
    """A scale for each index of an axis, float32.  of: what the weights are called.  Errors as in `weight_params`."""
    return weight_params(weight, axis, of).scale


def levels_of(
    weight: np.ndarray, scale: np.ndarray, axis: int, kernels: bool = False
) -> np.ndarray:
    """Weights, float32, as i8.  kernels: those of a convolution, so that kernels keep their sums, else half to even."""
    return (quantize_kernels if kernels else quantize)(weight, symmetric(scale, axis))


def rest_of(weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Weights with zeros for the channels [.., C] that are not kept, float32."""
    return np.asarray(weight * kept, np.float32)


def columns_of(weight: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Weights [.., C] of some channels."""
    return np.ascontiguousarray(weight[..., channels])


def divided(weight: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Weights [K, R, S, C/g] of a convolution for input that is multiplied by factors [C]."""
    by_group = factors.reshape(-1, weight.shape[3])
    by_output = np.repeat(by_group, len(weight) // len(by_group), axis=0)
    return np.asarray(weight / by_output[:, None, None, :], np.float32)


def mean_shift(
    weight: np.ndarray,
    levels: np.ndarray,
    scale: np.ndarray,
    *means: np.ndarray,
    terms: tuple[str, ...],
    op: str,
    x: tuple[int, ...],
    y: tuple[int, ...],
    **attrs: Attr,
) -> np.ndarray:
    """How far the mean of each output of an INT8 convolution is off, float64 [K] (see `channels.bias`).

    means: float64 [C] each, of the channels that are multiplied by `terms`: the "error" of the weights, or the "levels"
    themselves.  op, x, y, attrs: of the convolution, with the shapes of its input and output.
    """
    form = OPS_BY_NAME[op].int8
    assert form is not None and form.mean_shift is not None
    rounded = dequantize(levels, symmetric(scale, 0)).astype(np.float64)
    factors = {"error": rounded - weight, "levels": rounded}
    types = [TensorType(f32, x), TensorType(f32, weight.shape)]
    output = TensorType(f32, y)
    shifts = [
        form.mean_shift(types, output, attrs, factors[term], mean)
        for term, mean in zip(terms, means, strict=True)
    ]
    return np.asarray(np.sum(shifts, axis=0))
