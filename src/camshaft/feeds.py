"""Arrays to feed a model with where the user gives none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import BuildError
from camshaft.ir.extents.sizes import typical


def random_feeds(
    inputs: Mapping[str, Any], seed: int = 0, elements: Mapping[str, Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """Arrays for inputs given as name -> TensorType: floats from N(0, 1), integers and bools zero.

    elements: of inputs that say sizes by them.  Open extents have their typical size.
    BuildError for an input that there is no memory for.
    """
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, t in inputs.items():
        shape = tuple(typical(d) for d in t.shape)
        if elements and name in elements:
            feeds[name] = np.array(elements[name], t.dtype.numpy).reshape(shape)
            continue
        try:
            drawn = rng.standard_normal(shape) if t.dtype.is_float else np.zeros(shape)
            feeds[name] = drawn.astype(t.dtype.numpy)
        except (MemoryError, ValueError) as error:  # ValueError: more than addresses reach
            raise BuildError(
                f"no memory for random values of input {name!r}, of shape {shape}; give smaller shapes"
            ) from error
    return feeds
