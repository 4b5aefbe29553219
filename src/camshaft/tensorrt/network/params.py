"""Properties of layers: what they take, and what they show."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.tensorrt.dims import Dims, DimsHW, Permutation, extents
from camshaft.tensorrt.enums.base import Enumeration
from camshaft.tensorrt.weights import Weights, weights_of

if TYPE_CHECKING:
    from camshaft.tensorrt.network.layer import ILayer

Take = Callable[[Any, str], Any]
"""What an assigned value is kept as.  TypeError or ValueError, that names the property, for what it does not take."""


class Param(property):
    """A property that says how its layer computes; assigning it makes the layer's results new.

    least: of numbers; an assignment of less is an error in the log, and changes nothing.
    """

    def __init__(
        self,
        take: Take,
        doc: str,
        show: Callable[[Any], Any] | None = None,
        least: int | None = None,
    ) -> None:
        self._take, self._show, self.least = take, show, least
        super().__init__(self._get, self._set, doc=doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def _get(self, layer: ILayer) -> Any:
        value = layer._record.param(self._name)
        return value if self._show is None else self._show(value)

    def _set(self, layer: ILayer, value: Any) -> None:
        record, taken = layer._record, self._take(value, self._name)
        try:
            check_least(self._name, taken, self.least)
        except ModelError as error:
            record.graph._refuse(f"layer {record.name!r}: {error}")
            return
        record.assign(self._name, taken)


def check_least(name: str, value: Any, least: int | None) -> None:
    """ModelError where a number, or one of a sequence of them, is below the least."""
    numbers = value if isinstance(value, tuple) else (value,)
    if least is not None and any(n < least for n in numbers):
        raise ModelError(f"{name}={value} must be {least} or more")


def whole(value: Any, name: str) -> int:
    """A whole number."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be a whole number") from None


def number(value: Any, name: str) -> float:
    """A number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} must be a number") from None


def flag(value: Any, name: str) -> bool:
    """A bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r} must be a bool")
    return bool(value)


def text(value: Any, name: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} must be a str")
    return value


def numbers(value: Any, name: str) -> tuple[float, ...]:
    """A sequence of numbers."""
    try:
        return tuple(float(v) for v in value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} must be a sequence of numbers") from None


def order(value: Any, name: str) -> tuple[int, ...]:
    """A permutation: the source of each axis; those that were not said are 0."""
    return tuple(value if isinstance(value, Permutation) else Permutation(value))


def maybe_weights(value: Any, name: str) -> Weights:
    """Weights, an array, or None for none."""
    return Weights() if value is None else weights_of(value, name)


def member(kind: type[Enumeration]) -> Take:
    """A member of an enum."""

    def take(value: Any, name: str) -> Enumeration:
        if not isinstance(value, kind):
            raise TypeError(f"{name}={value!r} must be a member of {kind.__name__}")
        return value

    return take


def shown_dims(value: tuple[int, ...]) -> Dims:
    """As Dims."""
    return Dims(value)


def dims(doc: str, least: int | None = None) -> Param:
    """A property of type Dims."""
    return Param(extents, doc, shown_dims, least)


def plane(of: str) -> property:
    """Two extents under the name that releases before 10 had for images only.  of: the property that holds them."""

    def read(layer: ILayer) -> DimsHW:
        return DimsHW(getattr(layer, of))

    def write(layer: ILayer, value: Any) -> None:
        setattr(layer, of, DimsHW(value))

    return property(read, write, doc=f"`{of}` of an image: height and width.")


def held_weights(doc: str) -> Param:
    """A property of type Weights, that shows an array."""
    return Param(maybe_weights, doc, lambda weights: weights.numpy())
