"""Values of operands that kernels are tried on."""

from __future__ import annotations

import numpy as np

from camshaft.errors import BuildError
from camshaft.ir.types import DType, f8e8m0


def random_values(
    dtype: DType, count: int, rng: np.random.Generator, valid: tuple[int, int] | None = None
) -> np.ndarray:
    """Plausible operand values: normal floats, integers of a range that is typical of the type.

    valid: the least and the greatest integer that the operand may hold; None if it may hold any.
    BuildError if it may hold none.
    """
    if dtype.is_float:
        drawn = rng.standard_normal(count, np.float32)
        return np.asarray(np.abs(drawn) if dtype == f8e8m0 else drawn, dtype.numpy)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, count), np.bool_)
    low, high = dtype.range if dtype.bits <= 16 else (-1000, 1000)
    if valid is not None:
        low, high = max(valid[0], dtype.range[0]), min(valid[1], dtype.range[1])
    low = max(low, -(1 << 15)) if valid is None else low
    if low > high:
        raise BuildError(f"an operand of {count} integers must lie between {low} and {high}")
    return np.asarray(rng.integers(low, high, count, endpoint=True), dtype.numpy)
