"""Sampling images at places that a tensor gives, as ONNX's GridSample and PyTorch's grid_sample.

The image becomes a table of pixels, channels adjacent.  A sample is a sum of its neighbours: one gather from
the table for each, and elementwise work for their places and weights.
"""

from __future__ import annotations

from itertools import product
from math import prod

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import f32, i32, i64
from camshaft.ops.functional.core import NoCanonicalForm, emit
from camshaft.ops.functional.elementwise.arithmetic import pointwise
from camshaft.ops.functional.movement.counting import iota
from camshaft.ops.functional.movement.shape import reshape, transpose
from camshaft.ops.functional.movement.slicing import select
from camshaft.ops.movement import GATHER

ZERO, HALF, ONE = E.const(0.0), E.const(0.5), E.const(1.0)
_MODES = ("linear", "nearest", "cubic")
_PADDINGS = ("zeros", "border", "reflection")
_CUBIC = -0.75
_TOGETHER = 4
"""Neighbours that one step adds."""

Taps = list[tuple[Expr, Expr, Expr]]
"""(place along an axis, a whole number in f32; weight; whether it lies inside)."""


def grid_sample(
    builder: GraphBuilder,
    x: Tensor,
    grid: Tensor,
    mode: str = "linear",
    padding_mode: str = "zeros",
    *,
    align_corners: bool = False,
    output: str | None = None,
) -> Tensor:
    """x [N,C,...] at the places of grid [N, out..., axes], of which the last axis comes first: [N,C,out...].

    -1 and 1 are the ends of an axis: its outermost elements with `align_corners`, else their outer borders.
    mode: "linear", "nearest" or "cubic" (Keys 1981, a = -0.75).  Outside is 0 ("zeros"), the nearest element
    ("border") or the image mirrored ("reflection").  For nearest and linear the place itself is moved inside; for cubic
    each of its neighbours.  x and grid are f32, and x has elements, else NoCanonicalForm.
    (Jaderberg et al. 2015.)
    """
    rank = x.type.rank - 2
    if mode not in _MODES or padding_mode not in _PADDINGS:
        raise ModelError(
            f"mode {mode!r} is none of {', '.join(_MODES)}, or padding_mode {padding_mode!r} none of "
            f"{', '.join(_PADDINGS)}"
        )
    misfit = f"the grid {grid.type} does not fit the input {x.type}"
    if rank < 1 or grid.type.rank != rank + 2:
        raise ModelError(misfit)
    if x.type.dtype != f32 or grid.type.dtype != f32 or not all(map(is_positive, x.shape)):
        raise NoCanonicalForm(f"samples f32 images that have elements, not {x.type} at {grid.type}")
    with builder.constraints.learning(f"node {builder.layer!r}"):
        require_equal(grid.shape[-1], rank, misfit)
        batch = require_equal(x.shape[0], grid.shape[0], misfit)
    channels, spatial, out = x.shape[1], x.shape[2:], grid.shape[1:-1]
    places = (batch, prod(out))
    taps = [
        _taps(_place(E.inp(a), size, align_corners), size, mode, padding_mode, align_corners)
        for a, size in enumerate(spatial)
    ]
    at = [reshape(builder, select(builder, grid, -1, rank - 1 - a), places) for a in range(rank)]
    number = reshape(builder, iota(builder, batch), (batch, 1))
    table = transpose(builder, x, (0, *range(2, rank + 2), 1))
    table = reshape(builder, table, (batch * prod(spatial), channels))
    picked, weights = [], []
    for corner in product(*taps):
        index = pointwise(builder, _index(corner, spatial), *at, number)
        picked.append(emit(builder, GATHER, [table, index], {"axis": 0}))
        weight = pointwise(builder, _weight(corner), *at)
        weights.append(reshape(builder, weight, (*places, 1)))
    y = _weighted(builder, picked, weights, padding_mode == "zeros")
    lying = reshape(builder, y, (batch, *out, channels))
    return transpose(builder, lying, (0, rank + 1, *range(1, rank + 1)), output=output)


def _weighted(
    builder: GraphBuilder, picked: list[Tensor], weights: list[Tensor], outside: bool
) -> Tensor:
    """The sum of picked [N,P,C] times weights [N,P,1].  outside: whether a weight of 0 may stand for what is not
    there, so that what was picked in its place does not count, whatever it is."""
    total: Tensor | None = None
    for start in range(0, len(picked), _TOGETHER):
        values = picked[start : start + _TOGETHER]
        factors = weights[start : start + _TOGETHER]
        sum_: Expr | None = None if total is None else E.inp(2 * len(values))
        for i in range(len(values)):
            value, factor = E.inp(i), E.inp(len(values) + i)
            part = E.mul(value, factor)
            if outside:
                part = E.select(E.binary("eq", factor, ZERO), ZERO, part)
            sum_ = part if sum_ is None else E.add(sum_, part)
        assert sum_ is not None
        rest = [] if total is None else [total]
        total = pointwise(builder, sum_, *values, *factors, *rest)
    assert total is not None
    return total


def _place(at: Expr, size: Extent, aligned: bool) -> Expr:
    """-1 to 1 as a place among `size` elements."""
    moved, count = E.add(at, ONE), E.extent(size)
    if aligned:
        return E.mul(E.mul(moved, HALF), E.sub(count, ONE))
    return E.mul(E.sub(E.mul(moved, count), ONE), HALF)


def _taps(at: Expr, size: Extent, mode: str, padding: str, aligned: bool) -> Taps:
    if mode == "cubic":
        first = E.unary("floor", at)
        shares = _cubic(E.sub(at, first))
        moved = [E.add(first, E.const(i - 1.0)) for i in range(4)]
        return [
            _tap(_inside(m, size, padding, aligned), w, size)
            for m, w in zip(moved, shares, strict=True)
        ]
    at = _inside(at, size, padding, aligned)
    if mode == "nearest":
        return [_tap(E.unary("round", at), ONE, size)]
    first = E.unary("floor", at)
    share = E.sub(at, first)
    return [
        _tap(first, E.sub(ONE, share), size),
        _tap(E.add(first, ONE), share, size),
    ]


def _tap(at: Expr, weight: Expr, size: Extent) -> tuple[Expr, Expr, Expr]:
    last = E.sub(E.extent(size), ONE)
    real = E.binary("and", E.binary("le", ZERO, at), E.binary("le", at, last))
    return at, weight, real


def _cubic(t: Expr) -> list[Expr]:
    """Weights of the four elements around a place `t` behind the second."""
    a = _CUBIC

    def near(d: Expr) -> Expr:
        inner = E.sub(E.mul(E.const(a + 2), d), E.const(a + 3))
        return E.add(E.mul(E.mul(inner, d), d), ONE)

    def far(d: Expr) -> Expr:
        inner = E.sub(E.mul(E.const(a), d), E.const(5 * a))
        inner = E.add(E.mul(inner, d), E.const(8 * a))
        return E.sub(E.mul(inner, d), E.const(4 * a))

    rest = E.sub(ONE, t)
    return [far(E.add(t, ONE)), near(t), near(rest), far(E.add(rest, ONE))]


def _inside(at: Expr, size: Extent, padding: str, aligned: bool) -> Expr:
    """Places moved inside by the padding's rule."""
    last = E.sub(E.extent(size), ONE)
    if padding == "zeros":
        return at
    if padding == "reflection":
        low = ZERO if aligned else E.const(-0.5)
        width = last if aligned else E.extent(size)
        period = E.maximum(
            E.mul(E.const(2.0), width), ONE
        )  # of one aligned element all is inside it
        offset = E.sub(at, low)
        turned = E.sub(offset, E.mul(period, E.unary("floor", E.div(offset, period))))
        at = E.add(E.minimum(turned, E.sub(period, turned)), low)
    return E.maximum(E.minimum(at, last), ZERO)


def _index(corner: tuple[tuple[Expr, Expr, Expr], ...], spatial: tuple[Extent, ...]) -> Expr:
    """The row of the table, i64; where the place is outside, any."""
    rank = len(spatial)
    index = E.mul(E.inp(rank), E.extent(prod(spatial), i64))
    for a, (at, _, real) in enumerate(corner):
        step = E.cast(E.cast(E.select(real, at, ZERO), i32), i64)
        index = E.add(index, E.mul(step, E.extent(prod(spatial[a + 1 :]), i64)))
    return index


def _weight(corner: tuple[tuple[Expr, Expr, Expr], ...]) -> Expr:
    """The product of the axes' weights, 0 outside."""
    weight: Expr = ONE
    inside: Expr | None = None
    for _, share, real in corner:
        weight = E.mul(weight, share)
        inside = real if inside is None else E.binary("and", inside, real)
    assert inside is not None
    return E.select(inside, weight, ZERO)
