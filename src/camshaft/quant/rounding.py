"""Rounding of convolution weights that keeps each kernel's result on a constant image.

Used by `insertion` when it makes INT8 weights.  Rounding every weight to the nearest level leaves
each kernel [R,S] (one input channel's share in one output channel) with a sum that is off by a
random amount.  Pixels beside each other are much alike, so the kernel multiplies this sum by nearly
the same value, and its error does not average out over taps.  Here the weights nearest to the border
between two levels go to the other neighbour, as many as it takes to bring the error of the sum to at
most half a level.  Needs no data.  1x1 kernels have nothing to trade and round to nearest.

Source: the kernel-wise step of C. Guo et al., SQuant: On-the-Fly Data-Free Quantization via
Diagonal Hessian Approximation, ICLR 2022.
"""

from __future__ import annotations

import numpy as np

from camshaft.quant.scheme import QuantParams, quantize


def quantize_kernels(weight: np.ndarray, params: QuantParams) -> np.ndarray:
    """INT8 weights whose kernels keep their sums to half a level.

    weight: float32 [K,R,S,C/groups].  params: symmetric, with a scale per output channel (axis 0),
    wide enough to clip nothing.  Returns int8 of the same shape; every weight lies less than a level
    from its exact place.
    """
    nearest = quantize(weight, params)
    k, r, s, c = weight.shape
    if r * s == 1:
        return nearest
    exact = weight.astype(np.float64) / params.scale.astype(np.float64)[:, None, None, None]
    error = (nearest - exact).reshape(k, r * s, c)
    surplus = np.rint(error.sum(axis=1)).astype(np.int8)  # levels that a kernel's sum is too high
    shift = np.zeros((k, r * s, c), np.int8)
    rows, columns = np.nonzero(surplus)
    sign = np.sign(surplus[rows, columns])
    left = np.abs(surplus[rows, columns])
    errors = error[rows, :, columns] * sign[:, None]
    while left.size:
        tap = errors.argmax(axis=1)
        shift[rows, tap, columns] -= sign
        errors[np.arange(len(tap)), tap] -= 1.0
        left -= 1
        more = left > 0
        rows, columns, sign, left, errors = (a[more] for a in (rows, columns, sign, left, errors))
    return np.asarray(nearest + shift.reshape(weight.shape), np.int8)
