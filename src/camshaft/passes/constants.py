"""Functions of constants that several passes make others of (see `GraphBuilder.derived`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def in_shape(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The array in another shape."""
    return array.reshape(shape)


def ordered(array: np.ndarray, axis: int, order: Sequence[int]) -> np.ndarray:
    """The array with what lies along an axis in another order: position i gets what was at order[i]."""
    return np.ascontiguousarray(array.take(order, axis))
