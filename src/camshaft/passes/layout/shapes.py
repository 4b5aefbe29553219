"""Arithmetic of axis orders for the layout pass; pure functions on tuples.

A *version* of a tensor under p is `transpose(tensor, p)`: its axis j is the tensor's axis p[j].
"""

from __future__ import annotations

from math import prod

from camshaft.ir.op import Perm
from camshaft.ir.strides import is_short
from camshaft.ir.types import Shape

CHANNELS_LAST: Perm = (0, 2, 3, 1)
"""Images [N, H, W, C], seen from [N, C, H, W]."""
CHANNELS_FIRST: Perm = (0, 3, 1, 2)
"""Images [N, C, H, W], seen from [N, H, W, C]."""


def identity(rank: int) -> Perm:
    """The order of the model itself."""
    return tuple(range(rank))


def relative(have: Perm, want: Perm) -> Perm:
    """The transpose that turns the version under `have` into the version under `want`."""
    return tuple(have.index(a) for a in want)


def is_reshape(shape: Shape, perm: Perm) -> bool:
    """Whether `transpose(x, perm)` of an x of this shape moves nothing but axes of extent one."""
    moved = [a for a in perm if shape[a] != 1]
    return moved == sorted(moved)


def renamed(have: Perm, perm: Perm) -> Perm:
    """The version of x under `have`, seen as a version of y = transpose(x, perm)."""
    return tuple(perm.index(a) for a in have)


def reshaped_perm(shape: Shape, out_shape: Shape, have: Perm) -> Perm | None:
    """Order of the result when a reshape is done on the version under `have`, or None.

    Possible where the axes that the reshape merges lie side by side and in order in that
    version.  Axes of extent one may lie anywhere.
    """
    groups = _groups(shape, out_shape)
    if groups is None:
        return None
    stored = [a for a in have if shape[a] != 1]
    made: list[int] = []
    at = 0
    by_first = {ins[0]: (ins, outs) for ins, outs in groups}
    while at < len(stored):
        ins, outs = by_first.get(stored[at], ((), ()))
        if not ins or tuple(stored[at : at + len(ins)]) != ins:
            return None
        made += outs
        at += len(ins)
    return _with_unit_axes(out_shape, made)


def grouped_perms(shape: Shape, out_shape: Shape, have: Perm) -> tuple[Perm, ...]:
    """The orders nearest to `have` in which the reshape can be done (see `reshaped_perm`).

    The axes of each merged or split run are brought together where the first of them lies, or the last.
    """
    groups = _groups(shape, out_shape)
    if groups is None:
        return (identity(len(shape)),)
    run_of = {a: ins for ins, _ in groups for a in ins}
    units = [a for a in range(len(shape)) if shape[a] == 1]
    stored = [a for a in have if a not in units]
    by_first = dict.fromkeys(run_of[a] for a in stored)
    by_last = dict.fromkeys(run_of[a] for a in reversed(stored))
    orders = (list(by_first), list(by_last)[::-1])
    return tuple((*units, *(a for run in order for a in run)) for order in orders)


def _groups(shape: Shape, out_shape: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """Smallest runs of axes (longer than one element) that a reshape maps onto each other."""
    if prod(shape) == 0:
        return None
    ins = [a for a, d in enumerate(shape) if d != 1]
    outs = [a for a, d in enumerate(out_shape) if d != 1]
    groups = []
    i = j = 0
    while i < len(ins) or j < len(outs):
        if i == len(ins) or j == len(outs):
            return None  # an open extent that must be 1
        first_i, first_j = i, j
        left, right = shape[ins[i]], out_shape[outs[j]]
        i, j = i + 1, j + 1
        while left != right:
            short = is_short(left, right)
            if short is None or (i if short else j) == len(ins if short else outs):
                return None  # symbolic extents leave open how the axes group
            if short:
                left *= shape[ins[i]]
                i += 1
            else:
                right *= out_shape[outs[j]]
                j += 1
        groups.append((tuple(ins[first_i:i]), tuple(outs[first_j:j])))
    return groups


def _with_unit_axes(out_shape: Shape, made: list[int]) -> Perm:
    """Put the axes of extent one where the order becomes a familiar one."""
    units = [a for a, d in enumerate(out_shape) if d == 1]
    for familiar in (identity(len(out_shape)), CHANNELS_LAST):
        same_rank = len(familiar) == len(out_shape)
        if same_rank and [a for a in familiar if out_shape[a] != 1] == made:
            return familiar
    return (*units, *made)
