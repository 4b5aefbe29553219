"""Functions that pick single elements by tensors of indices."""

from __future__ import annotations

from math import prod

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import i64, row_major_strides
from camshaft.ops.common import normal_axis
from camshaft.ops.functional.core import NoCanonicalForm, emit, require_same
from camshaft.ops.functional.elementwise.arithmetic import pointwise
from camshaft.ops.functional.movement.counting import arange
from camshaft.ops.functional.movement.inside import require_counted
from camshaft.ops.functional.movement.shape import reshape
from camshaft.ops.functional.movement.slicing import narrow, take
from camshaft.ops.movement import GATHER


def take_along_axis(
    builder: GraphBuilder, x: Tensor, indices: Tensor, axis: int = 0, *, output: str | None = None
) -> Tensor:
    """Element [.., i, ..] is x[.., indices[.., i, ..], ..], as NumPy's take_along_axis.

    indices: integers of x's rank, those below 0 count from the end of `axis`; other axes may be
    shorter than x's.  Becomes a gather from the numbers along the axis, which judges the indices and
    counts them from its start, and one from the flat x.  NoCanonicalForm for strings.
    """
    axis = normal_axis(axis, x.type.rank)
    if x.type.dtype.kind == "s":
        raise NoCanonicalForm("works on numbers, not on strings")
    if indices.type.rank != x.type.rank or not indices.type.dtype.is_int:
        raise ModelError(f"indices {indices.type} are not integers of the rank of {x.type}")
    with builder.constraints.learning(f"node {builder.layer!r}"):
        for a, (given, there) in enumerate(zip(indices.shape, x.shape, strict=True)):
            if a != axis:
                longer = f"indices {indices.type} are longer than {x.type} along axis {a}"
                require_at_least(there, given, longer)
    strides = row_major_strides(x.shape)
    require_counted(builder, indices, x, axis)
    numbers = arange(builder, 0, x.shape[axis], 1, i64)
    operands = [emit(builder, GATHER, [numbers, indices], {"axis": 0})]
    place = E.mul(E.inp(0), E.extent(strides[axis], i64))
    for a, extent in enumerate(indices.shape):
        if a != axis and extent != 1:
            behind = [1] * (x.type.rank - a - 1)
            counted = arange(builder, 0, extent, 1, i64)
            operands.append(reshape(builder, counted, (extent, *behind)))
            step = E.extent(strides[a], i64)
            place = E.add(place, E.mul(E.inp(len(operands) - 1), step))
    flat = pointwise(builder, place, *operands)
    return emit(builder, GATHER, [reshape(builder, x, (x.type.size,)), flat], {"axis": 0}, output)


def gather_nd(
    builder: GraphBuilder,
    x: Tensor,
    indices: Tensor,
    batch: int = 0,
    *,
    output: str | None = None,
) -> Tensor:
    """Element [b.., i.., r..] is x[b.., *indices[b.., i.., :], r..] (ONNX's GatherND).

    indices: integers [b.., i.., K], those below 0 count from the end; the first `batch` axes go in step with
    x's.  Becomes gathers from the numbers along each axis, which judge the indices, and one from the flat x.
    ModelError for shapes that do not fit; NoCanonicalForm for strings.
    """
    if x.type.dtype.kind == "s":
        raise NoCanonicalForm("works on numbers, not on strings")
    depth = fixed_extent(indices.shape[-1], "the length of an index") if indices.type.rank else 0
    if not indices.type.dtype.is_int or not 1 <= depth <= x.type.rank - batch:
        raise ModelError(f"indices {indices.type} pick no elements of {x.type}")
    lead, rest = x.shape[: batch + depth], x.shape[batch + depth :]
    strides, places = row_major_strides(lead), indices.shape[:-1]
    operands: list[Tensor] = []
    place: E.Expr | None = None
    for axis, stride in enumerate(strides):
        if axis < batch:
            misfit = f"indices {indices.type} and {x.type} differ along axis {axis}"
            require_same(builder, places[axis], lead[axis], misfit)
            counted = arange(builder, 0, lead[axis], 1, i64)
            shape = (lead[axis], *[1] * (len(places) - axis - 1))
            operands.append(reshape(builder, counted, shape))
        else:
            column = reshape(builder, narrow(builder, indices, -1, axis - batch, 1), places)
            require_counted(builder, column, x, axis)
            numbers = arange(builder, 0, lead[axis], 1, i64)
            operands.append(emit(builder, GATHER, [numbers, column], {"axis": 0}))
        term = E.mul(E.inp(len(operands) - 1), E.extent(stride, i64))
        place = term if place is None else E.add(place, term)
    assert place is not None
    flat = pointwise(builder, place, *operands)
    source = reshape(builder, x, (prod(lead), *rest))
    if flat.data is None:
        return emit(builder, GATHER, [source, flat], {"axis": 0}, output)
    picked = take(builder, source, flat.data.reshape(-1))
    return reshape(builder, picked, (*places, *rest), output=output)
