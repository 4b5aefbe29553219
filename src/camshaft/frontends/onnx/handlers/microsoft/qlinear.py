"""ONNX Runtime's own quantized operators (com.microsoft): what its QOperator format is written in.

Each is the float operator between DequantizeLinear and QuantizeLinear, and is imported as just that:
three kinds of standard nodes, which the INT8 lowering then treats as in any Q/DQ model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import AttributeProto, NodeProto, helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F

DOMAIN = "com.microsoft"


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
_OWN_ATTRIBUTES = ("channels_last", "opset")
"""Attributes of these operators that the float ones do not have."""


class _Spelling:
    """Standard nodes in the making; names of the node's inputs are their positions."""

    def __init__(self, ctx: NodeContext) -> None:
        self.ctx = ctx
        self.nodes: list[NodeProto] = []
        self.bound: dict[str, Tensor] = {}

    def name(self, index: int) -> str:
        """The name of input `index`, "" where it is left out."""
        if not self.ctx.has(index):
            return ""
        self.bound[f"in{index}"] = self.ctx.arg(index)
        return f"in{index}"

    def node(self, op_type: str, inputs: list[str], output: str, **attrs: int) -> str:
        """Another node; its output's name."""
        while inputs and not inputs[-1]:
            inputs.pop()
        made = helper.make_node(op_type, inputs, [output], name=self.ctx.name)
        made.attribute.extend(helper.make_attribute(n, value) for n, value in attrs.items())
        self.nodes.append(made)
        return output

    def real(self, index: int, axis: int = 0) -> str:
        """Input `index`, whose scale and zero point follow it, dequantized."""
        inputs = [self.name(index + i) for i in range(3)]
        return self.node("DequantizeLinear", inputs, f"real{index}", axis=axis)

    def quantized(self, real: str, scale: int) -> str:
        """`real` quantized by the scale at position `scale` and the zero point behind it."""
        inputs = [real, self.name(scale), self.name(scale + 1)]
        return self.node("QuantizeLinear", inputs, "quantized")

    def imported(self, output: str) -> Tensor:
        """The nodes imported in place of the operator."""
        result = helper.make_tensor_value_info(output, 0, None)
        graph = helper.make_graph(self.nodes, self.ctx.proto.op_type, [], [result])
        return self.ctx.subgraph(graph, self.bound)[0]


def _attributes(ctx: NodeContext) -> list[AttributeProto]:
    if ctx.attr_int("channels_last"):
        raise ModelError("channels_last=1 is not supported; export the model with channels first")
    return [a for a in ctx.proto.attribute if a.name not in _OWN_ATTRIBUTES]


def qlinear(ctx: NodeContext) -> Results:
    """An operator of _FORMS as dequantize, float operator, quantize."""
    form, s = _FORMS[ctx.proto.op_type], _Spelling(ctx)
    inputs = {**{i: s.name(i) for i in form.plain}, **{i: s.real(i) for i in form.operands}}
    real = s.node(form.op_type, [inputs[i] for i in sorted(inputs)], "real")
    s.nodes[-1].attribute.extend(_attributes(ctx))
    return s.imported(s.quantized(real, form.result))


def qlinear_concat(ctx: NodeContext) -> Results:
    """QLinearConcat(ys, yz, then x, xs, xz of each operand)."""
    s = _Spelling(ctx)
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
    s = _Spelling(ctx)
    turned = ctx.attr_int("transB")
    inputs = [s.real(0), s.real(3, axis=0 if turned else 1)]
    if ctx.has(6):
        c = ctx.arg(6)
        scale = F.mul(ctx.builder, ctx.arg(1), ctx.arg(4), ctx.attr_float("alpha", 1.0))
        s.bound["bias"] = F.dequantize(ctx.builder, c, scale, axis=c.type.rank - 1)
        inputs.append("bias")
    real = s.node("Gemm", inputs, "real")
    s.nodes[-1].attribute.extend(_attributes(ctx))
    return s.imported(s.quantized(real, 7) if ctx.has(7) else real)


def dynamic_quantize_lstm(ctx: NodeContext) -> Results:
    """DynamicQuantizeLSTM(x, w, r, b, lengths, h, c, p, ws, wz, rs, rz)."""
    activations = ctx.attr_strings("activations") or ()
    default = ("sigmoid", "tanh", "tanh") * (len(activations) // 3)
    for wrong, what in (
        (tuple(a.lower() for a in activations) != default, "activations"),
        (ctx.attr_float("clip"), "clip"),
        (ctx.attr_int("input_forget"), "input_forget"),
        (ctx.has(4), "sequence_lens"),
    ):
        if wrong:
            raise ModelError(f"{what} is not supported in DynamicQuantizeLSTM; export LSTM instead")
    optional = [ctx.arg(i) if ctx.has(i) else None for i in range(12)]
    return F.dynamic_lstm(
        ctx.builder,
        ctx.arg(0),
        (ctx.arg(1), ctx.arg(8), optional[9]),
        (ctx.arg(2), ctx.arg(10), optional[11]),
        optional[3],
        hidden=optional[5],
        cell=optional[6],
        peepholes=optional[7],
        direction=ctx.attr_str("direction", "forward"),
        outputs=[ctx.output_name(i) if ctx.wants(i) else None for i in range(3)],
    )


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_FORMS, qlinear),
    "DynamicQuantizeLSTM": dynamic_quantize_lstm,
    "QGemm": qgemm,
    "QLinearConcat": qlinear_concat,
}
