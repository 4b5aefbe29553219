"""Conversions between element types, with the meaning of `ir.expr`'s "cast".

Float to integer rounds half to even, saturates, and turns NaN into the smallest value; integers
wrap; anything to bool asks whether it is not zero.  One conversion differs from that meaning: where the
target has an instruction for f32 to bf16, it makes a zero of what is below the smallest normal number
(2^-126), as the products of bf16 do with it anyhow.
"""

from __future__ import annotations

from camshaft.backends.cpu.lang.arith import type_suffix
from camshaft.backends.cpu.lang.dot import Dot
from camshaft.backends.cpu.lang.small_floats import SMALL_FLOATS, narrow, to_odd, widen
from camshaft.backends.cpu.lang.values import Value, llvm_type
from camshaft.ir.types import NARROW_INTS, DType, bf16, boolean, f16, f32, f64, i8, i32, u8, u32

_BF16_LANES = (4, 8, 16)
"""Of the vectors that AVX-512 BF16 converts."""


class Convert(Dot):
    """Adds casts and rounding to the arithmetic."""

    def cast(self, x: Value, dtype: DType) -> Value:
        """`x` as `dtype`, exactly as `ir.expr.convert` does it."""
        if x.dtype == dtype:
            return x
        if x.dtype in NARROW_INTS:
            return self.cast(self._unpacked(x), dtype)
        if dtype in NARROW_INTS:
            return self._packed(x, dtype)
        if x.dtype in SMALL_FLOATS and dtype not in (f32, f64):
            x = self.cast(x, f32)
        if dtype.kind == "b":
            return self.ne(x, 0)
        if x.dtype.is_float:
            return self._float_to_float(x, dtype) if dtype.is_float else self._saturate(x, dtype)
        if dtype in SMALL_FLOATS:
            return self.cast(self.cast(x, f32), dtype)
        if dtype.is_float:
            op = "sitofp" if x.dtype.kind == "i" else "uitofp"
            return self._convert(op, x, dtype)
        return self._resize(x, dtype)

    def round_to_i32(self, x: Value) -> Value:
        """f32 lanes to i32, half to even; undefined outside the range of i32 and for NaN."""
        return self._lrint(x)

    def truncate_to_i32(self, x: Value) -> Value:
        """f32 lanes to i32, toward zero; undefined outside the range of i32 and for NaN."""
        return self._convert("fptosi", x, i32)

    def round(self, x: Value) -> Value:
        """Round half to even, as a float."""
        if self.target.has_rounding or x.dtype != f32:
            return self._overloaded("llvm.roundeven", x)
        big = self.const(float(1 << 23), x.dtype, x.lanes)
        shifted = self.sub(self.add(self.abs(x), big), big)
        return self.select(self.abs(x) < big, self.copysign(shifted, x), x)

    def floor(self, x: Value) -> Value:
        """Largest integral value not above x."""
        if self.target.has_rounding or x.dtype != f32:
            return self._overloaded("llvm.floor", x)
        near = self.round(x)
        return self.copysign(self.select(near > x, near - 1.0, near), x)

    def ceil(self, x: Value) -> Value:
        """Smallest integral value not below x."""
        if self.target.has_rounding or x.dtype != f32:
            return self._overloaded("llvm.ceil", x)
        near = self.round(x)
        return self.copysign(self.select(near < x, near + 1.0, near), x)

    def copysign(self, magnitude: Value, sign: Value) -> Value:
        """|magnitude| with the sign of `sign`."""
        m, s = self.pair(magnitude, sign)
        return self._overloaded("llvm.copysign", m, s)

    # --- parts ------------------------------------------------------------------------------

    def _unpacked(self, x: Value) -> Value:
        """Integers of fewer than 8 bits as ones of 8."""
        whole = Value(self, x.ref, i8 if x.dtype.kind == "i" else u8, x.lanes)
        if x.dtype.kind == "u":
            return whole
        unused = 8 - x.dtype.bits
        return self.shift("ashr", self.shift("shl", whole, unused), unused)

    def _packed(self, x: Value, dtype: DType) -> Value:
        """Anything as integers of fewer than 8 bits, the other bits of the byte 0."""
        if x.dtype.is_float:
            wide = self.cast(x, f32) if x.dtype in SMALL_FLOATS else x
            whole = self._saturate(wide, dtype)
        else:
            whole = self.cast(x, u8)
        byte = self.bit("and", Value(self, whole.ref, u8, x.lanes), (1 << dtype.bits) - 1)
        return Value(self, byte.ref, dtype, x.lanes)

    def _convert(self, op: str, x: Value, dtype: DType) -> Value:
        to = llvm_type(dtype, x.lanes)
        return self.value(f"{op} {x.type} {x.ref} to {to}", dtype, x.lanes)

    def _float_to_float(self, x: Value, dtype: DType) -> Value:
        if dtype in SMALL_FLOATS and not self._has(dtype):
            single = to_odd(self, x) if x.dtype == f64 else x
            if dtype == bf16 and self.target.has_bf16 and x.lanes in _BF16_LANES:
                return self._to_bf16(single)
            return narrow(self, single, dtype)
        if x.dtype in SMALL_FLOATS and not self._has(x.dtype):
            return self.cast(widen(self, x), dtype)
        if x.dtype == f64 and dtype == f16:
            x = to_odd(self, x)
        return self._convert("fpext" if dtype.bits > x.dtype.bits else "fptrunc", x, dtype)

    def _to_bf16(self, x: Value) -> Value:
        """f32 lanes, 4, 8 or 16, by one instruction."""
        made = f"<{max(8, x.lanes)} x bfloat>"
        operands = [f"{x.type} {x.ref}"]
        name = f"cvtneps2bf16.{32 * x.lanes}"
        if x.lanes < 8:
            every = self.const(True, boolean, 4)
            operands += [f"{made} zeroinitializer", f"{every.type} {every.ref}"]
            name = f"mask.{name}"
        kinds = [x.type, made, "<4 x i1>"][: len(operands)]
        callee = self.intrinsic(f"llvm.x86.avx512bf16.{name}", made, kinds)
        lanes = self.emit(f"call {callee}({', '.join(operands)})")
        bits = self.value(
            f"bitcast {made} {lanes} to {llvm_type(bf16, max(8, x.lanes))}", bf16, max(8, x.lanes)
        )
        return bits if x.lanes >= 8 else self.shuffle(bits, None, range(4))

    def _has(self, dtype: DType) -> bool:
        """Whether the target has instructions that convert between a small float and f32."""
        return dtype == f16 and "f16c" in self.target.requires

    def _resize(self, x: Value, dtype: DType) -> Value:
        source = 1 if x.dtype.kind == "b" else x.dtype.bits
        if source == dtype.bits:
            return Value(self, x.ref, dtype, x.lanes)
        if source > dtype.bits:
            return self._convert("trunc", x, dtype)
        return self._convert("sext" if x.dtype.kind == "i" else "zext", x, dtype)

    def _saturate(self, x: Value, dtype: DType) -> Value:
        low, high = dtype.range
        if dtype.bits > 16:
            return self._saturate_wide(x, dtype)
        x = self.greater(x, float(low))
        if low == 0:
            return self._saturate_unsigned(x, dtype)
        return self._resize(self._lrint(self.lesser(x, float(high))), dtype)

    def _saturate_unsigned(self, x: Value, dtype: DType) -> Value:
        """x >= 0 to u8 or u16."""
        high = dtype.range[1]
        if self.target.vector_bits < 512:
            return self._resize(self._lrint(self.lesser(x, float(high))), dtype)
        # What does not fit in an i32 converts to its highest bit: unsigned, still the largest, so
        # the narrowing instruction, which saturates, does the rest.
        whole = self.bitcast(self._lrint(x), u32)
        return self._resize(self.min(whole, high), dtype)

    def _saturate_wide(self, x: Value, dtype: DType) -> Value:
        if (x.dtype, dtype) == (f32, i32):
            bounded = self.lesser(self.greater(x, -(2.0**31)), 2.0**31 - 128)
            return self.select(x >= 2.0**31, (1 << 31) - 1, self._lrint(bounded))
        x = self._overloaded("llvm.roundeven", x) if x.dtype == f64 else self.round(x)
        name = f"llvm.fpto{'si' if dtype.kind == 'i' else 'ui'}.sat"
        result = Value(self, "", dtype, x.lanes)
        whole = self.call_intrinsic(
            f"{name}.{type_suffix(result)}.{type_suffix(x)}", dtype, x.lanes, x
        )
        low = dtype.range[0]
        return self.select(self.isnan(x), low, whole) if low else whole

    def _lrint(self, x: Value) -> Value:
        result = Value(self, "", i32, x.lanes)
        name = f"llvm.lrint.{type_suffix(result)}.{type_suffix(x)}"
        return self.call_intrinsic(name, i32, x.lanes, x)
