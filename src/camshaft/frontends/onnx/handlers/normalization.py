"""Normalizations."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F


def batch_normalization(ctx: NodeContext) -> Results:
    """BatchNormalization; by its own batch, in training mode, it is a host step.

    That is what `training_mode` says, and before opset 14 that other outputs than the first are wanted.
    """
    if ctx.attr_int("training_mode") or (ctx.opset < 14 and any(map(ctx.wants, range(1, 5)))):
        return host_step(ctx)
    x, weight, bias, mean, variance = (ctx.arg(i) for i in range(5))
    eps = ctx.attr_float("epsilon", 1e-5)
    if not ctx.attr_int("spatial", 1):
        return _per_element(ctx, eps)
    return F.batch_norm(ctx.builder, x, mean, variance, weight, bias, eps=eps, output=ctx.output)


def _per_element(ctx: NodeContext, eps: float) -> Results:
    """spatial=0, before opset 9: statistics, scale and bias have the shape of one example."""
    x, *rest = (ctx.arg(i) for i in range(5))
    for t in rest:
        misfit = f"spatial=0: {t.type} has not the shape {list(x.shape[1:])} of one example"
        if t.type.rank != x.type.rank - 1:
            raise ModelError(misfit)
        with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
            for given, wanted in zip(t.shape, x.shape[1:], strict=True):
                require_equal(given, wanted, misfit)
    weight, bias, mean, variance = rest
    deviation = F.sqrt(ctx.builder, F.add(ctx.builder, variance, eps))
    standard = F.div(ctx.builder, F.sub(ctx.builder, x, mean), deviation)
    return F.add(ctx.builder, F.mul(ctx.builder, standard, weight), bias, output=ctx.output)


def instance_normalization(ctx: NodeContext) -> Results:
    """InstanceNormalization."""
    x, weight, bias = (ctx.arg(i) for i in range(3))
    eps = ctx.attr_float("epsilon", 1e-5)
    return F.instance_norm(ctx.builder, x, weight, bias, eps=eps, output=ctx.output)


def group_normalization(ctx: NodeContext) -> Results:
    """GroupNormalization: scale and bias are per channel, before opset 21 per group."""
    x, weight, bias = (ctx.arg(i) for i in range(3))
    groups, eps = ctx.attr_int("num_groups", 1), ctx.attr_float("epsilon", 1e-5)
    if ctx.opset < 21 and x.type.rank > 1 and groups > 0:
        weight, bias = (_each_channel(ctx, t, x.shape[1], groups) for t in (weight, bias))
    return F.group_norm(ctx.builder, x, groups, weight, bias, eps=eps, output=ctx.output)


def _each_channel(ctx: NodeContext, vector: Tensor, channels: Extent, groups: int) -> Tensor:
    """[groups], one number a group, as one a channel."""
    if vector.shape != (groups,):
        raise ModelError(
            f"{vector.name!r} is {vector.type}, not one number for each of {groups} groups"
        )
    columns = F.reshape(ctx.builder, vector, (groups, 1))
    spread = F.broadcast_to(ctx.builder, columns, (groups, channels // groups))
    return F.reshape(ctx.builder, spread, (groups * (channels // groups),))


def layer_normalization(ctx: NodeContext) -> Results:
    """LayerNormalization, with its optional statistics."""
    x, weight, bias = ctx.arg(0), ctx.arg(1), ctx.arg(2) if ctx.has(2) else None
    axis, eps = ctx.attr_int("axis", -1), ctx.attr_float("epsilon", 1e-5)
    statistics = ctx.wants(1) or ctx.wants(2)
    norm = F.layer_norm_with_statistics if statistics else F.layer_norm
    return norm(ctx.builder, x, axis, weight, bias, eps=eps, output=ctx.output)


def lp_normalization(ctx: NodeContext) -> Results:
    """LpNormalization."""
    axis, p = ctx.attr_int("axis", -1), ctx.attr_int("p", 2)
    return F.lp_normalize(ctx.builder, ctx.arg(0), p, axis, output=ctx.output)


def local_response(ctx: NodeContext) -> Results:
    """LRN."""
    return F.local_response_norm(
        ctx.builder,
        ctx.arg(0),
        ctx.attr_int("size"),
        alpha=ctx.attr_float("alpha", 1e-4),
        beta=ctx.attr_float("beta", 0.75),
        k=ctx.attr_float("bias", 1.0),
        output=ctx.output,
    )


HANDLERS: Mapping[str, Handler] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LRN": local_response,
    "LpNormalization": lp_normalization,
}
