"""Numbers that inputs are given on the command line for one run: `--values maxlen=5` of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from camshaft.errors import ConfigError
from camshaft.ir.extents.said import Value, flat_values
from camshaft.ir.types import Shape, TensorType
from camshaft.runtime.engine import Engine

Arrays = dict[str, np.ndarray]
MOST = 64
"""Elements of an input that are typed rather than read from a file."""


def numbers_for(engine: Engine, values: Mapping[str, Value]) -> Arrays:
    """The arrays that `--values` of an engine gives its integer and bool inputs, but for those that say sizes
    by their elements (`shapes.sizes_for`).

    ConfigError names an input that the engine has not, or that holds something else.
    """
    saying = {b.name for b in engine.program.valued}
    types = {b.name: b.type for b in engine.program.inputs if not b.type.dtype.is_float}
    made: Arrays = {}
    for name, value in values.items():
        if name in saying:
            continue
        if name in engine.fixed_inputs:
            raise ConfigError(
                f"--values names {name!r}, which the build fixed to {engine.fixed_inputs[name].tolist()}; "
                "leave it out, or rebuild"
            )
        if name in engine.inputs and name not in types:
            raise ConfigError(
                f"--values of an engine are integers and bools, and input {name!r} holds "
                f"{engine.inputs[name]!r}; give it with --input {name}=FILE.npy"
            )
        if name not in types:
            known = ", ".join([*saying, *(n for n in types if n not in saying)])
            raise ConfigError(
                f"--values names {name!r}; the engine's integer and bool inputs are {known or 'none'}"
            )
        made[name] = _array(name, value, types[name])
    return made


def _array(name: str, value: Value, type_: TensorType) -> np.ndarray:
    """The numbers as an array of the input's type and rank."""
    numbers = flat_values(value)
    for number in numbers:
        if not type_.dtype.takes(number):
            raise ConfigError(f"--values: input {name!r} holds {type_.dtype}, not {number!r}")
    if len(numbers) > MOST:
        raise ConfigError(
            f"--values gives input {name!r} {len(numbers)} numbers; give more than {MOST} with "
            f"--input {name}=FILE.npy"
        )
    shape = _shape(type_.shape, len(numbers))
    if shape is None:
        raise ConfigError(
            f"--values gives input {name!r} {len(numbers)} numbers, and it is {type_!r}; give so many, or "
            f"--input {name}=FILE.npy"
        )
    return np.array(numbers, type_.dtype.numpy).reshape(shape)


def _shape(declared: Shape, count: int) -> tuple[int, ...] | None:
    """The shape of an array of so many elements, of which one extent at most is open; None if it has
    others."""
    known = prod(d for d in declared if isinstance(d, int))
    free = [i for i, d in enumerate(declared) if not isinstance(d, int)]
    if not known or count % known or (count != known and len(free) != 1):
        return None
    return tuple(d if isinstance(d, int) else count // known for d in declared)
