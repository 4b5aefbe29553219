"""Resize: every separable one becomes index and weight tables, one pair an axis (`sampling`).

Tables of open extents are computed by the graph: a few numbers a row of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import reduce
from math import inf, prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent, exact_quotient, largest, smallest
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import f32, f64
from camshaft.ops.common import normal_axis
from camshaft.ops.elementwise import POINTWISE
from camshaft.ops.functional.core import MOST_ELEMENTS, NoCanonicalForm, constant, emit
from camshaft.ops.functional.movement.counting import iota
from camshaft.ops.functional.movement.shape import full, reshape, transpose
from camshaft.ops.functional.spatial.antialias import shrunk
from camshaft.ops.functional.spatial.sampling import (
    IDENTITY,
    NEAREST,
    TAP,
    Axis,
    Sampling,
    Table,
    number,
    table_of,
)
from camshaft.ops.pooling import RESAMPLE

F32 = np.float32
_MOST_PARTS = 1 << 10
_MOST_CHECKED = 1 << 20


def resize(
    builder: GraphBuilder,
    x: Tensor,
    *,
    sizes: Sequence[Extent] | None = None,
    scales: Sequence[float] | np.ndarray | None = None,
    axes: Sequence[int] | None = None,
    sampling: Sampling = NEAREST,
    keep_aspect_ratio: str = "stretch",
    output: str | None = None,
) -> Tensor:
    """x with other extents along `axes` (all where None); x itself where nothing changes.

    sizes: the new extents, or scales: f32 factors, of which the extents are the whole parts.  With sizes,
    keep_aspect_ratio "not_larger" or "not_smaller" uses one scale for all axes, "stretch" one for each.
    Of any rank and element type; integers are computed in f32 and truncated.  Extents may be open, but
    where a scale gives other extents than a fraction would.
    Raises ModelError where arguments do not fit or nothing would be left, NoCanonicalForm for
    antialiasing of other types than f32.
    """
    if (sizes is None) == (scales is None):
        raise ModelError("either sizes or scales must be given")
    rank = x.type.rank
    chosen = range(rank) if axes is None else [normal_axis(a, rank) for a in axes]
    if scales is not None:
        given = _from_scales(x, chosen, np.asarray(scales, F32))
    else:
        given = _from_sizes(builder, x, chosen, sizes or (), keep_aspect_ratio)
    if sampling.mode not in ("nearest", "linear", "cubic"):
        raise ModelError(f"unknown resize mode {sampling.mode!r}")
    outs = [given[a].out if a in given else d for a, d in enumerate(x.shape)]
    with builder.constraints.learning(f"node {builder.layer!r}"):
        for d, out in zip(x.shape, outs, strict=True):
            _require_elements(d, out, scales is not None and not sampling.antialias)
    if 0 in outs:
        return full(builder, outs, 0, x.type.dtype, output=output)
    if prod(d for d in outs if isinstance(d, int)) > MOST_ELEMENTS:
        raise ModelError(f"resizing {x.type} to {outs} is out of proportion")
    tables = {a: (g, sampling) for a, g in sorted(given.items()) if not g.unchanged}
    if sampling.antialias and sampling.mode != "nearest":
        return _antialiased(builder, x, tables, output)
    return _resampled(builder, x, outs, tables, output) if tables else x


def _require_elements(d: Extent, out: Extent, by_scale: bool) -> None:
    """State that an extent and what becomes of it are at least 1, or that both are 0: where that is known
    while the graph is built, or follows from a scale and from what is said of the open extent."""
    what = f"an axis of {d} elements cannot be resized to {out}"
    if out == 0 or (by_scale and not isinstance(d, int) and bounds(d)[0] < 1):
        return
    require_at_least(d, 1, f"{what}: there are no elements to be resized")
    require_at_least(out, 1, f"{what}: it leaves nothing")


def _antialiased(
    builder: GraphBuilder, x: Tensor, tables: Mapping[int, Change], output: str | None
) -> Tensor:
    """x resampled along one axis after the other."""
    if x.type.dtype != f32:
        raise NoCanonicalForm(f"antialiasing takes f32, not {x.type}")
    for a, (axis, sampling) in tables.items():
        x = shrunk(builder, x, a, axis, sampling, output if a == max(tables) else None)
    return x


def _from_scales(x: Tensor, axes: Sequence[int], scales: np.ndarray) -> dict[int, Axis]:
    """What becomes of each of `axes`; those of scale 1 stay and are left out."""
    if scales.size != len(axes) or not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        raise ModelError(f"scales {scales.tolist()} do not fit axes {list(axes)}")
    factors = {a: s for a, s in zip(axes, scales.reshape(-1), strict=True) if s != 1}
    return {a: Axis(x.shape[a], _scaled(x.shape[a], s), float(s)) for a, s in factors.items()}


def _scaled(extent: Extent, scale: np.float32) -> Extent:
    """floor(extent * scale) as f32 computes it.

    Of an open extent it is computed with the fraction that the scale is, or is rounded from, where
    that is the same for all sizes up to _MOST_CHECKED.
    """
    if isinstance(extent, int):
        return int(np.floor(F32(extent) * scale))
    ratio = Fraction(float(scale)).limit_denominator(_MOST_PARTS)
    low, high = bounds(extent)
    last = _MOST_CHECKED if high == inf else int(min(high, _MOST_CHECKED))
    sizes = np.arange(int(max(low, 0)), last + 1)
    wanted = np.floor(sizes.astype(F32) * scale).astype(np.int64)
    differs = np.flatnonzero(wanted != sizes * ratio.numerator // ratio.denominator)
    if differs.size:
        raise ModelError(
            f"scale {scale} of an open extent, {extent}, is no fraction that gives the same extents, "
            f"at {sizes[differs[0]]} for one; give a fixed extent with shapes="
        )
    return extent * ratio.numerator // ratio.denominator


def _from_sizes(
    builder: GraphBuilder,
    x: Tensor,
    axes: Sequence[int],
    sizes: Sequence[Extent],
    keep_aspect_ratio: str,
) -> dict[int, Axis]:
    """What becomes of each of `axes`."""
    pairs = [(x.shape[a], size) for a, size in zip(axes, sizes, strict=False)]
    nothing = any(isinstance(size, int) and size < 1 and size != d for d, size in pairs)
    if len(sizes) != len(axes) or nothing or (keep_aspect_ratio != "stretch" and 0 in x.shape):
        raise ModelError(f"sizes {list(sizes)} do not fit axes {list(axes)} of shape {x.shape}")
    if keep_aspect_ratio == "stretch":
        return {a: _stretched(x.shape[a], size) for a, size in zip(axes, sizes, strict=True)}
    if keep_aspect_ratio not in ("not_larger", "not_smaller"):
        raise ModelError(f"unknown keep_aspect_ratio {keep_aspect_ratio!r}")
    extents = [x.shape[a] for a in axes]
    within = keep_aspect_ratio == "not_larger"
    if is_static(extents) and is_static(sizes):
        ratios = [size / d for d, size in zip(extents, sizes, strict=True)]
        ratio = min(ratios) if within else max(ratios)
        return {
            a: Axis(d, int(np.floor(ratio * d + 0.5)), ratio)
            for a, d in zip(axes, extents, strict=True)
        }
    parts = [E.div(number(size), number(d)) for d, size in zip(extents, sizes, strict=True)]
    scale = reduce(E.minimum if within else E.maximum, parts)
    choose = smallest if within else largest
    changed = {}
    for a, d in zip(axes, extents, strict=True):
        out = choose(*(_rounded(d * size, e) for e, size in zip(extents, sizes, strict=True)))
        with builder.constraints.learning(f"node {builder.layer!r}"):
            require_at_least(out, 1, f"resizing {x.type} to {list(sizes)} leaves nothing")
        changed[a] = Axis(d, largest(1, out), scale)
    return changed


def _rounded(a: Extent, b: Extent) -> Extent:
    """a / b to the nearest whole number, halves up."""
    return (2 * a + b) // (2 * b)


def _stretched(extent: Extent, size: Extent) -> Axis:
    if extent == size or extent == 0:
        return Axis(extent, size, 1.0)
    whole = exact_quotient(size, extent)
    if isinstance(whole, int):
        return Axis(extent, size, float(whole))
    if isinstance(extent, int) and isinstance(size, int):
        return Axis(extent, size, size / extent)
    return Axis(extent, size, None)


def resampled(
    builder: GraphBuilder,
    x: Tensor,
    images: Sequence[int],
    tables: Sequence[Tensor],
    *,
    output: str | None = None,
) -> Tensor:
    """x of rank 4 resampled along its axes of height and width, `images`: (1, 2) or (2, 3).

    tables: index i32 and weight f32 of rows and of columns, [out, taps] each, as RESAMPLE takes them.
    """
    if tuple(images) == (2, 3):
        return emit(builder, RESAMPLE, [x, *tables], {"layout": "NCHW"}, output)
    turned = transpose(builder, x, (0, 3, 1, 2))
    y = emit(builder, RESAMPLE, [turned, *tables], {"layout": "NCHW"})
    return transpose(builder, y, (0, 2, 3, 1), output=output)


Change = tuple[Axis, Sampling]
"""What becomes of an axis, and how its elements are read."""


def _resampled(
    builder: GraphBuilder,
    x: Tensor,
    outs: Sequence[Extent],
    tables: Mapping[int, Change],
    output: str | None,
) -> Tensor:
    """x resampled along the axes that have tables, two axes at once where they are an image's."""
    changed = list(tables)
    if x.type.rank == 4 and set(changed) <= {1, 2} and changed != [1]:  # channels last
        turned = transpose(builder, x, (0, 3, 1, 2))
        y = _sample(builder, turned, tables.get(1), tables.get(2))
        return transpose(builder, y, (0, 2, 3, 1), output=output)
    if x.type.rank == 4 and set(changed) <= {2, 3}:
        return _sample(builder, x, tables.get(2), tables.get(3), output)
    y = x
    for a in changed:
        parts = (prod(y.shape[:a]), 1, y.shape[a], prod(y.shape[a + 1 :]))
        y = _sample(builder, reshape(builder, y, parts), tables[a], None)
        done = (*outs[: a + 1], *x.shape[a + 1 :])
        y = reshape(builder, y, done, output=output if a == changed[-1] else None)
    return y


def _sample(
    builder: GraphBuilder,
    x: Tensor,
    rows: Change | None,
    cols: Change | None,
    output: str | None = None,
) -> Tensor:
    """x NCHW resampled along H by `rows` and along W by `cols`; None leaves the axis as it is."""
    operands = [x]
    for what, change, extent in (("rows", rows, x.shape[2]), ("cols", cols, x.shape[3])):
        axis, sampling = change or (Axis(extent, extent, 1.0), IDENTITY)
        operands += _table(builder, axis, table_of(axis, sampling), what)
    return emit(builder, RESAMPLE, operands, {"layout": "NCHW"}, output)


def _table(builder: GraphBuilder, axis: Axis, table: Table, what: str) -> list[Tensor]:
    """Index i32 and weight f32, [out, taps]: constants, or computed where extents are open."""
    if isinstance(axis.out, int) and isinstance(axis.size, int):
        arrays = zip(table.arrays(axis.out), ("index", "weight"), strict=True)
        return [constant(builder, array, f"{what}.{name}") for array, name in arrays]
    at = reshape(builder, iota(builder, axis.out), (axis.out, 1))
    index = _computed(builder, at, table.index, table.taps)
    if table.taps == 1:
        return [index, constant(builder, np.ones((1, 1), F32), f"{what}.weight")]
    return [index, _computed(builder, at, table.weight, table.taps)]


def _computed(builder: GraphBuilder, at: Tensor, expr: Expr, taps: int) -> Tensor:
    """`expr` over the numbers [out, 1] of elements and the numbers of taps."""
    position = E.cast(E.inp(0), f64)
    if taps == 1:
        return emit(builder, POINTWISE, [at], {"expr": E.substitute(expr, [position])})
    tap = constant(builder, np.arange(taps, dtype=np.float64), "taps")
    both = {"expr": E.substitute(expr, [position, TAP])}
    return emit(builder, POINTWISE, [at, tap], both)
