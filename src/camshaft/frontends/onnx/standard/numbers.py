"""Elementwise work, reductions, softmax, and quantization."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx

from camshaft.errors import ModelError
from camshaft.frontends.onnx.standard.call import Call, Emitter
from camshaft.frontends.onnx.standard.expressions import Elementwise
from camshaft.frontends.onnx.standard.writer import OPSET, plain_name
from camshaft.ir import expr as E
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Tensor
from camshaft.ir.op import NO_EPILOGUE
from camshaft.ir.types import f32
from camshaft.ops import DEQUANTIZE, HOST, POINTWISE, QUANTIZE, REDUCE, SOFTMAX

_REDUCERS = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


def pointwise(c: Call) -> None:
    """The nodes of the expression."""
    c.expression(c.attrs["expr"], [], [], list(c.node.args))


def reduce(c: Call) -> None:
    """ReduceSum and its like; ReduceMean where the sum is divided by what it is of."""
    x, kind = c.type(0), c.attrs["kind"]
    prologue, epilogue = c.attrs["prologue"], c.attrs["epilogue"]
    source, dtype = c.value(0), E.result_dtype(prologue, [x.dtype])
    if prologue != NO_EPILOGUE:
        source = Elementwise(c.w, c.extents, [source], [x.dtype]).value(prologue)
    if kind in ("sum", "prod"):
        source = c.w.cast(source, dtype, dtype.accumulator)
    inputs = [source, c.w.ints(sorted(c.attrs["axes"]), "axes")]
    keep = int(c.attrs["keepdims"])
    mean = _mean(c) if kind == "sum" and dtype == f32 else None
    if mean is None:
        c.finish(_REDUCERS[kind], *inputs, keepdims=keep)
    elif mean == epilogue:
        c.w.node("ReduceMean", inputs, c.output, keepdims=keep)
    else:
        c.behind(c.emit("ReduceMean", *inputs, keepdims=keep), epilogue, mean)


def _mean(c: Call) -> E.Expr | None:
    """The part of an epilogue that divides the sum by what it is of; None where the sum is also read itself."""
    extents = [c.type(0).shape[a] for a in c.attrs["axes"]]
    if not is_static(extents) or not prod(extents):
        return None
    mean = E.mul(NO_EPILOGUE, E.const(1.0 / prod(extents)))
    readers = [e for e in E.nodes(c.attrs["epilogue"]) if NO_EPILOGUE in e.args]
    return mean if readers == [mean] else None


def softmax(c: Call) -> None:
    """Softmax or LogSoftmax."""
    op_type = "LogSoftmax" if c.attrs["log"] else "Softmax"
    c.finish(op_type, c.value(0), axis=c.attrs["axis"])


# --- quantization -------------------------------------------------------------------------------


def quantize(c: Call) -> None:
    """QuantizeLinear."""
    x = c.node.args[0]
    base = c.w.value(x)
    made = c.w.made(c.node.output, f"{base}_QuantizeLinear_Output")
    inputs = [base, *_parameters(c, base)]
    c.w.node("QuantizeLinear", inputs, made, name=f"{base}_QuantizeLinear", **_axis(c))


def dequantize(c: Call) -> None:
    """DequantizeLinear, of an activation or of constant weights."""
    x = c.node.args[0]
    if x.is_const:
        base = plain_name(x.name)
        source = c.w.value(x, f"{base}_quantized")
    else:
        source = c.w.value(x)
        base = source.removesuffix("_QuantizeLinear_Output")
    made = c.w.made(c.node.output, f"{base}_DequantizeLinear_Output")
    attrs = _axis(c)
    if c.attrs["block"]:
        attrs["block_size"] = int(c.attrs["block"])
    inputs = [source, *_parameters(c, base)]
    c.w.node("DequantizeLinear", inputs, made, name=f"{base}_DequantizeLinear", **attrs)


def _parameters(c: Call, base: str) -> list[str]:
    named: list[tuple[Tensor, str]] = [
        (c.node.args[1], f"{base}_scale"),
        (c.node.args[2], f"{base}_zero_point"),
    ]
    return [c.w.parameter(t, name) if t.is_const else c.w.value(t) for t, name in named]


def _axis(c: Call) -> dict[str, int]:
    return {"axis": int(c.attrs["axis"])} if c.type(1).rank else {}


# --- operators that run on the host -------------------------------------------------------------


def host(c: Call) -> None:
    """The model's own node, where opset 21 has the same operator."""
    node = c.node
    proto = onnx.NodeProto.FromString(c.attrs["proto"])
    version = int(c.attrs["opset"])
    if proto.domain not in ("", "ai.onnx"):
        raise ModelError(f"its operator is of domain {proto.domain!r}, not of standard ONNX")
    schemas = [onnx.defs.get_schema(proto.op_type, v, "") for v in (version, OPSET)]
    if schemas[0].since_version != schemas[1].since_version:
        raise ModelError(
            f"{proto.op_type} is of opset {schemas[0].since_version}, and another operator since opset "
            f"{schemas[1].since_version}; convert the model to opset {OPSET} (onnx.version_converter)"
        )
    slots = iter(node.outputs)
    outputs = [c.w.made(next(slots)) if name else "" for name in proto.output]
    del proto.input[:], proto.output[:]
    proto.input.extend("" if t is None else c.w.value(t) for t in node.inputs)
    proto.output.extend(outputs)
    proto.name = ""
    c.w.append(proto)


EMITTERS: Mapping[str, Emitter] = {
    POINTWISE.name: pointwise,
    REDUCE.name: reduce,
    SOFTMAX.name: softmax,
    QUANTIZE.name: quantize,
    DEQUANTIZE.name: dequantize,
    HOST.name: host,
}
