"""Four-by-four byte interleaving inside 128-bit lanes, and its way back through x86 packs.

Depthwise INT8 kernels need four rows of bytes side by side in each i32 lane.  The unpack
instructions that do it work inside 128-bit lanes, and the pack instructions that later narrow i32
to bytes undo exactly that permutation.  Between the two, channels are in *lane order*: of n byte
channels, vector g (of four) holds in its 128-bit lane j the channels 16j+4g .. 16j+4g+3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.backends.base import Operand
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.expr import Expr, nodes, result_dtype
from camshaft.ir.types import DType, f32, i8, i16, i32, u8

_ISA = {128: "sse2", 256: "avx2", 512: "avx512"}
_CVT = {128: "llvm.x86.sse2.cvtps2dq", 256: "llvm.x86.avx.cvt.ps2dq.256"}


def lane_order(channels: int) -> list[int]:
    """Channel numbers in lane order: entry m is the channel at place m of the four vectors."""
    lanes = channels // 16
    return [16 * j + 4 * g + t for g in range(4) for j in range(lanes) for t in range(4)]


def natural_order(channels: int) -> list[int]:
    """Places in lane order of channel 0, 1, ...: the inverse of `lane_order`."""
    places = [0] * channels
    for place, channel in enumerate(lane_order(channels)):
        places[channel] = place
    return places


def interleave4(k: FunctionBuilder, rows: Sequence[Value]) -> list[Value]:
    """Four vectors of n bytes to four vectors of n/4 i32 lanes, byte b of a lane from rows[b].

    Channels come out in lane order.
    """
    a, b, c, d = rows
    low_ab, high_ab = _unpack(k, a, b)
    low_cd, high_cd = _unpack(k, c, d)
    quads: list[Value] = []
    for ab, cd in ((low_ab, low_cd), (high_ab, high_cd)):
        pairs = (k.bitcast(ab, i16), k.bitcast(cd, i16))
        quads += [k.bitcast(v, i32) for v in _unpack(k, *pairs)]
    return quads


def _unpack(k: FunctionBuilder, a: Value, b: Value) -> tuple[Value, Value]:
    """Lanes of a and b in turn: the lower and the upper half of each 128-bit lane."""
    per_lane = 16 // a.dtype.bytes
    halves = []
    for start in (0, per_lane // 2):
        picks: list[int] = []
        for base in range(0, a.lanes, per_lane):
            for t in range(base + start, base + start + per_lane // 2):
                picks += [t, a.lanes + t]
        halves.append(k.shuffle(a, b, picks))
    return halves[0], halves[1]


def can_narrow(target: CpuTarget, expr: Expr, inputs: Sequence[DType]) -> bool:
    """Whether `narrow` has code for the cast at the end of `expr` on inputs of these types."""
    if not target.is_x86 or expr.op != "cast" or expr.dtype not in (u8, i8):
        return False
    return result_dtype(expr.args[0], inputs) == f32


def only_negative_nans(expr: Expr, inputs: Sequence[Operand]) -> bool:
    """Whether every NaN that `expr` can compute has its sign bit set.

    That holds for sums and products of integers and of constants whose own NaNs are negative: the
    NaN that x86 makes out of numbers (inf - inf, 0 * inf) is negative, and others keep their sign.
    """
    ops = {e.op for e in nodes(expr)}
    floats = [o for o in inputs if o.dtype.is_float]
    return ops <= {"input", "const", "cast", "add", "mul"} and all(o.const for o in floats)


def with_negative_nans(values: np.ndarray) -> np.ndarray:
    """`values` with the sign bit of every NaN set."""
    if values.dtype.kind != "f" or not np.isnan(values).any():
        return values
    return np.where(np.isnan(values), np.copysign(np.nan, -1.0), values).astype(values.dtype)


def narrow(
    k: FunctionBuilder, vectors: Sequence[Value], to: DType, *, negative_nans: bool
) -> Value:
    """Four vectors of f32 in lane order to u8 or i8 lanes in natural order.

    The cast of `ir.expr`: rounds half to even, saturates, NaN becomes the smallest value.  NaN and
    out-of-range floats convert to the smallest i32, which the packs saturate; only the upper end
    needs a bound.
    negative_nans: every NaN has its sign bit set.  Then floats can be bounded as integers (their
    order is the same where they are positive), for which more execution units exist.
    """
    top = float(to.range[1])
    parts = []
    for x in vectors:
        if negative_nans:
            bits = k.min(k.bitcast(x, i32), int(np.float32(top).view(np.int32)))
            x = k.bitcast(bits, f32)
        else:
            x = k.min(x, top)
        parts.append(_to_i32(k, x))
    size = 32 * parts[0].lanes
    pairs = [
        _pack(k, "packssdw", i16, size, *parts[:2]),
        _pack(k, "packssdw", i16, size, *parts[2:]),
    ]
    return _pack(k, "packsswb" if to == i8 else "packuswb", to, size, *pairs)


def _to_i32(k: FunctionBuilder, x: Value) -> Value:
    """Round half to even; what does not fit (and NaN) becomes the smallest i32."""
    bits = 32 * x.lanes
    if bits == 512:
        name, callee_type = "llvm.x86.avx512.mask.cvtps2dq.512", "<16 x i32>"
        callee = k.intrinsic(name, callee_type, ["<16 x float>", "<16 x i32>", "i16", "i32"])
        text = f"call {callee}({x.type} {x.ref}, <16 x i32> zeroinitializer, i16 -1, i32 4)"
        return k.value(text, i32, 16)
    return k.call_intrinsic(_CVT[bits], i32, x.lanes, x)


def _pack(k: FunctionBuilder, name: str, to: DType, bits: int, a: Value, b: Value) -> Value:
    return k.call_intrinsic(f"llvm.x86.{_ISA[bits]}.{name}{_suffix(bits)}", to, 2 * a.lanes, a, b)


def _suffix(bits: int) -> str:
    return "" if bits == 256 else f".{bits}"
