"""Properties of objects that scripts subclass: kept in the object's own `__dict__`, which clones copy."""

from __future__ import annotations

from typing import Any


class Stored(property):
    """A property that keeps what is assigned to it.  Missing: AttributeError, or the default where there is one."""

    def __init__(self, doc: str, *default: Any) -> None:
        self._default = default
        super().__init__(self._get, self._set, doc=doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def _get(self, owner: Any) -> Any:
        key = f"_{self._name}"
        if key in owner.__dict__:
            return owner.__dict__[key]
        if not self._default:
            raise AttributeError(
                f"{type(owner).__name__}.{self._name} is not set; assign it in the constructor"
            )
        return self._default[0]

    def _set(self, owner: Any, value: Any) -> None:
        owner.__dict__[f"_{self._name}"] = value
