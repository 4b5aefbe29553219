"""Properties that keep what a script assigns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from camshaft.errors import ConfigError

T = TypeVar("T")
Take = Callable[[Any, str], Any]
"""What an assigned value is kept as.  TypeError or ValueError, that names the property, for what it does not take."""


class Kept(property):
    """A property of objects with a `_kept` dictionary, which holds what was assigned.

    Our own code reads it by `kept`, since a release may lack the property.
    """

    def __init__(self, take: Take, default: Any, doc: str) -> None:
        self._take, self.default = take, default
        super().__init__(self._get, self._set, doc=doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def _get(self, owner: Any) -> Any:
        return owner._kept.get(self._name, self.default)

    def _set(self, owner: Any, value: Any) -> None:
        owner._kept[self._name] = self._take(value, self._name)


def kept(owner: Any, name: str, default: T) -> T:
    """What was assigned to a property, or else `default`."""
    found: T = owner._kept.get(name, default)
    return found


def one_of(kind: type | tuple[type, ...], optional: bool = True) -> Take:
    """Objects of a class, and None where it is optional."""

    def take(value: Any, name: str) -> Any:
        if not (isinstance(value, kind) or (optional and value is None)):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            raise TypeError(f"{name}={value!r} is no {' or '.join(k.__name__ for k in kinds)}")
        return value

    return take


def within(take: Take, low: int, high: int) -> Take:
    """Numbers from `low` to `high`.  ConfigError, which says so, for others."""

    def taken(value: Any, name: str) -> Any:
        found = take(value, name)
        if not low <= found <= high:
            raise ConfigError(f"{name}={value} must be from {low} to {high}")
        return found

    return taken
