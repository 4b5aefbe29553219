"""How the operators that changed before opset 7 are respelled, one function for each kind of change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import FOR_INFERENCE, NodeContext
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.graph import Tensor
from camshaft.ir.types import Shape
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis

SPELLING = 7
NEWER = f"export the model with opset {SPELLING} or later"


def respelled(
    ctx: NodeContext,
    inputs: Sequence[Tensor | None] | None = None,
    **attributes: int | float | str | Sequence[int] | Sequence[float],
) -> NodeContext:
    """The node as one of opset 7, with other `inputs` if given, and some `attributes` set.

    Attributes that opset 7 does not have are dropped.
    """
    known = onnx.defs.get_schema(ctx.proto.op_type, SPELLING, "").attributes
    node = NodeProto()
    node.CopyFrom(ctx.proto)
    kept = [a for a in node.attribute if a.name in known and a.name not in attributes]
    kept += [onnx.helper.make_attribute(name, value) for name, value in attributes.items()]
    del node.attribute[:]
    node.attribute.extend(kept)
    if inputs is None:
        return replace(ctx, proto=node, opset=SPELLING)
    names = {t.name: n for t, n in zip(ctx.inputs, ctx.proto.input, strict=True) if t is not None}
    del node.input[:]
    node.input.extend("" if t is None else names.get(t.name, t.name) for t in inputs)
    return replace(ctx, proto=node, opset=SPELLING, inputs=tuple(inputs))


def aligned(ctx: NodeContext) -> NodeContext:
    """Two operands: equal shapes, or with broadcast=1 the second lies along the first's axes from `axis` on
    (the last ones, where that is not said).

    As in Caffe2, extents of 1 of the second stretch, axis=-1 is what is not said, and nothing else does.
    """
    a, b = ctx.arg(0), ctx.arg(1)
    if not ctx.attr_int("broadcast"):
        _require_same(ctx, a.shape, b.shape, f"without broadcast=1, {a.type} and {b.type} differ")
        return respelled(ctx)
    if b.type.size == 1:
        return respelled(ctx, [a, F.reshape(ctx.builder, b, ())])
    axis = ctx.attr_int("axis", -1)
    start = a.type.rank - b.type.rank if axis == -1 else axis
    behind = a.type.rank - start - b.type.rank
    misfit = f"broadcast=1, axis={axis}: {b.type} does not lie along axes of {a.type}; {NEWER}"
    if start < 0 or behind < 0:
        raise ModelError(misfit)
    along = a.shape[start : start + b.type.rank]
    stretched = tuple(y if x == 1 else x for x, y in zip(b.shape, along, strict=True))
    _require_same(ctx, along, stretched, misfit)
    return respelled(ctx, [a, _with_axes_behind(ctx, b, behind)])


def prelu(ctx: NodeContext) -> NodeContext:
    """PRelu: one slope, or one for each channel, which lies along axis 1."""
    x, slope = ctx.arg(0), ctx.arg(1)
    if slope.type.size == 1:
        return respelled(ctx, [x, F.reshape(ctx.builder, slope, ())])
    if slope.type.rank != 1:
        return respelled(ctx)
    axis = min(1, x.type.rank - 1)
    misfit = f"slope {slope.type} has not one value for each channel of {x.type}"
    _require_same(ctx, x.shape[axis : axis + 1], slope.shape, misfit)
    return respelled(ctx, [x, _with_axes_behind(ctx, slope, x.type.rank - axis - 1)])


def gemm(ctx: NodeContext) -> NodeContext:
    """Gemm: C has the product's shape, or with broadcast=1 is stretched to it."""
    a, b, c = (ctx.arg(i) for i in range(3))
    if ctx.attr_int("broadcast") or a.type.rank != 2 or b.type.rank != 2:
        return respelled(ctx)
    product = a.shape[1 if ctx.attr_int("transA") else 0], b.shape[not ctx.attr_int("transB")]
    _require_same(
        ctx, product, c.shape, f"without broadcast=1, C {c.type} has not the shape {list(product)}"
    )
    return respelled(ctx)


def batch_normalization(ctx: NodeContext) -> NodeContext:
    """BatchNormalization: as later, its outputs say whether it trains (`is_test` must not contradict)."""
    if ctx.attr_int("is_test") and any(ctx.wants(i) for i in range(1, 5)):
        raise ModelError(f"is_test=1, but outputs that only training makes are wanted; {NEWER}")
    return respelled(ctx)


def dropout(ctx: NodeContext) -> NodeContext:
    """Dropout: drops nothing with is_test=1, and at random without."""
    if not ctx.attr_int("is_test") and ctx.attr_float("ratio", 0.5) != 0.0:
        raise ModelError(
            "drops elements at random: before opset 7 a Dropout without is_test=1 is in training "
            f"mode; {FOR_INFERENCE}, or set is_test=1"
        )
    return respelled(ctx)


def recurrent(ctx: NodeContext) -> NodeContext:
    """RNN, GRU, LSTM: `output_sequence` permits leaving the sequence out; a named output is wanted."""
    return respelled(ctx)


def selu(ctx: NodeContext) -> NodeContext:
    """Selu: its constants had five digits."""
    alpha, gamma = ctx.attr_float("alpha", 1.6732), ctx.attr_float("gamma", 1.0507)
    return respelled(ctx, alpha=alpha, gamma=gamma)


def cast(ctx: NodeContext) -> NodeContext:
    """Cast: `to` was the name of a type."""
    name = ctx.attr_str("to").upper()
    if name not in TensorProto.DataType.keys():  # noqa: SIM118 (an enum wrapper, no mapping)
        raise ModelError(f"to={name!r} is not the name of an element type, such as FLOAT")
    return respelled(ctx, to=TensorProto.DataType.Value(name))


def concat(ctx: NodeContext) -> NodeContext:
    """Concat: `axis` was 1 where it is not said."""
    return respelled(ctx, axis=ctx.attr_int("axis", 1))


def lp_pool(ctx: NodeContext) -> NodeContext:
    """LpPool and GlobalLpPool: `p` was a float."""
    p = ctx.attr_float("p", 2.0)
    if p != int(p):
        raise ModelError(f"p={p} is not a whole number; only whole ones are supported")
    if ctx.proto.op_type == "LpPool" and not ctx.attr_ints("kernel_shape"):
        raise ModelError("attribute 'kernel_shape' is missing")
    return respelled(ctx, p=int(p))


def pad(ctx: NodeContext) -> NodeContext:
    """Pad: `pads` was called `paddings`; as the attribute's text says, all begins, then all ends.

    (The operator's example pairs them; the runtimes that read version 1 follow the text.)
    """
    paddings = ctx.attr_ints("paddings")
    if paddings is None:
        raise ModelError("attribute 'paddings' is missing")
    return respelled(ctx, pads=paddings)


def reshape(ctx: NodeContext) -> NodeContext:
    """Reshape: the shape was an attribute."""
    shape = ctx.attr_ints("shape")
    if shape is None:
        raise ModelError("attribute 'shape' is missing")
    return respelled(ctx, [ctx.arg(0), _constant(ctx, "shape", shape)])


def split(ctx: NodeContext) -> NodeContext:
    """Split: sizes could be an input, and no axis was the default (0 is it now, Caffe2's was 1)."""
    axis = ctx.attr_int("axis", -ctx.arg(0).type.rank - 1)
    if axis < -ctx.arg(0).type.rank:
        if ctx.arg(0).type.rank > 1:
            raise ModelError(
                f"names no axis, and opset {ctx.opset} has no default; set its attribute 'axis'"
            )
        axis = 0
    sizes = ctx.attr_ints("split") or _whole(ctx, 1, "split")
    return respelled(ctx, [ctx.arg(0)], axis=axis, **({"split": sizes} if sizes else {}))


def tile(ctx: NodeContext) -> NodeContext:
    """Tile: how often, and along which axis, in place of how often along each."""
    rank = ctx.arg(0).type.rank
    tiles, axes = _whole(ctx, 1, "tiles"), _whole(ctx, 2, "axis")
    if tiles is None or axes is None or len(tiles) != 1 or len(axes) != 1:
        raise ModelError("tiles and axis must be one number each")
    repeats = [1] * rank
    repeats[normal_axis(axes[0], rank)] = tiles[0]
    return respelled(ctx, [ctx.arg(0), _constant(ctx, "repeats", repeats)])


def upsample(ctx: NodeContext) -> NodeContext:
    """Upsample of a picture [N,C,H,W] by two factors, "bilinear" for "linear"."""
    x = ctx.arg(0)
    if x.type.rank != 4:
        raise ModelError(f"input {x.type} is not [N,C,H,W]")
    mode = {"bilinear": "linear"}.get(ctx.attr_str("mode"), ctx.attr_str("mode", "nearest"))
    factors = [ctx.attr_float("height_scale"), ctx.attr_float("width_scale")]
    if min(factors) <= 0:
        raise ModelError("height_scale and width_scale are needed, both above 0")
    return respelled(ctx, mode=mode, scales=[1.0, 1.0, *factors])


def _require_same(ctx: NodeContext, wanted: Shape, given: Shape, otherwise: str) -> None:
    """Refuse shapes that differ; learn that open extents are equal."""
    text = f"{otherwise}; {NEWER}" if NEWER not in otherwise else otherwise
    if len(wanted) != len(given):
        raise ModelError(text)
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        for a, b in zip(wanted, given, strict=True):
            require_equal(a, b, text)


def _with_axes_behind(ctx: NodeContext, x: Tensor, count: int) -> Tensor:
    """x with `count` axes of extent 1 added behind its own."""
    return F.reshape(ctx.builder, x, (*x.shape, *([1] * count))) if count else x


def _constant(ctx: NodeContext, what: str, numbers: Sequence[int]) -> Tensor:
    return ctx.builder.constant(np.array(numbers, np.int64), ctx.builder.local(what))


def _whole(ctx: NodeContext, index: int, what: str) -> tuple[int, ...] | None:
    """Input `index` as ints, which was of the data's type, a float, too."""
    array = ctx.const(index, what)
    if array is None:
        return None
    if (array != np.floor(array)).any():
        raise ModelError(f"its {what} {array.tolist()} are not whole numbers")
    return tuple(int(v) for v in array.reshape(-1))
