"""f32 to and from the 16-bit floats by integer arithmetic.

LLVM knows both types everywhere, and calls library functions, which a kernel cannot link, on a
target without an instruction for a conversion: for bf16 always (what AVX-512 has flushes denormals),
for f16 below AVX2.  The method for f16 is F. Giesen's, "half to float done quic": exponents are moved
by an integer addition; denormals are aligned by a floating-point one, whose rounding, half to even,
is the one wanted.
"""

from __future__ import annotations

from camshaft.backends.cpu.lang.arith import Arithmetic
from camshaft.backends.cpu.lang.values import Value, llvm_type
from camshaft.ir.types import DType, bf16, f16, f32, f64, u16, u32

HALVES = (f16, bf16)

_SIGN, _INFINITY = 0x8000_0000, 0x7F80_0000
_HALF_OVERFLOW = (127 + 16) << 23  # 65536, beyond every f16
_HALF_NORMAL = (127 - 14) << 23  # the smallest normal f16
_ALIGN = (127 - 15 + 23 - 10 + 1) << 23  # its last bit is worth what a denormal f16's is
_REBIAS = (127 - 15) << 23


def widen(k: Arithmetic, x: Value) -> Value:
    """f16 or bf16 lanes as f32, exactly."""
    bits = _resized(k, k.bitcast(x, u16), u32)
    if x.dtype == bf16:
        return k.bitcast(k.shift("shl", bits, 16), f32)
    sign = k.shift("shl", k.bit("and", bits, 0x8000), 16)
    moved = k.shift("shl", k.bit("and", bits, 0x7FFF), 13)
    exponent = k.bit("and", moved, 0x7C00 << 13)
    normal = k.add(moved, _REBIAS)
    special = k.add(normal, (128 - 16) << 23)
    least = k.bitcast(k.const(_HALF_NORMAL, u32, x.lanes), f32)
    small = k.bitcast(k.sub(k.bitcast(k.add(normal, 1 << 23), f32), least), u32)
    magnitude = k.select(k.eq(exponent, 0x7C00 << 13), special, normal)
    magnitude = k.select(k.eq(exponent, 0), small, magnitude)
    return k.bitcast(k.bit("or", magnitude, sign), f32)


def narrow(k: Arithmetic, x: Value, dtype: DType) -> Value:
    """f32 lanes as f16 or bf16: half to even, NaN stays NaN."""
    bits = k.bitcast(x, u32)
    sign = k.bit("and", bits, _SIGN)
    magnitude = k.bit("xor", bits, sign)
    result = _bf16_bits(k, magnitude) if dtype == bf16 else _f16_bits(k, magnitude)
    whole = k.bit("or", result, k.shift("lshr", sign, 16))
    return k.bitcast(_resized(k, whole, u16), dtype)


def to_odd(k: Arithmetic, x: Value) -> Value:
    """f64 lanes as f32 with the last bit set where something was cut off, such that `narrow` then
    rounds as if there had been one step."""
    near = k.value(f"fptrunc {x.type} {x.ref} to {llvm_type(f32, x.lanes)}", f32, x.lanes)
    back = k.value(f"fpext {near.type} {near.ref} to {x.type}", f64, x.lanes)
    bits = k.bitcast(near, u32)
    beyond = k.compare("gt", k.abs(back), k.abs(x))
    short = k.compare("lt", k.abs(back), k.abs(x))
    cut = k.sub(bits, k.select(beyond, k.const(1, u32, x.lanes), 0))
    sticky = k.select(k.bit("or", beyond, short), k.const(1, u32, x.lanes), 0)
    return k.bitcast(k.bit("or", cut, sticky), f32)


def _bf16_bits(k: Arithmetic, magnitude: Value) -> Value:
    odd = k.bit("and", k.shift("lshr", magnitude, 16), 1)
    rounded = k.shift("lshr", k.add(k.add(magnitude, 0x7FFF), odd), 16)
    return k.select(k.compare("gt", magnitude, _INFINITY), 0x7FC0, rounded)


def _f16_bits(k: Arithmetic, magnitude: Value) -> Value:
    odd = k.bit("and", k.shift("lshr", magnitude, 13), 1)
    normal = k.shift("lshr", k.add(k.add(k.sub(magnitude, _REBIAS), 0xFFF), odd), 13)
    align = k.const(_ALIGN, u32, magnitude.lanes)
    aligned = k.add(k.bitcast(magnitude, f32), k.bitcast(align, f32))
    small = k.sub(k.bitcast(aligned, u32), align)
    large = k.select(
        k.compare("gt", magnitude, _INFINITY), 0x7E00, k.const(0x7C00, u32, magnitude.lanes)
    )
    result = k.select(k.compare("lt", magnitude, _HALF_NORMAL), small, normal)
    return k.select(k.compare("ge", magnitude, _HALF_OVERFLOW), large, result)


def _resized(k: Arithmetic, x: Value, dtype: DType) -> Value:
    op = "zext" if dtype.bits > x.dtype.bits else "trunc"
    return k.value(f"{op} {x.type} {x.ref} to {llvm_type(dtype, x.lanes)}", dtype, x.lanes)
