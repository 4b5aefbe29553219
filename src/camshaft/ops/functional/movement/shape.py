"""Functions that rearrange whole tensors: reshape, transpose, broadcast, tile, concatenate.

Element types are any, strings included.  Most of these cost nothing when the graph runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent, exact_quotient
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import DType, f32
from camshaft.ops.common import normal_axis
from camshaft.ops.functional.core import (
    constant,
    dequantized_constant,
    emit,
    normal_axes,
    require_same,
)
from camshaft.ops.movement import BROADCAST, CONCAT, RESHAPE, TRANSPOSE
from camshaft.ops.quantize import DEQUANTIZE


def reshape(
    builder: GraphBuilder, x: Tensor, shape: Sequence[Extent], *, output: str | None = None
) -> Tensor:
    """x in another shape of as many elements, row-major; x itself where it has that shape.

    shape: extents, of which one may be -1: what remains.  ModelError where the counts differ.
    A dequantized constant stays one, unless its scales lie along an axis that the shape divides.
    """
    shape = _completed(x, tuple(shape))
    if x.shape == shape:
        return x
    made = dequantized_constant(builder, x)
    if made is not None and not made.attrs["block"]:
        data, scale, zero = made.args
        axis = normal_axis(_axis(made.attrs["axis"]), x.type.rank) if scale.type.rank else 0
        kept = [i for i, d in enumerate(shape) if _stays(x.shape, axis, shape[:i], d)]
        if kept or not scale.type.rank:
            moved = emit(builder, RESHAPE, [data], {"shape": shape})
            attrs = {"axis": kept[0] if kept else 0}
            return emit(builder, DEQUANTIZE, [moved, scale, zero], attrs, output)
    return emit(builder, RESHAPE, [x], {"shape": shape}, output)


def _completed(x: Tensor, shape: tuple[Extent, ...]) -> tuple[Extent, ...]:
    """`shape` with its -1 filled in."""
    if -1 not in shape:
        return shape
    rest = prod(d for d in shape if d != -1)
    remains = None if rest == 0 or shape.count(-1) > 1 else exact_quotient(x.type.size, rest)
    if remains is None:
        raise ModelError(f"{x.type} cannot take shape {list(shape)}")
    return tuple(remains if d == -1 else d for d in shape)


def _axis(value: object) -> int:
    assert isinstance(value, int)
    return value


def _stays(shape: Sequence[Extent], axis: int, before: Sequence[Extent], extent: Extent) -> bool:
    """Whether axis `axis` of `shape` is the axis of `extent` behind the axes `before`."""
    return extent == shape[axis] and prod(before) == prod(shape[:axis])


def transpose(
    builder: GraphBuilder,
    x: Tensor,
    perm: Sequence[int] | None = None,
    *,
    output: str | None = None,
) -> Tensor:
    """Axis i of the result is axis perm[i] of x; x itself where all stay.

    perm: a permutation of the axes, negative ones counted from the end; reversed where None.
    A dequantized constant stays one: the stored integers are permuted.
    """
    rank = x.type.rank
    order = tuple(range(rank))[::-1] if perm is None else tuple(perm)
    if sorted(a + rank if a < 0 else a for a in order) != list(range(rank)):
        raise ModelError(f"perm {list(order)} is no permutation of the axes of {x.type}")
    order = tuple(a % rank for a in order)
    if order == tuple(range(rank)):
        return x
    made = dequantized_constant(builder, x)
    if made is not None:
        data, scale, zero = made.args
        axis = order.index(normal_axis(_axis(made.attrs["axis"]), rank))
        moved = emit(builder, TRANSPOSE, [data], {"perm": order})
        if made.attrs["block"]:
            scale, zero = (emit(builder, TRANSPOSE, [t], {"perm": order}) for t in (scale, zero))
        attrs = {"axis": axis, "block": made.attrs["block"]}
        return emit(builder, DEQUANTIZE, [moved, scale, zero], attrs, output)
    return emit(builder, TRANSPOSE, [x], {"perm": order}, output)


def column(builder: GraphBuilder, vector: Tensor, rank: int) -> Tensor:
    """A per-channel vector [C] as [C,1,...] that broadcasts to axis 1 of a rank-`rank` tensor."""
    return reshape(builder, vector, (vector.type.size, *([1] * (rank - 2))))


def flatten(
    builder: GraphBuilder,
    x: Tensor,
    start_dim: int = 0,
    end_dim: int = -1,
    *,
    output: str | None = None,
) -> Tensor:
    """x with the axes from `start_dim` to `end_dim`, that one included, as one."""
    if not x.type.rank:
        return reshape(builder, x, (1,), output=output)
    start, end = (normal_axis(a, x.type.rank) for a in (start_dim, end_dim))
    if end < start:
        raise ModelError(f"start_dim={start_dim} lies behind end_dim={end_dim} in {x.type}")
    shape = (*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :])
    return reshape(builder, x, shape, output=output)


def squeeze(
    builder: GraphBuilder,
    x: Tensor,
    axes: int | Sequence[int] | None = None,
    *,
    output: str | None = None,
) -> Tensor:
    """x without the given axes, which must be 1 long; without all such axes where None is given."""
    if axes is None:
        dropped = tuple(i for i, d in enumerate(x.shape) if d == 1)
    else:
        dropped = normal_axes(axes, x.type.rank)
    for a in dropped:
        misfit = f"axes {list(dropped)} of {x.type} are not all 1 long"
        require_same(builder, x.shape[a], 1, misfit)
    shape = tuple(d for i, d in enumerate(x.shape) if i not in dropped)
    return reshape(builder, x, shape, output=output)


def unsqueeze(
    builder: GraphBuilder, x: Tensor, axes: int | Sequence[int], *, output: str | None = None
) -> Tensor:
    """x with new axes of extent 1; `axes` count in the result.  ModelError where one repeats."""
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    rank = x.type.rank + len(given)
    added = normal_axes(given, rank)
    if len(added) != len(given):
        raise ModelError(f"axes {list(given)} repeat")
    rest = iter(x.shape)
    shape = tuple(1 if i in added else next(rest) for i in range(rank))
    return reshape(builder, x, shape, output=output)


def broadcast_to(
    builder: GraphBuilder, x: Tensor, shape: Sequence[Extent], *, output: str | None = None
) -> Tensor:
    """x repeated along axes of extent 1 and new leading axes; x itself where it has that shape."""
    if x.shape == tuple(shape):
        return x
    return emit(builder, BROADCAST, [x], {"shape": tuple(shape)}, output)


def full(
    builder: GraphBuilder,
    shape: Sequence[Extent],
    value: float | np.ndarray,
    dtype: DType = f32,
    *,
    output: str | None = None,
) -> Tensor:
    """A tensor that holds `value` everywhere; an array of one element brings its own type."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype.numpy)
    if array.size != 1 or any(isinstance(d, int) and d < 0 for d in shape):
        raise ModelError(f"cannot fill shape {list(shape)} with {array.size} values")
    one = constant(builder, array.reshape(()), "value")
    return emit(builder, BROADCAST, [one], {"shape": tuple(shape)}, output)


def tile(
    builder: GraphBuilder, x: Tensor, repeats: Sequence[Extent], *, output: str | None = None
) -> Tensor:
    """x repeated as a whole, repeats[i] times along axis i: a broadcast and reshapes."""
    misfit = f"repeats {list(repeats)} do not fit {x.type}"
    if len(repeats) != x.type.rank:
        raise ModelError(misfit)
    with builder.constraints.learning(f"node {builder.layer!r}"):
        for r in repeats:
            require_at_least(r, 0, misfit)
    if all(r == 1 for r in repeats):
        return x
    apart = [d for n in x.shape for d in (1, n)]
    spread = tuple(d for n, r in zip(x.shape, repeats, strict=True) for d in (r, n))
    shape = tuple(n * r for n, r in zip(x.shape, repeats, strict=True))
    held = output if spread == shape else None
    y = emit(builder, BROADCAST, [reshape(builder, x, apart)], {"shape": spread}, held)
    return reshape(builder, y, shape, output=output)


def concat(
    builder: GraphBuilder, tensors: Sequence[Tensor], axis: int = 0, *, output: str | None = None
) -> Tensor:
    """The tensors one behind the other along `axis`; a single one is given back.

    They have one element type, and one shape but for that axis; ModelError otherwise, or for none.
    """
    if not tensors:
        raise ModelError("has no inputs")
    axis = normal_axis(axis, tensors[0].type.rank)
    if len(tensors) == 1:
        return tensors[0]
    return emit(builder, CONCAT, tensors, {"axis": axis}, output)


def stack(
    builder: GraphBuilder, tensors: Sequence[Tensor], axis: int = 0, *, output: str | None = None
) -> Tensor:
    """Tensors of one type beside each other along a new axis, which `axis` counts in the result."""
    if not tensors:
        raise ModelError("has no inputs")
    axis = normal_axis(axis, tensors[0].type.rank + 1)
    if any(t.type != tensors[0].type for t in tensors):
        raise ModelError(f"{[t.type for t in tensors]} are not of one type and cannot be stacked")
    rows = [reshape(builder, t, (*t.shape[:axis], 1, *t.shape[axis:])) for t in tensors]
    return concat(builder, rows, axis, output=output)
