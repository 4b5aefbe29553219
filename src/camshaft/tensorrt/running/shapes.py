"""The shapes of a context: what was set, what is missing, and what follows for outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from camshaft.errors import ShapeError
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.plan import Triple
from camshaft.tensorrt.running.device import Array
from camshaft.tensorrt.running.ends import shapes_given

if TYPE_CHECKING:
    from camshaft.tensorrt.running.engine import ICudaEngine

Shape = tuple[int, ...]
_QUICK = frozenset((tuple, Dims))
"""Kinds of shapes that say by `==` whether they are the same."""


class Shapes:
    """Of one context.  values: elements of inputs that say shapes, where `set_shape_input` said them."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.profile = 0
        self.select(0)

    def select(self, profile: int) -> None:
        """Go to another profile, and forget shapes.  ShapeError if there is none of this index."""
        count = len(self._engine._profiles)
        if not 0 <= profile < count:
            raise ShapeError(f"there is no optimization profile {profile}; the engine has {count}")
        self.profile = profile
        self.values: dict[str, Shape] = {}
        self._set: dict[str, Shape] = {}
        self._outputs: dict[str, Shape] | None = None
        for end in self._engine._ends.values():
            triple = self._triple(end.name)
            if not end.is_input:
                continue
            if -1 not in end.shape:
                self._set[end.name] = end.shape
            elif triple is not None and triple[0] == triple[2]:
                self._set[end.name] = triple[0]

    def _triple(self, name: str) -> Triple | None:
        return self._engine._profiles[self.profile].shapes.get(name)

    def is_set(self, name: str, shape: object) -> bool:
        """Whether an input has just this shape, by a quick look."""
        return type(shape) in _QUICK and self._set.get(name) == shape

    def set(self, name: str, shape: Shape) -> bool:
        """Set the shape of an input; whether it is another.  ShapeError where the profile does not allow it."""
        end = self._engine._ends.get(name)
        if end is None or not end.is_input:
            raise ShapeError(f"tensor {name!r} is no input of the engine")
        if self._set.get(name) == shape:
            return False
        if len(shape) != len(end.shape):
            raise ShapeError(
                f"input {name!r} has {len(end.shape)} axes, and the shape {shape} {len(shape)}"
            )
        low, _, high = self._triple(name) or (end.shape,) * 3
        if not all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True)):
            raise ShapeError(
                f"input {name!r}: shape {shape} is not within {low} to {high} of optimization profile {self.profile}"
            )
        self._set[name], self._outputs = shape, None
        return True

    def set_values(self, name: str, values: Shape) -> None:
        """Set the elements of an input that says shapes.  ShapeError where the profile does not allow them."""
        triple = self._engine._profiles[self.profile].values.get(name)
        if triple is not None:
            low, _, high = triple
            if len(values) != len(low) or not all(
                a <= v <= b for a, v, b in zip(low, values, high, strict=True)
            ):
                raise ShapeError(
                    f"input {name!r}: values {values} are not within {low} to {high} of optimization profile {self.profile}"
                )
        self.values[name] = values

    def missing(self) -> list[str]:
        """Inputs whose shapes are not set."""
        return [
            e.name for e in self._engine._ends.values() if e.is_input and e.name not in self._set
        ]

    def of(self, name: str) -> Shape:
        """The shape of an input, -1 where it is not known.  KeyError of what is no input."""
        end = self._engine._ends[name]
        return self._set.get(name, end.shape)

    def value_array(self, name: str) -> Array | None:
        """The elements of an input that says shapes, where they were set."""
        if name not in self.values:
            return None
        end = self._engine._ends[name]
        return np.array(self.values[name], end.dtype).reshape(self.of(name))

    def outputs(self, elements: Mapping[str, Array]) -> dict[str, Shape]:
        """Shapes of all outputs, hidden ones as well, -1 along axes that only a run finds.

        elements: of inputs that say shapes.  ShapeError for shapes that the engine does not take together.
        """
        if self._outputs is not None and not elements:
            return self._outputs
        engine = self._engine
        found = shapes_given(engine._engine, engine._all, {**self._set, **elements})
        self._outputs = None if elements else found
        return found
