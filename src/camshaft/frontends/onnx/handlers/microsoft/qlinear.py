"""ONNX Runtime's quantized operators: what its QOperator format is written in.

Each is the float operator between DequantizeLinear and QuantizeLinear, and is imported as just that:
three kinds of standard nodes, which the INT8 lowering then treats as in any Q/DQ model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.frontends.onnx.handlers.microsoft.spelling import OPSET, Spelling
from camshaft.ops import functional as F


@dataclass(frozen=True)
class _Form:
    """How an operator lists its operands.

    op_type: the float operator.  operands: position of each one's data, whose scale and zero point
    follow it.  plain: positions of operands that are passed as they are.  result: position of the
    output's scale, which its zero point follows.
    """

    op_type: str
    operands: tuple[int, ...] = (0,)
    plain: tuple[int, ...] = ()
    result: int = 3


_FORMS: Mapping[str, _Form] = {
    "QLinearAdd": _Form("Add", (0, 3), result=6),
    "QLinearAveragePool": _Form("AveragePool"),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool"),
    "QLinearLeakyRelu": _Form("LeakyRelu"),
    "QLinearMul": _Form("Mul", (0, 3), result=6),
    "QLinearReduceMean": _Form("ReduceMean"),
    "QLinearSigmoid": _Form("Sigmoid"),
    "QLinearSoftmax": _Form("Softmax"),
    "QLinearWhere": _Form("Where", (1, 4), plain=(0,), result=7),
}
_OLD_SOFTMAX = 11
"""An opset in which all axes from Softmax's axis on are one, as before opset 13."""


def qlinear(ctx: NodeContext) -> Results:
    """An operator of _FORMS as dequantize, float operator, quantize."""
    if ctx.attr_int("ceil_mode") and ctx.attr_int("count_include_pad"):
        raise ModelError(
            "ceil_mode=1 with count_include_pad=1: ONNX Runtime divides the last windows by more elements "
            "than ONNX's AveragePool; export the model with one of them"
        )
    form = _FORMS[ctx.proto.op_type]
    s = Spelling(ctx, OPSET if ctx.attr_int("opset", OPSET) >= 13 else _OLD_SOFTMAX)
    inputs = {**{i: s.name(i) for i in form.plain}, **{i: s.real(i) for i in form.operands}}
    operands = [inputs[i] for i in sorted(inputs)]
    axes = ctx.attr_ints("axes")
    if axes is not None:  # of ReduceMean: an input, in the opset that is spelled
        operands.append(s.constant("axes", axes))
    last, rank = bool(ctx.attr_int("channels_last")), ctx.arg(0).type.rank
    if last:
        operands[0] = s.channels_first(operands[0], rank)
    given = s.attributes("channels_last", "opset", "axes")
    real = s.node(form.op_type, operands, "real", given)
    return s.imported(s.quantized(s.channels_last(real, rank) if last else real, form.result))


def qlinear_conv(ctx: NodeContext) -> Results:
    """QLinearConv of images that may be channels-last; its weights are [M, C/group, kH, kW] always."""
    s, rank = Spelling(ctx), ctx.arg(0).type.rank
    last = bool(ctx.attr_int("channels_last"))
    inputs = [s.name(i) for i in range(9)]
    if last:
        inputs[0] = s.channels_first(inputs[0], rank)
    y = s.node("QLinearConv", inputs, "conv", s.attributes("channels_last"))
    return s.imported(s.channels_last(y, rank) if last else y)


def qlinear_concat(ctx: NodeContext) -> Results:
    """QLinearConcat(ys, yz, then x, xs, xz of each operand)."""
    s = Spelling(ctx)
    count = len(ctx.proto.input)
    if count < 5 or (count - 2) % 3:
        raise ModelError(f"{count} inputs are not a scale, a zero point and three for each operand")
    parts = [s.real(i) for i in range(2, count, 3)]
    real = s.node("Concat", parts, "real", axis=ctx.attr_int("axis"))
    return s.imported(s.quantized(real, 0))


def qgemm(ctx: NodeContext) -> Results:
    """QGemm(a, as, az, b, bs, bz, c, ys, yz): float out where ys is left out.

    c is i32 of scale alpha * as * bs, which may be one for each column.
    """
    s = Spelling(ctx)
    turned = ctx.attr_int("transB")
    inputs = [s.real(0), s.real(3, axis=0 if turned else 1)]
    if ctx.has(6):
        c = ctx.arg(6)
        scale = F.mul(ctx.builder, ctx.arg(1), ctx.arg(4), ctx.attr_float("alpha", 1.0))
        bias = F.dequantize(ctx.builder, c, scale, axis=c.type.rank - 1)
        inputs.append(s.bind("bias", bias))
    real = s.node("Gemm", inputs, "real", s.attributes())
    return s.imported(s.quantized(real, 7) if ctx.has(7) else real)


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_FORMS, qlinear),
    "QGemm": qgemm,
    "QLinearConcat": qlinear_concat,
    "QLinearConv": qlinear_conv,
}
