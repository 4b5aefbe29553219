"""Attributes by kind.  An `Attr` has one of several types; its reader knows which.

A wrong kind is a programming mistake (`OpDef.infer` has seen the attributes), hence assertions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeGuard

from camshaft.ir.expr import Expr, at_sizes, extents_in
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.op import Attr, Attrs


class Holder(Protocol):
    """What has attributes: a node, or the spec of a kernel."""

    @property
    def attrs(self) -> Attrs | tuple[tuple[str, Attr], ...]: ...


def int_attr(holder: Holder, name: str, default: int | None = None) -> int:
    """The integer attribute `name`; KeyError if it is absent and there is no default."""
    value = _value(holder, name, default)
    assert isinstance(value, int), f"{name} is {value!r}"
    return value


def extent_attr(holder: Holder, name: str, default: int | None = None) -> Extent:
    """Like `int_attr`, for an extent, which may be symbolic."""
    value = _value(holder, name, default)
    assert isinstance(value, int | Dim), f"{name} is {value!r}"
    return value


def ints_attr(holder: Holder, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Like `int_attr`, for a tuple of integers; UndecidedExtent if one is open."""
    value = _value(holder, name, default)
    assert _are_extents(value), f"{name} is {value!r}"
    return fixed(value, f"attribute {name!r}")


def extents_attr(holder: Holder, name: str) -> tuple[Extent, ...]:
    """Like `ints_attr`, for extents, which may be symbolic."""
    value = _value(holder, name, None)
    assert _are_extents(value), f"{name} is {value!r}"
    return value


def expr_attr(holder: Holder, name: str, default: Expr | None = None) -> Expr:
    """Like `int_attr`, for an expression."""
    value = _value(holder, name, default)
    assert isinstance(value, Expr), f"{name} is {value!r}"
    return value


def axis_attr(holder: Holder, rank: int, default: int | None = None) -> int:
    """The attribute "axis", counted from the front of `rank` axes."""
    return int_attr(holder, "axis", default) % rank


def _are_extents(value: Attr) -> TypeGuard[tuple[Extent, ...]]:
    return isinstance(value, tuple) and all(isinstance(v, int | Dim) for v in value)


def _value(holder: Holder, name: str, default: Attr | None) -> Attr:
    attrs = dict(holder.attrs)
    return attrs[name] if default is None else attrs.get(name, default)


def symbolic_in(value: Attr) -> tuple[Dim, ...]:
    """The symbolic extents in an attribute."""
    if isinstance(value, Dim):
        return (value,)
    if isinstance(value, Expr):
        return extents_in(value)
    if isinstance(value, tuple):
        return tuple(v for v in value if isinstance(v, Dim))
    return ()


def is_open(attrs: Attrs) -> bool:
    """Whether symbols occur in any attribute."""
    return any(symbolic_in(value) for value in attrs.values())


def attr_at(value: Attr, size: Callable[[Extent], Extent]) -> Attr:
    """The attribute with `size` applied to its extents."""
    if isinstance(value, Dim):
        return size(value)
    if isinstance(value, Expr):
        return at_sizes(value, size) if extents_in(value) else value
    if _are_extents(value):
        return tuple(size(v) if isinstance(v, Dim) else v for v in value)
    return value
