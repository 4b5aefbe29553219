"""What classes of the API have in common: `with`, that some are made by methods only, that most take no attributes beside their own."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

T = TypeVar("T")


def common_enter(this: T) -> T:
    """Begin a `with` block: the object itself, and a DeprecationWarning."""
    warnings.warn(
        "`with` does nothing for TensorRT's objects: memory goes when the last reference goes",
        DeprecationWarning,
        stacklevel=2,
    )
    return this


def common_exit(this: object, exc_type: Any, exc_value: Any, traceback: Any) -> None:
    """End a `with` block: nothing happens, and the object stays usable."""


class Scoped:
    """A class whose objects `with` takes; leaving the block does nothing."""

    __slots__ = ()

    __enter__ = common_enter
    __exit__ = common_exit


class Result:
    """A class whose objects only methods of the API make: calling it is a TypeError.

    Our own code makes them by a classmethod of the class, `_made`, which starts from `cls.__new__(cls)`.
    """

    __slots__ = ()

    def __init__(self, *args: object, **named: object) -> None:
        raise TypeError(
            f"{type(self).__name__}: no constructor defined; methods of other objects return it"
        )


class Closed:
    """A class whose objects have no attributes but those it says: others are an AttributeError, so that a misspelled property, or one
    that the release in question lacks, is no assignment without effect.  Classes that scripts derive are open.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            kind = type(self)
            if not hasattr(kind, name) and kind.__module__.startswith(_OURS):
                raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
        super().__setattr__(name, value)


_OURS = f"{__name__.partition('.')[0]}."
