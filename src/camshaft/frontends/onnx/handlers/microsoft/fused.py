"""Products and activations that ONNX Runtime's optimizer has fused: several standard operators in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import FOR_INFERENCE, Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.microsoft.spelling import Spelling
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import boolean
from camshaft.ops import functional as F

Numbers = Mapping[str, float]
F32_MAX = float(np.finfo(np.float32).max)


def scaled(
    builder: GraphBuilder, x: Tensor, alpha: float, beta: float, *, output: str | None = None
) -> Tensor:
    """alpha * x + beta."""
    return F.add(builder, F.mul(builder, x, alpha), beta, output=output)


def scaled_tanh(
    builder: GraphBuilder, x: Tensor, alpha: float, beta: float, *, output: str | None = None
) -> Tensor:
    """alpha * tanh(beta * x)."""
    return F.mul(builder, F.tanh(builder, F.mul(builder, x, beta)), alpha, output=output)


def parametric_softplus(
    builder: GraphBuilder, x: Tensor, alpha: float, beta: float, *, output: str | None = None
) -> Tensor:
    """alpha * log(1 + e^(beta * x))."""
    return F.mul(builder, F.softplus(builder, F.mul(builder, x, beta)), alpha, output=output)


ACTIVATIONS: Mapping[str, tuple[Callable[..., Tensor], Numbers]] = {
    "Affine": (scaled, {"alpha": 1.0, "beta": 0.0}),
    "Celu": (F.celu, {"alpha": 1.0}),
    "Clip": (F.clamp, {"min": -F32_MAX, "max": F32_MAX}),
    "Elu": (F.elu, {"alpha": 1.0}),
    "Gelu": (F.gelu, {}),
    "HardSigmoid": (F.hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": (F.hard_swish, {}),
    "LeakyRelu": (F.leaky_relu, {"alpha": 0.01}),
    "ParametricSoftplus": (parametric_softplus, {"alpha": 1.0, "beta": 1.0}),
    "QuickGelu": (F.silu, {"alpha": 1.702}),
    "Relu": (F.relu, {}),
    "ScaledTanh": (scaled_tanh, {"alpha": 1.0, "beta": 1.0}),
    "Selu": (F.selu, {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "Sigmoid": (F.sigmoid, {}),
    "Softplus": (F.softplus, {}),
    "Softsign": (F.softsign, {}),
    "Tanh": (F.tanh, {}),
    "ThresholdedRelu": (F.threshold, {"alpha": 1.0}),
}
"""Activations, and the numbers they take behind x, in their order, with ONNX's defaults."""


def activated(ctx: NodeContext, x: Tensor) -> Tensor:
    """x through the node's activation, the node's output.

    Its numbers are listed in `activation_params`, or stand in `activation_alpha`, `activation_beta`
    and `activation_gamma`.
    """
    kind = ctx.attr_str("activation")
    if kind not in ACTIVATIONS:
        raise ModelError(f"activation {kind!r} is none of {', '.join(ACTIVATIONS)}")
    function, defaults = ACTIVATIONS[kind]
    numbers = {n: ctx.attr_float(f"activation_{n}", value) for n, value in defaults.items()}
    numbers |= zip(numbers, ctx.attr_floats("activation_params") or (), strict=False)
    return function(ctx.builder, x, *numbers.values(), output=ctx.output)


def _conv(ctx: NodeContext, *, last: bool) -> Results:
    """Conv(x, w, bias, summand) and an activation; `last`: images are channels-last."""
    s, rank = Spelling(ctx), ctx.arg(0).type.rank
    inputs = [s.name(i) for i in range(3)]
    if last:
        inputs[0] = s.channels_first(inputs[0], rank)
    y = s.node("Conv", inputs, "conv", s.attributes("activation", "activation_params"))
    if last:
        y = s.channels_last(y, rank)
    if ctx.has(3):
        y = s.node("Add", [y, s.name(3)], "sum")
    if not ctx.attr_str("activation"):
        return s.imported(y)
    return activated(ctx, s.imported(y, named=False))


def fused_conv(ctx: NodeContext) -> Results:
    """FusedConv(x, w, bias, summand)."""
    return _conv(ctx, last=False)


def nhwc_conv(ctx: NodeContext) -> Results:
    """NhwcConv and NhwcFusedConv: FusedConv of channels-last images; weights are [M, C/group, kH, kW]."""
    return _conv(ctx, last=True)


def nhwc_max_pool(ctx: NodeContext) -> Results:
    """NhwcMaxPool: MaxPool of channels-last images."""
    s, rank = Spelling(ctx), ctx.arg(0).type.rank
    x = s.channels_first(s.name(0), rank)
    return s.imported(s.channels_last(s.node("MaxPool", [x], "pool", s.attributes()), rank))


def conv_transpose_with_pads(ctx: NodeContext) -> Results:
    """ConvTransposeWithDynamicPads(x, w, pads, bias), pads known when the model is imported."""
    s = Spelling(ctx)
    pads = ctx.const_ints(2, "pads")
    attrs = {} if pads is None else {"pads": list(pads)}
    inputs = [s.name(0), s.name(1), s.name(3)]
    return s.imported(s.node("ConvTranspose", inputs, "conv", s.attributes("pads"), **attrs))


def fused_gemm(ctx: NodeContext) -> Results:
    """FusedGemm: Gemm and an activation."""
    s = Spelling(ctx)
    own = ("activation", *(f"activation_{n}" for n in ("alpha", "beta", "gamma")))
    y = s.node("Gemm", [s.name(i) for i in range(3)], "gemm", s.attributes(*own))
    if not ctx.attr_str("activation"):
        return s.imported(y)
    return activated(ctx, s.imported(y, named=False))


def _operand(ctx: NodeContext, index: int, side: str) -> Tensor:
    """An operand of FusedMatMul, turned: its first axis moved behind the batch, its matrices
    transposed; vectors stay."""
    x = ctx.arg(index)
    rank = x.type.rank
    order = list(range(rank))
    if rank > 2 and ctx.attr_int(f"transBatch{side}"):
        order = [*order[1:-1], 0, order[-1]]
    if rank > 1 and ctx.attr_int(f"trans{side}"):
        order = [*order[:-2], order[-1], order[-2]]
    return F.transpose(ctx.builder, x, order)


def fused_matmul(ctx: NodeContext) -> Results:
    """FusedMatMul, TransposeMatMul and FusedMatMulActivation: alpha * A B, then an activation."""
    alpha, kind = ctx.attr_float("alpha", 1.0), ctx.attr_str("activation")
    operands = _operand(ctx, 0, "A"), _operand(ctx, 1, "B")
    plain = None if kind else ctx.output
    y = F.matmul(ctx.builder, *operands, output=plain if alpha == 1 else None)
    if alpha != 1:
        y = F.mul(ctx.builder, y, alpha, output=plain)
    if kind == "Softmax":
        return F.softmax(ctx.builder, y, ctx.attr_int("activation_axis", -1), output=ctx.output)
    return activated(ctx, y) if kind else y


def gemm_fast_gelu(ctx: NodeContext) -> Results:
    """GemmFastGelu(x, w, bias): a matrix product, a bias, and gelu by tanh."""
    y = F.matmul(ctx.builder, ctx.arg(0), ctx.arg(1))
    if ctx.has(2):
        y = F.add(ctx.builder, y, ctx.arg(2))
    return F.gelu(ctx.builder, y, "tanh", output=ctx.output)


# --- activations ----------------------------------------------------------------------------


def gelu(ctx: NodeContext) -> Results:
    """Gelu(x), BiasGelu(x, bias) by erf; FastGelu(x, bias) by tanh."""
    x = F.add(ctx.builder, ctx.arg(0), ctx.arg(1)) if ctx.has(1) else ctx.arg(0)
    approximate = "tanh" if ctx.proto.op_type == "FastGelu" else "none"
    return F.gelu(ctx.builder, x, approximate, output=ctx.output)


def quick_gelu(ctx: NodeContext) -> Results:
    """QuickGelu: x * sigmoid(alpha * x)."""
    return F.silu(ctx.builder, ctx.arg(0), ctx.attr_float("alpha", 1.702), output=ctx.output)


def bias_split_gelu(ctx: NodeContext) -> Results:
    """BiasSplitGelu(x, bias): the left half of the last axis times gelu of the right one."""
    b = ctx.builder
    x = F.add(b, ctx.arg(0), ctx.arg(1))
    left, right = F.split(b, x, [x.shape[-1] // 2] * 2, -1)
    return F.mul(b, left, F.gelu(b, right), output=ctx.output)


def bias_add(ctx: NodeContext) -> Results:
    """BiasAdd(x, bias, skip): their sum."""
    return F.add(ctx.builder, *(ctx.arg(i) for i in range(3)), output=ctx.output)


def bias_softmax(ctx: NodeContext) -> Results:
    """BiasSoftmax(x, bias): softmax of the sum; all axes from `axis` on are one."""
    s = Spelling(ctx, opset=11)
    total = s.node("Add", [s.name(0), s.name(1)], "sum")
    return s.imported(s.node("Softmax", [total], "softmax", axis=ctx.attr_int("axis", 1)))


def bias_dropout(ctx: NodeContext) -> Results:
    """BiasDropout(x, bias, residual, ratio, training) in inference: a sum; the mask is all true."""
    if ctx.const(4, "training mode") is not None and bool(ctx.arg(4).array):
        raise ModelError(f"drops elements at random: it is in training mode; {FOR_INFERENCE}")
    operands = [ctx.arg(i) for i in range(3) if ctx.has(i)]
    total = F.add(ctx.builder, *operands, output=ctx.output)
    if not ctx.wants(1):
        return total
    return total, F.full(ctx.builder, total.shape, True, boolean, output=ctx.output_name(1))


HANDLERS: Mapping[str, Handler] = {
    "BiasAdd": bias_add,
    "BiasDropout": bias_dropout,
    "BiasGelu": gelu,
    "BiasSoftmax": bias_softmax,
    "BiasSplitGelu": bias_split_gelu,
    "ConvTransposeWithDynamicPads": conv_transpose_with_pads,
    "FastGelu": gelu,
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "FusedMatMulActivation": fused_matmul,
    "Gelu": gelu,
    "GemmFastGelu": gemm_fast_gelu,
    "NhwcConv": nhwc_conv,
    "NhwcFusedConv": nhwc_conv,
    "NhwcMaxPool": nhwc_max_pool,
    "QuickGelu": quick_gelu,
    "TransposeMatMul": fused_matmul,
}
