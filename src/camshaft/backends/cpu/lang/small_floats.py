"""f32 to and from floats of 16, 8, 6 and 4 bits by integer arithmetic.

LLVM knows the 16-bit ones everywhere, and calls library functions, which a kernel cannot link, on a
target without an instruction for a conversion: for bf16 below AVX-512 BF16, for f16 below AVX2.  The
others it knows nowhere; they are bytes to it.  The method is F. Giesen's, "half to float done quic", for
any bits of exponent and fraction: exponents are moved by an integer addition; denormals are aligned by a
floating-point one, whose rounding, half to even, is the one wanted.
"""

from __future__ import annotations

from camshaft.backends.cpu.lang.arith import Arithmetic
from camshaft.backends.cpu.lang.values import Value, llvm_type
from camshaft.ir.types import NARROW_FLOATS, DType, bf16, f8e8m0, f16, f32, f64, u8, u16, u32

SMALL_FLOATS = (f16, bf16, *NARROW_FLOATS)

_SIGN, _INFINITY = 0x8000_0000, 0x7F80_0000
_NAN = 0x7FC0_0000


def widen(k: Arithmetic, x: Value) -> Value:
    """Lanes of a small float as f32, exactly."""
    dtype = x.dtype
    stored = k.bitcast(x, u16) if dtype.bits == 16 else Value(k, x.ref, u8, x.lanes)
    bits = _resized(k, stored, u32)
    if dtype == bf16:
        return k.bitcast(k.shift("shl", bits, 16), f32)
    if dtype == f8e8m0:
        return k.bitcast(_power(k, bits), f32)
    sign_bit, top = 1 << (dtype.bits - 1), ((1 << dtype.exponent) - 1) << 23
    sign = k.shift("shl", k.bit("and", bits, sign_bit), 32 - dtype.bits)
    moved = k.shift("shl", k.bit("and", bits, sign_bit - 1), 23 - dtype.fraction)
    exponent = k.bit("and", moved, top)
    normal = k.add(moved, (127 - dtype.bias) << 23)
    magnitude = normal
    if dtype.special == "ieee":
        special = k.add(normal, (128 + dtype.bias - (top >> 23)) << 23)
        magnitude = k.select(k.eq(exponent, top), special, normal)
    elif dtype.special == "fn":
        last = k.eq(moved, (sign_bit - 1) << (23 - dtype.fraction))
        magnitude = k.select(last, _NAN, normal)
    least = k.bitcast(k.const(_smallest_normal(dtype), u32, x.lanes), f32)
    small = k.bitcast(k.sub(k.bitcast(k.add(normal, 1 << 23), f32), least), u32)
    magnitude = k.select(k.eq(exponent, 0), small, magnitude)
    if dtype.special == "fnuz":
        magnitude = k.select(k.eq(bits, sign_bit), _NAN, magnitude)
    return k.bitcast(k.bit("or", magnitude, sign), f32)


def narrow(k: Arithmetic, x: Value, dtype: DType) -> Value:
    """f32 lanes as a small float: half to even, NaN stays NaN; what is beyond the type's numbers as
    `ir.expr` says."""
    bits = k.bitcast(x, u32)
    if dtype == f8e8m0:
        whole = k.min(k.shift("lshr", bits, 23), 0xFF)
    else:
        sign = k.bit("and", bits, _SIGN)
        magnitude = k.bit("xor", bits, sign)
        result = _bf16_bits(k, magnitude) if dtype == bf16 else _bits(k, magnitude, dtype)
        signed = k.bit("or", result, k.shift("lshr", sign, 32 - dtype.bits))
        whole = signed
        if dtype.special == "fnuz":  # whose -0 is NaN
            whole = k.select(k.eq(k.bit("and", result, 0x7F), 0), result, signed)
    if dtype.bits == 16:
        return k.bitcast(_resized(k, whole, u16), dtype)
    return Value(k, _resized(k, whole, u8).ref, dtype, x.lanes)


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


def _smallest_normal(dtype: DType) -> int:
    """Its bits as an f32."""
    return (128 - dtype.bias) << 23


def _power(k: Arithmetic, bits: Value) -> Value:
    """The f32 bits of 2 ** (bits - 127); the least is a denormal one."""
    power = k.select(k.eq(bits, 0), 1 << 22, k.shift("shl", bits, 23))
    return k.select(k.eq(bits, 0xFF), _NAN, power)


def _bf16_bits(k: Arithmetic, magnitude: Value) -> Value:
    odd = k.bit("and", k.shift("lshr", magnitude, 16), 1)
    rounded = k.shift("lshr", k.add(k.add(magnitude, 0x7FFF), odd), 16)
    return k.select(k.compare("gt", magnitude, _INFINITY), 0x7FC0, rounded)


def _bits(k: Arithmetic, magnitude: Value, dtype: DType) -> Value:
    """The bits of a float that is no bf16 and has a sign, which is not among them."""
    cut = 23 - dtype.fraction
    odd = k.bit("and", k.shift("lshr", magnitude, cut), 1)
    moved = k.sub(magnitude, (127 - dtype.bias) << 23)
    normal = k.shift("lshr", k.add(k.add(moved, (1 << (cut - 1)) - 1), odd), cut)
    # The last bit of `align` is worth what a denormal's is.
    align = k.const((128 - dtype.bias + cut) << 23, u32, magnitude.lanes)
    aligned = k.add(k.bitcast(magnitude, f32), k.bitcast(align, f32))
    small = k.sub(k.bitcast(aligned, u32), align)
    beyond, nan = _beyond(dtype)
    is_small = k.compare("lt", magnitude, _smallest_normal(dtype))
    if dtype.special != "ieee":
        result = k.select(is_small, small, k.min(normal, beyond))
        return k.select(k.compare("gt", magnitude, _INFINITY), nan, result)
    large = k.select(
        k.compare("gt", magnitude, _INFINITY), nan, k.const(beyond, u32, magnitude.lanes)
    )
    result = k.select(is_small, small, normal)
    overflow = (127 + dtype.bias + 1) << 23  # beyond every finite number
    return k.select(k.compare("ge", magnitude, overflow), large, result)


def _beyond(dtype: DType) -> tuple[int, int]:
    """The bits of what is too large, and those of NaN."""
    sign_bit = 1 << (dtype.bits - 1)
    if dtype.special == "ieee":
        return dtype.infinity, dtype.infinity | 1 << (dtype.fraction - 1)
    return {
        "fn": (sign_bit - 1, sign_bit - 1),
        "fnuz": (sign_bit, sign_bit),
        "finite": (sign_bit - 1, sign_bit),  # NaN becomes -0
    }[dtype.special]


def _resized(k: Arithmetic, x: Value, dtype: DType) -> Value:
    op = "zext" if dtype.bits > x.dtype.bits else "trunc"
    return k.value(f"{op} {x.type} {x.ref} to {llvm_type(dtype, x.lanes)}", dtype, x.lanes)
