"""`IOptimizationProfile`: the shapes that an engine is built for."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

from camshaft.tensorrt.dims import Dims, extents
from camshaft.tensorrt.network.params import number, text
from camshaft.tensorrt.objects import Closed, Result
from camshaft.tensorrt.plan import Ranges, Triple


class IOptimizationProfile(Closed, Result):
    """Least, typical and most shapes of inputs, and elements of inputs that say shapes."""

    _shapes: dict[str, Triple]
    _values: dict[str, Triple]
    _target: float

    @classmethod
    def _made(cls) -> IOptimizationProfile:
        made = cls.__new__(cls)
        made._shapes, made._values, made._target = {}, {}, 1.0
        return made

    def set_shape(
        self,
        input: str,
        min: Iterable[SupportsIndex],
        opt: Iterable[SupportsIndex],
        max: Iterable[SupportsIndex],
    ) -> None:
        """Say the shapes of an input.  RuntimeError unless they are of one rank and ascend; an unknown name is found by the
        build."""
        shapes = extents(min, "min"), extents(opt, "opt"), extents(max, "max")
        if any(d < 0 for shape in shapes for d in shape):
            raise RuntimeError(f"profile of {input!r}: {shapes} has extents below 0; say all")
        self._shapes[text(input, "input")] = _ascending(input, shapes)

    def get_shape(self, input: str) -> list[Dims]:
        """[min, opt, max]; [] if they are not set."""
        return [Dims(shape) for shape in self._shapes.get(input, ())]

    def set_shape_input(
        self,
        input: str,
        min: Iterable[SupportsIndex],
        opt: Iterable[SupportsIndex],
        max: Iterable[SupportsIndex],
    ) -> None:
        """Say the elements of an input that says shapes.  RuntimeError unless they are as many and ascend."""
        values = _whole(min, "min"), _whole(opt, "opt"), _whole(max, "max")
        self._values[text(input, "input")] = _ascending(input, values)

    def get_shape_input(self, input: str) -> list[list[int]]:
        """[min, opt, max]; [] if they are not set."""
        return [[*values] for values in self._values.get(input, ())]

    @property
    def extra_memory_target(self) -> float:
        """Kept; nothing hangs on it."""
        return self._target

    @extra_memory_target.setter
    def extra_memory_target(self, target: float) -> None:
        self._target = number(target, "extra_memory_target")

    def __bool__(self) -> bool:
        """Whether the profile can be added to a configuration: all that it was told ascends."""
        return True

    def _ranges(self) -> Ranges:
        """What was said."""
        return Ranges(dict(self._shapes), dict(self._values))


def _whole(values: Iterable[SupportsIndex], what: str) -> tuple[int, ...]:
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise TypeError(f"{what}={values!r} must be a sequence of whole numbers") from None


def _ascending(name: str, triple: Triple) -> Triple:
    """The three; RuntimeError unless they are of one length and ascend."""
    low, typical, high = triple
    if not len(low) == len(typical) == len(high):
        raise RuntimeError(
            f"profile of {name!r}: min {low}, opt {typical} and max {high} differ in length"
        )
    if not all(a <= b <= c for a, b, c in _zipped(triple)):
        raise RuntimeError(
            f"profile of {name!r}: min {low} <= opt {typical} <= max {high} must hold along every axis"
        )
    return triple


def _zipped(triple: Sequence[tuple[int, ...]]) -> Iterable[tuple[int, ...]]:
    return zip(*triple, strict=True)
