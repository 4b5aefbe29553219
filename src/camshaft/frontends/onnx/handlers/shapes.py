"""Operators that change or ask for shapes; what they compute from shapes alone folds at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import array_of, inner_dtype, is_held
from camshaft.ir.extents import known
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent, known_different, ranges_of, smallest, symbols_of
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.types import broadcast_shapes
from camshaft.ops import functional as F


def reshape(ctx: NodeContext) -> Results:
    """Reshape: 0 keeps an extent (unless allowzero), one -1 is what remains."""
    x = ctx.arg(0)
    wanted = ctx.const_ints(1, "shape")
    if wanted is None:
        raise ModelError("the new shape is missing")
    shape: list[Extent] = list(wanted)
    if not ctx.attr_int("allowzero"):
        for i, d in enumerate(shape):
            if d == 0:
                if i >= x.type.rank:
                    raise ModelError(f"shape {shape} copies axis {i}, which {x.type} does not have")
                shape[i] = x.shape[i]
            elif not isinstance(d, int):
                _require_no_copy(ctx, shape, i)
    if shape.count(-1) > 1 or any(isinstance(d, int) and d < -1 for d in shape):
        raise ModelError(f"shape {shape} is not valid")
    misfit = (
        f"{x.type} cannot take shape {list(wanted)}; if the model was made for another input "
        "shape, give that one with shapes="
    )
    if -1 in shape:
        rest = prod(d for d in shape if d != -1)
        if rest == 0:
            raise ModelError(misfit)
        shape[shape.index(-1)] = x.type.size // rest
    if known_different(prod(shape), x.type.size):
        raise ModelError(misfit)
    return F.reshape(ctx.builder, x, shape, output=ctx.output)


def _require_no_copy(ctx: NodeContext, shape: Sequence[Extent], at: int) -> None:
    """Learn that an extent computed for a new shape is 0 only where the one that a 0 copies is."""
    x = ctx.arg(0)
    said = {s for t in ctx.builder.inputs for s in symbols_of(*t.values)}
    is_said = not said.isdisjoint(symbols_of(shape[at]))
    copied = 1 if is_said or at >= x.type.rank else smallest(x.shape[at], 1)
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        require_at_least(
            shape[at], copied, f"shape {list(shape)} has an extent that is never 1 or more"
        )


def flatten(ctx: NodeContext) -> Results:
    """Flatten to a matrix at `axis`."""
    x = ctx.arg(0)
    axis = ctx.attr_int("axis", 1)
    if not -x.type.rank <= axis <= x.type.rank:
        raise ModelError(f"axis {axis} does not exist in {x.type}")
    axis = axis + x.type.rank if axis < 0 else axis
    shape = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    return F.reshape(ctx.builder, x, shape, output=ctx.output)


def squeeze(ctx: NodeContext) -> Results:
    """Squeeze: drops axes of extent 1, all of them where none are named."""
    axes = ctx.ints_or_input("axes", 1)
    if axes is None:
        for e in ctx.arg(0).shape:
            if not isinstance(e, int) and bounds(e)[0] <= 1 <= bounds(e)[1]:
                raise UndecidedExtent(f"whether {e} is 1", ranges_of(e))
    return F.squeeze(ctx.builder, ctx.arg(0), axes, output=ctx.output)


def unsqueeze(ctx: NodeContext) -> Results:
    """Unsqueeze: the axes count in the result."""
    axes = ctx.ints_or_input("axes", 1) or ()
    return F.unsqueeze(ctx.builder, ctx.arg(0), axes, output=ctx.output)


def transpose(ctx: NodeContext) -> Results:
    """Transpose; without `perm` the axes are reversed."""
    perm = ctx.attr_ints("perm") or None
    return F.transpose(ctx.builder, ctx.arg(0), perm, output=ctx.output)


def expand(ctx: NodeContext) -> Results:
    """Expand: two-way broadcasting with a shape."""
    x = ctx.arg(0)
    wanted = ctx.const_ints(1, "shape") or ()
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        shape = broadcast_shapes(x.shape, wanted)
    return F.broadcast_to(ctx.builder, x, shape, output=ctx.output)


def tile(ctx: NodeContext) -> Results:
    """Tile."""
    repeats = ctx.const_ints(1, "repeats", are_sizes=True) or ()
    return F.tile(ctx.builder, ctx.arg(0), repeats, output=ctx.output)


def concat(ctx: NodeContext) -> Results:
    """Concat."""
    parts = [ctx.arg(i) for i in range(len(ctx.inputs))]
    return F.concat(ctx.builder, parts, ctx.attr_int("axis"), output=ctx.output)


def shape_of(ctx: NodeContext) -> Results:
    """Shape, from `start` to `end`."""
    x = ctx.arg(0)
    end = ctx.attr_int("end", x.type.rank)
    return ctx.builder.extents(x.shape[slice(ctx.attr_int("start"), end)], ctx.output)


def size_of(ctx: NodeContext) -> Results:
    """Size: the number of elements."""
    return ctx.builder.extents([ctx.arg(0).type.size], ctx.output, scalar=True)


def constant(ctx: NodeContext) -> Results:
    """Constant, in any of its spellings."""
    for a in ctx.proto.attribute:
        if a.name == "value":
            return _fixed(ctx, _value(ctx, a.t))
        if a.name in ("value_float", "value_floats"):
            value = a.f if a.name == "value_float" else list(a.floats)
            return _fixed(ctx, np.array(value, np.float32))
        if a.name in ("value_int", "value_ints"):
            return _fixed(ctx, np.array(a.i if a.name == "value_int" else list(a.ints), np.int64))
        if a.name in ("value_string", "value_strings"):
            words = [a.s] if a.name == "value_string" else list(a.strings)
            array = np.array([w.decode("utf-8", "replace") for w in words], object)
            return _fixed(ctx, array.reshape(()) if a.name == "value_string" else array)
    raise ModelError("holds no value of a supported kind (sparse constants are not)")


def _value(ctx: NodeContext, tensor: TensorProto) -> np.ndarray:
    """The elements of the tensor that the output repeats, or is."""
    if is_held(tensor.data_type):
        ctx.makes_narrow(tensor.data_type)
    return array_of(tensor)


def constant_of_shape(ctx: NodeContext) -> Results:
    """ConstantOfShape: one value in every place."""
    shape = ctx.const_ints(0, "shape", are_sizes=True) or ()
    value: np.ndarray = np.zeros(1, np.float32)
    for a in ctx.proto.attribute:
        if a.name == "value":
            value = _value(ctx, a.t)
    return F.full(ctx.builder, shape, value, output=ctx.output)


def range_of(ctx: NodeContext) -> Results:
    """Range; of whole numbers, its ends may be open extents."""
    names = ("start", "limit", "step")
    if not all(ctx.has(i) for i in range(len(names))):
        raise ModelError("start, limit and a step are needed")
    if ctx.arg(0).type.dtype.is_int and any(ctx.arg(i).data is None for i in range(len(names))):
        start, limit, delta = ((ctx.const_ints(i, n) or (0,))[0] for i, n in enumerate(names))
        return F.arange(ctx.builder, start, limit, delta, ctx.arg(0).type.dtype, output=ctx.output)
    found = [ctx.builder.known(ctx.arg(i)) for i in range(len(names))]
    whole = [known.whole_number(v.reshape(-1)[0]) for v in found if v is not None and v.size == 1]
    if len(whole) == len(names) and not all(isinstance(v, int) for v in whole):
        first, last, step = whole
        if first is not None and last is not None and isinstance(step, int):
            dtype = ctx.arg(0).type.dtype
            return F.arange(ctx.builder, first, last, step, dtype, output=ctx.output)
    arrays = [ctx.const(i, what) for i, what in enumerate(names)]
    bounds = [a.reshape(-1)[0] for a in arrays if a is not None]
    if bounds[2] == 0:
        raise ModelError("a step other than 0 is needed")
    return _fixed(ctx, np.arange(*bounds).astype(bounds[0].dtype))


def _fixed(ctx: NodeContext, array: np.ndarray) -> Results:
    return ctx.builder.constant(array, ctx.output)


def eye_like(ctx: NodeContext) -> Results:
    """EyeLike: depends on the input's shape alone."""
    x = ctx.arg(0)
    if x.type.rank != 2:
        raise ModelError(f"input {x.type} is not a matrix")
    to = ctx.attr_int("dtype")
    dtype = inner_dtype(to) if to else x.type.dtype
    rows, columns = x.shape
    if isinstance(rows, int) and isinstance(columns, int):
        return _fixed(ctx, np.eye(rows, columns, ctx.attr_int("k")).astype(dtype.numpy))
    return F.eye(ctx.builder, rows, columns, ctx.attr_int("k"), dtype, output=ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "EyeLike": eye_like,
    "Flatten": flatten,
    "Range": range_of,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": size_of,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
