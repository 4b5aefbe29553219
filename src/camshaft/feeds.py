"""Arrays to feed a model with where the user gives none, and the arrays among what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def arrays_of(results: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays among results, by name; nothing for None.

    Those of a sequence are called NAME[0], NAME[1], ..., the values of a map NAME['key'], ...; so are those of a
    sequence of maps with the same keys, an array of one element for each map.
    """
    for name, value in results.items():
        if isinstance(value, dict):
            yield from arrays_of({f"{name}[{k!r}]": v for k, v in value.items()})
        elif not isinstance(value, list):
            if value is not None:
                yield name, np.asarray(value)
        elif value and all(isinstance(v, dict) and v.keys() == value[0].keys() for v in value):
            yield from arrays_of({name: {k: np.array([v[k] for v in value]) for k in value[0]}})
        else:
            yield from arrays_of({f"{name}[{i}]": v for i, v in enumerate(value)})
