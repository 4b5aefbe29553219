"""Stride arithmetic: when is a reshape, slice, transpose or broadcast only another way to look.

Pure functions on shapes and element strides; the build decides with them which ops cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, TypeVar

from camshaft.ir.extents.extent import Extent, exact_quotient
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.types import Shape, row_major_strides

Strides = tuple[Extent, ...]


def is_dense(shape: Shape, strides: Strides) -> bool:
    """Whether elements lie row-major without gaps (strides of unit axes do not matter)."""
    dense = row_major_strides(shape)
    return all(d == 1 or s == t for d, s, t in zip(shape, strides, dense, strict=True))


def span(shape: Shape, strides: Strides) -> Extent:
    """Elements from the first to one past the last that a (non-negative) view touches.

    Symbolic extents count as above 0.
    """
    if 0 in shape:
        return 0
    return 1 + sum((d - 1) * s for d, s in zip(shape, strides, strict=True))


def reshaped(shape: Shape, strides: Strides, new_shape: Shape) -> Strides | None:
    """Strides under which the same memory reads as `new_shape` in row-major order, or None.

    The rule is NumPy's no-copy reshape: axes are grouped where products of extents meet, and
    inside a group the old axes must be mergeable (stride[i] == extent[i+1] * stride[i+1]).
    None too where symbolic extents leave open how the axes group.
    """
    if 0 in shape or (not is_static((*shape, *new_shape)) and is_dense(shape, strides)):
        return row_major_strides(new_shape)
    old = [(d, s) for d, s in zip(shape, strides, strict=True) if d != 1]
    new = [d for d in new_shape if d != 1]
    result: list[Extent] = []
    i = j = 0
    while i < len(old) or j < len(new):
        if i >= len(old) or j >= len(new):
            return None
        have, want = old[i][0], new[j]
        i_end, j_end = i + 1, j + 1
        while have != want:
            short = is_short(have, want)
            if short is None:
                return None
            if short:
                if i_end >= len(old):
                    return None
                have *= old[i_end][0]
                i_end += 1
            else:
                if j_end >= len(new):
                    return None
                want *= new[j_end]
                j_end += 1
        for a in range(i, i_end - 1):
            if old[a][1] != old[a + 1][0] * old[a + 1][1]:
                return None
        step = old[i_end - 1][1]
        group: list[Extent] = []
        for d in reversed(new[j:j_end]):
            group.append(step)
            step *= d
        result += reversed(group)
        i, j = i_end, j_end
    return _with_unit_axes(new_shape, result)


def is_short(have: Extent, want: Extent) -> bool | None:
    """Whether a product of extents must grow to equal another; None where that is not known."""
    if not (isinstance(have, int) and isinstance(want, int)):
        if exact_quotient(want, have) is not None:
            return True
        if exact_quotient(have, want) is not None:
            return False
    try:
        return have < want
    except UndecidedExtent:
        return None


def _with_unit_axes(shape: Shape, strides: Sequence[Extent]) -> Strides:
    """Spread strides of the non-unit axes over `shape`; unit axes get their neighbours' reach."""
    remaining = list(strides)
    full: list[Extent] = [0] * len(shape)
    reach: Extent = 1
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] == 1:
            full[axis] = reach
        else:
            full[axis] = remaining.pop()
            reach = full[axis] * shape[axis]
    return tuple(full)


def inner_is_unit(shape: Shape, strides: Strides) -> bool:
    """Whether the last axis is contiguous (or has one element)."""
    return not shape or shape[-1] == 1 or strides[-1] == 1


# -- strided views, as ops know them ---------------------------------------------------------------


class Strided(Protocol):
    """A strided view of memory (a program's `View`), and how other views are made of it."""

    def transposed(self, perm: Sequence[int]) -> Self:
        """Axis i of the result is axis perm[i]."""
        ...

    def sliced(self, starts: Sequence[Extent], steps: Sequence[int], shape: Shape) -> Self:
        """Every steps[i]-th element of axis i from starts[i] on, shape[i] of them."""
        ...

    def broadcast(self, shape: Shape) -> Self:
        """Repeated as NumPy broadcasts."""
        ...

    def reshaped(self, shape: Shape) -> Self | None:
        """The same elements in row-major order as `shape`, None where no strides read them so."""
        ...


V = TypeVar("V", bound=Strided)


class ViewOf(Protocol):
    """An op's output as a view of its input.  shape: of the output.  None: it must be copied."""

    def __call__(self, source: V, shape: Shape, attrs: Any) -> V | None: ...


class PartsOf(Protocol):
    """An op's inputs as views of its output.  shapes: of the inputs."""

    def __call__(self, whole: V, shapes: Sequence[Shape], attrs: Any) -> list[V]: ...
