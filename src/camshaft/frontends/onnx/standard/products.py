"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.standard.call import Call, Emitter
from camshaft.frontends.onnx.standard.writer import plain_name
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.few_bits import unpacked
from camshaft.ir.op import NO_EPILOGUE
from camshaft.ir.types import DType, f32, i8, u8
from camshaft.ops import CONV, CONV_TRANSPOSE, MATMUL, MATMUL_NBITS


def conv(c: Call) -> None:
    """Conv, or ConvInteger of bytes."""
    if c.attrs["layout"] != "NCHW":
        raise ModelError("images are channels-last; bring the graph into standard form first")
    window = {
        "kernel_shape": c.type(1).static[2:],
        "strides": c.attrs["strides"],
        "pads": c.attrs["pads"],
        "dilations": c.attrs["dilations"],
        "group": c.attrs["groups"],
    }
    x, w = c.type(0), c.type(1)
    if x.dtype.is_int:
        zero = c.constant(c.attrs["x_zero_point"], x.dtype, "zero_point")
        c.finish("ConvInteger", c.value(0), *_with_zero_points(c, zero, 0), **window)
        return
    operands = [c.value(0), c.w.cast(c.value(1), w.dtype, x.dtype)]
    epilogue = c.attrs["epilogue"]
    sum_, bias = _bias(c, epilogue) or (NO_EPILOGUE, "")
    if bias:
        operands.append(bias)
    if sum_ == epilogue:
        c.w.node("Conv", operands, c.output, **window)
    else:
        c.behind(c.emit("Conv", *operands, **window), epilogue, sum_)


def _bias(c: Call, epilogue: Expr) -> tuple[Expr, str] | None:
    """The part of a convolution's epilogue that adds a bias to the sums, and the bias [K]; None where the sums are
    also read without one."""
    channels = c.node.output.shape[1]
    readers = [e for e in E.nodes(epilogue) if NO_EPILOGUE in e.args]
    if len(readers) != 1 or readers[0].op != "add" or not isinstance(channels, int):
        return None
    (other,) = [a for a in readers[0].args if a != NO_EPILOGUE] or [NO_EPILOGUE]
    if other.op == "const":
        value = np.asarray(other.value, np.float32)
    elif other.op == "input" and other != NO_EPILOGUE:
        operand = c.node.args[1 + int(other.value)]
        if not operand.is_const or operand.type.dtype != f32:
            return None
        padded = operand.array.reshape((1,) * (4 - operand.type.rank) + operand.array.shape)
        if padded.shape not in ((1, 1, 1, 1), (1, channels, 1, 1)):
            return None
        value = padded
    else:
        return None
    full = np.ascontiguousarray(np.broadcast_to(value.reshape(-1), (channels,)))
    return readers[0], c.w.stored(full, f"{c.node.origin[0]}.bias")


def _with_zero_points(c: Call, left: str, right: int) -> list[str]:
    """What stands behind the activations of an integer product: weights, and the zero points of both.

    Signed weights are written as unsigned ones: on processors without VNNI, ONNX Runtime adds products of unsigned and
    signed bytes in pairs of 16 bits, which saturate.
    """
    w = c.node.args[1]
    if not w.is_const or w.type.dtype != i8 or c.type(0).dtype != u8:
        return [c.value(1), left, c.constant(right, w.type.dtype, "zero_point")]
    unsigned = (w.array.astype(np.int16) + 128).astype(np.uint8)
    stored = c.w.stored(unsigned, f"{plain_name(w.name)}_quantized")
    return [stored, left, c.constant(right + 128, u8, "zero_point")]


def conv_transpose(c: Call) -> None:
    """ConvTranspose."""
    c.finish(
        "ConvTranspose",
        c.value(0),
        c.w.cast(c.value(1), c.type(1).dtype, c.type(0).dtype),
        kernel_shape=c.type(1).static[2:],
        strides=c.attrs["strides"],
        pads=c.attrs["pads"],
        dilations=c.attrs["dilations"],
        output_padding=c.attrs["output_padding"],
        group=c.attrs["groups"],
    )


def matmul(c: Call) -> None:
    """MatMul, or MatMulInteger of bytes."""
    a, b = c.type(0), c.type(1)
    if a.dtype.is_int and a.dtype.bits == 8:
        zero = c.constant(c.attrs["a_zero_point"], a.dtype, "zero_point")
        weights = _with_zero_points(c, zero, int(c.attrs["b_zero_point"]))
        c.finish("MatMulInteger", c.value(0), *weights)
        return
    wide: DType = a.dtype.accumulator if a.dtype.is_float else a.dtype
    c.finish("MatMul", c.w.cast(c.value(0), a.dtype, wide), c.w.cast(c.value(1), b.dtype, wide))


def matmul_nbits(c: Call) -> None:
    """MatMul with what DequantizeLinear makes of blocks of integers of few bits."""
    bits, block, k = int(c.attrs["bits"]), int(c.attrs["block"]), c.type(0).static[-1]
    if c.attrs["int8"]:
        raise ModelError(
            "its rows are quantized block by block as they run, for which standard ONNX has no operator; build it "
            "without INT8 to export it"
        )
    w, scale, zero = (t.array for t in c.node.args[1:4])
    whole = unpacked(w, k, bits)
    points = zero if zero.size else np.full(scale.shape, 1 << bits - 1, np.uint8)
    if np.any(points != np.rint(points)) or points.min() < 0 or points.max() >= 1 << bits:
        raise ModelError("its zero points are no integers, which standard ONNX wants")
    name = plain_name(c.node.args[1].name)
    kind = TensorProto.UINT4 if bits == 4 else TensorProto.UINT8
    stored = c.w.packed(whole.T, kind, f"{name}_quantized")
    scales = c.w.stored(np.ascontiguousarray(scale.T.astype(np.float32)), f"{name}_scale")
    zeros = c.w.packed(points.T, kind, f"{name}_zero_point")
    floats = c.w.node(
        "DequantizeLinear", [stored, scales, zeros], name=f"{name}_DequantizeLinear",
        axis=0, block_size=block,
    )  # fmt: skip
    c.finish("MatMul", c.value(0), floats)


EMITTERS: Mapping[str, Emitter] = {
    CONV.name: conv,
    CONV_TRANSPOSE.name: conv_transpose,
    MATMUL.name: matmul,
    MATMUL_NBITS.name: matmul_nbits,
}
