"""ONNX's experimental operators, gone since 1.5 and still met in files of converters (WinML, CoreML, Caffe2).

No schema of onnx describes them.  They mean what ONNX Runtime makes of them, for opsets up to 9; what it
has not, what their last description said.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import inner_dtype
from camshaft.frontends.onnx.handlers.microsoft.fused import (
    parametric_softplus,
    scaled,
    scaled_tanh,
)
from camshaft.ir.extents.extent import Extent
from camshaft.ops import functional as F

FLOAT = 1
"""TensorProto.FLOAT."""


def affine(ctx: NodeContext) -> Results:
    """Affine: alpha * x + beta."""
    alpha, beta = ctx.attr_float("alpha", 1.0), ctx.attr_float("beta")
    return scaled(ctx.builder, ctx.arg(0), alpha, beta, output=ctx.output)


def scale(ctx: NodeContext) -> Results:
    """Scale: scale * x."""
    return F.mul(ctx.builder, ctx.arg(0), ctx.attr_float("scale", 1.0), output=ctx.output)


def image_scaler(ctx: NodeContext) -> Results:
    """ImageScaler: scale * x + bias, one bias for each channel of [N,C,H,W]."""
    x, bias = ctx.arg(0), np.array(ctx.attr_floats("bias") or (), np.float32)
    if x.type.rank != 4 or bias.size != x.shape[1]:
        raise ModelError(f"{bias.size} biases for the channels of {x.type}")
    big = F.mul(ctx.builder, x, ctx.attr_float("scale", 1.0))
    return F.add(ctx.builder, big, bias.reshape(-1, 1, 1), output=ctx.output)


def stretched_activation(ctx: NodeContext) -> Results:
    """ParametricSoftplus and ScaledTanh, of both of whose numbers one is needed."""
    given = {a.name for a in ctx.proto.attribute}
    if not {"alpha", "beta"} <= given:
        raise ModelError("alpha and beta are needed: neither has a default")
    function = scaled_tanh if ctx.proto.op_type == "ScaledTanh" else parametric_softplus
    alpha, beta = ctx.attr_float("alpha"), ctx.attr_float("beta")
    return function(ctx.builder, ctx.arg(0), alpha, beta, output=ctx.output)


def crop(ctx: NodeContext) -> Results:
    """Crop of [N,C,H,W]: without `border` (left, top, right, bottom) pixels, or from left and top on as many
    as `scale` says (height, width)."""
    x = ctx.arg(0)
    border, size = ctx.attr_ints("border") or (), ctx.attr_ints("scale")
    if x.type.rank != 4 or len(border) < 4 or (size is not None and len(size) != 2):
        raise ModelError(f"border {list(border)} and scale {size} do not crop {x.type}")
    left, top, right, bottom = border[:4]
    ends: tuple[Extent, Extent] = x.shape[2] - bottom, x.shape[3] - right
    if size is not None:
        ends = top + size[0], left + size[1]
    return F.slice(ctx.builder, x, (top, left), ends, (2, 3), output=ctx.output)


def mean_variance_normalization(ctx: NodeContext) -> Results:
    """MeanVarianceNormalization: (x - mean) / deviation over `axes`; of opset 9 on, with 1e-9 added to it.

    Before, over the batch and the picture of [N,C,H,W], and with across_channels=1 over everything.
    """
    x, axes, tiny = ctx.arg(0), ctx.attr_ints("axes") or (0, 2, 3), 1e-9
    if ctx.opset < 9:
        if x.type.rank != 4:
            raise ModelError(f"input {x.type} is not [N,C,H,W]")
        axes, tiny = ((0, 1, 2, 3) if ctx.attr_int("across_channels") else (0, 2, 3)), 0.0
    b, divides = ctx.builder, ctx.opset >= 9 or ctx.attr_int("normalize_variance", 1)
    centred = F.sub(b, x, F.mean(b, x, axes, keepdims=True), output=None if divides else ctx.output)
    if not divides:
        return centred
    deviation = F.sqrt(b, F.mean(b, F.mul(b, centred, centred), axes, keepdims=True))
    return F.div(b, centred, F.add(b, deviation, tiny), output=ctx.output)


def dynamic_slice(ctx: NodeContext) -> Results:
    """DynamicSlice: Slice of opset 10, without steps."""
    starts, ends = ctx.const_ints(1, "starts"), ctx.const_ints(2, "ends")
    if starts is None or ends is None:
        raise ModelError("starts and ends are missing")
    axes = ctx.const_ints(3, "axes")
    return F.slice(ctx.builder, ctx.arg(0), starts, ends, axes, output=ctx.output)


def _filled_shape(ctx: NodeContext) -> tuple[Extent, ...]:
    """What Caffe2's fillers fill: `shape`; or the first input's shape, or what it says, and `extra_shape`."""
    extra = ctx.attr_ints("extra_shape") or ()
    if not ctx.has(0):
        return ctx.attr_ints("shape") or ()
    if not ctx.attr_int("input_as_shape"):
        return (*ctx.arg(0).shape, *extra)
    return (*(ctx.const_ints(0, "shape") or ()), *extra)


def constant_fill(ctx: NodeContext) -> Results:
    """ConstantFill: one value everywhere."""
    dtype = inner_dtype(ctx.attr_int("dtype", FLOAT))
    value = np.asarray(ctx.attr_float("value")).astype(dtype.numpy)
    return F.full(ctx.builder, _filled_shape(ctx), value, output=ctx.output)


def given_tensor_fill(ctx: NodeContext) -> Results:
    """GivenTensorFill: the node's own values."""
    values = np.array(ctx.attr_floats("values") or (), np.float32)
    shape = _filled_shape(ctx)
    try:
        made = values.reshape(shape)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ModelError(f"{values.size} values do not fill shape {list(shape)}") from error
    return ctx.builder.constant(made, ctx.output)


HANDLERS: Mapping[str, Handler] = {
    "Affine": affine,
    "ConstantFill": constant_fill,
    "Crop": crop,
    "DynamicSlice": dynamic_slice,
    "GivenTensorFill": given_tensor_fill,
    "ImageScaler": image_scaler,
    "MeanVarianceNormalization": mean_variance_normalization,
    "ParametricSoftplus": stretched_activation,
    "Scale": scale,
    "ScaledTanh": stretched_activation,
}
