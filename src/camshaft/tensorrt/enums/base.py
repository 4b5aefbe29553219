"""Enum classes that behave as pybind11's do, which Python's own do not: they print as `Class.MEMBER`, have `int()`, and
equal no int.

`camshaft.tensorrt.eras` says which values the members have.
"""

from __future__ import annotations

import operator
from typing import Any, ClassVar, SupportsIndex, TypeVar

from camshaft.tensorrt.eras import enum_values

E = TypeVar("E", bound="Enumeration")

_HIDDEN = 64
"""Added to the values of names that the current era hides: our own tables hold them, and no value of a script equals them."""


class Member:
    """A member of the enum class in whose body it stands, by its value: `FLOAT = Member(0)`."""

    def __init__(self, value: int) -> None:
        """value: that of TensorRT 10.16 where that has the name."""
        self.value = value

    def __set_name__(self, owner: type[Enumeration], name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type[E]) -> E:
        member: E = owner._all[self._name]
        return member


class _Visible:
    """`DataType.__members__`: name -> member in the order of definition, of the class and of its objects."""

    def __get__(self, instance: object, owner: type[E]) -> dict[str, E]:
        return {name: owner._all[name] for name in owner._visible}


class _Entries:
    """pybind11's `DataType.__entries`: name -> (member, documentation); tools tell enums by it."""

    def __get__(self, instance: object, owner: type[E]) -> dict[str, tuple[E, None]]:
        return {name: (owner._all[name], None) for name in owner._visible}


class Enumeration:
    """An int with a name.  Any int makes one; where no member has the value, the name is `???`.

    Equal are objects of the same class and value; no enum equals an int, and `|` and `<<` need `int(...)`.
    """

    __members__ = _Visible()
    _all: ClassVar[dict[str, Any]]
    _visible: ClassVar[tuple[str, ...]]
    """The names that scripts see in the current era."""

    def __init_subclass__(cls) -> None:
        values = {name: m.value for name, m in vars(cls).items() if isinstance(m, Member)}
        of_era = enum_values(cls.__name__)
        cls._visible = tuple(values if of_era is None else of_era)
        if of_era is not None:
            values = {name: _HIDDEN + value for name, value in values.items()} | of_era
        cls._all = {name: cls(value) for name, value in values.items()}

    def __init__(self, value: SupportsIndex) -> None:
        """TypeError if `value` is no whole number, as a member's name is not."""
        try:
            self._value = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{type(self).__name__}({value!r}): takes an int; a member's name is looked up by getattr"
            ) from None

    @property
    def name(self) -> str:
        """The first member of this value; `???` if there is none."""
        return next((n for n in self._visible if self._all[n] == self), "???")

    @property
    def value(self) -> int:
        """The number."""
        return self._value

    def __int__(self) -> int:
        return self._value

    __index__ = __hash__ = __int__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __repr__(self) -> str:
        return f"<{self}: {self._value}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._value,)


setattr(Enumeration, "__entries", _Entries())  # in the class's body the name would be mangled


class Ordered(Enumeration):
    """An enum whose members have an order, that of their values.  TypeError beside anything but an object of the class."""

    def __lt__(self, other: object) -> bool:
        return self._value < other._value if type(other) is type(self) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self._value <= other._value if type(other) is type(self) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self._value > other._value if type(other) is type(self) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self._value >= other._value if type(other) is type(self) else NotImplemented
