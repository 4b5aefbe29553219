"""Integers of 4 bits, two to a byte, and when activations are too small for 8."""

from __future__ import annotations

import numpy as np

LEAST_MAGNITUDE = 2.0**-100
"""Blocks of activations whose largest magnitude is not above this count as zeros in 8 bits."""


def packed_width(k: int, bits: int) -> int:
    """Bytes of a row of k integers."""
    return -(-k * bits // 8)


def unpacked(w: np.ndarray, k: int, bits: int) -> np.ndarray:
    """Integers u8 [N, k] of 4 or 8 bits from packed rows, the first of a byte in its lowest bits."""
    if bits == 8:
        return w
    pairs = np.empty((*w.shape, 2), np.uint8)
    np.bitwise_and(w, 15, out=pairs[..., 0])
    np.right_shift(w, 4, out=pairs[..., 1])
    return pairs.reshape(w.shape[0], -1)[:, :k]


def packed(integers: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of `unpacked`: rows of u8 below 2**bits, packed into bytes."""
    if bits == 8:
        return integers
    n, k = integers.shape
    even = np.zeros((n, k + k % 2), np.uint8)
    even[:, :k] = integers
    return np.asarray(even[:, ::2] | even[:, 1::2] << 4)
