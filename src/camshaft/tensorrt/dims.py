"""Shapes: `Dims` and its kin of fixed length, permutations, and the product of extents."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final, SupportsIndex, overload

MAX_DIMS: Final = 8


def volume(iterable: Iterable[int]) -> int:
    """The product: elements of a tensor of that shape, 1 of none.  An open extent counts as its -1."""
    product = 1
    for extent in iterable:
        product *= extent
    return product


def extents(shape: Iterable[SupportsIndex], what: str) -> tuple[int, ...]:
    """What an argument of type Dims says: of a Dims, a list, a tuple, a torch.Size.

    what: the argument's name.  TypeError if it holds anything but whole numbers, ValueError if more than 8.
    """
    try:
        found = tuple(operator.index(extent) for extent in shape)
    except TypeError:
        raise TypeError(f"{what}={shape!r} must be a sequence of whole numbers") from None
    if len(found) > MAX_DIMS:
        raise ValueError(f"{what} has {len(found)} extents; {MAX_DIMS} are the most")
    return found


class Dims:
    """A shape: a list of at most 8 ints, of fixed length, that prints and compares as a tuple does.

    An index outside is an IndexError, a slice a tuple.  No hash, since extents can be assigned.
    """

    __slots__ = ("_extents",)

    MAX_DIMS: ClassVar[int] = MAX_DIMS

    def __init__(self, shape: Iterable[SupportsIndex] = ()) -> None:
        """TypeError if an extent is no whole number, ValueError if there are more than 8."""
        self._extents = list(extents(shape, "shape"))

    def __len__(self) -> int:
        return len(self._extents)

    def __iter__(self) -> Iterator[int]:
        return iter(self._extents)

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | tuple[int, ...]:
        if isinstance(index, slice):
            return tuple(self._extents[index])
        return self._extents[index]

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        """value: an extent, or of a slice as many as it has.  ValueError if they are more or fewer: the length stays."""
        if not isinstance(index, slice):
            (self._extents[index],) = extents((value,), "extent")
            return
        new, old = extents(value, "extents"), self._extents[index]
        if len(new) != len(old):
            raise ValueError(f"a slice of {len(old)} extents takes no {len(new)}")
        self._extents[index] = new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dims | list | tuple):
            return NotImplemented
        return tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self._extents))


class _Fixed(Dims):
    """A shape of a fixed number of extents, which have names."""

    __slots__ = ()

    _names: ClassVar[tuple[str, ...]]

    def __init__(self, *sizes: Any, **named: Any) -> None:
        """Of the extents one by one, by place or name; of a sequence of them, `shape`; of nothing: zeros.

        TypeError if there are more or fewer, ValueError if the sequence has more or fewer.
        """
        count = len(self._names)
        if named:
            names = ("shape",) if "shape" in named else self._names[len(sizes) :]
            if set(names) != set(named):
                raise TypeError(
                    f"{type(self).__name__} has the extents {', '.join(self._names)}, or a shape"
                )
            sizes += tuple(named[name] for name in names)
        if len(sizes) not in (0, 1, count):
            raise TypeError(f"{type(self).__name__} has {count} extents, not {len(sizes)}")
        super().__init__(sizes[0] if len(sizes) == 1 else sizes or (0,) * count)
        if len(self) != count:
            raise ValueError(
                f"{type(self).__name__} has {count} extents, and shape={tuple(self)} not"
            )


class Dims2(_Fixed):
    """Two extents."""

    __slots__ = ()
    _names = ("dim0", "dim1")


class DimsHW(Dims2):
    """Height and width."""

    __slots__ = ()
    _names = ("h", "w")

    @property
    def h(self) -> int:
        """Height."""
        return self[0]

    @h.setter
    def h(self, height: int) -> None:
        self[0] = height

    @property
    def w(self) -> int:
        """Width."""
        return self[1]

    @w.setter
    def w(self, width: int) -> None:
        self[1] = width


class Dims3(_Fixed):
    """Three extents."""

    __slots__ = ()
    _names = ("dim0", "dim1", "dim2")


class Dims4(_Fixed):
    """Four extents."""

    __slots__ = ()
    _names = ("dim0", "dim1", "dim2", "dim3")


class Permutation:
    """Where axes come from: 8 ints whatever the rank, of which those that are not said are 0.  Equal only to itself."""

    __slots__ = ("_order",)

    def __init__(self, order: Iterable[SupportsIndex] = ()) -> None:
        """order: the source of each axis.  TypeError if it is no sequence of whole numbers, ValueError if of more than 8."""
        said = extents(order, "order")
        self._order = [*said, *(0,) * (MAX_DIMS - len(said))]

    def __len__(self) -> int:
        return MAX_DIMS

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __getitem__(self, index: SupportsIndex) -> int:
        return self._order[operator.index(index)]

    def __setitem__(self, index: SupportsIndex, axis: SupportsIndex) -> None:
        self._order[operator.index(index)] = operator.index(axis)

    def __repr__(self) -> str:
        return repr(tuple(self._order))
