"""ONNX Runtime's recurrent layers with quantized weights."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.ops import functional as F


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


HANDLERS: Mapping[str, Handler] = {"DynamicQuantizeLSTM": dynamic_quantize_lstm}
