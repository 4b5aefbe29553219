"""Dot products within 32-bit lanes: of four bytes, of two i16, and of two bf16.

`dot4` gives the same bits on every target.  With VNNI it is one instruction.  Elsewhere the bytes are
widened to 16 bits first, because the one-step u8 x s8 instruction of older CPUs saturates where two
products add up.

`dot2` is one instruction with AVX-512 BF16, which treats subnormal operands as 0 and flushes subnormal
sums.  Elsewhere it is two multiply-adds in f32, in the same order; with FMA its bits are the same but for
that (Intel's Software Developer's Manual, VDPBF16PS).
"""

from __future__ import annotations

from camshaft.backends.cpu.lang.arith import Arithmetic
from camshaft.backends.cpu.lang.emitter import Declarations
from camshaft.backends.cpu.lang.values import Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32, i8, i16, i32, u16, u32

_PMADDWD = {128: "llvm.x86.sse2.pmadd.wd", 256: "llvm.x86.avx2.pmadd.wd"}


class Dot(Arithmetic):
    """Adds `dot4` and `dot2` to the arithmetic."""

    def __init__(self, target: CpuTarget, declarations: Declarations) -> None:
        super().__init__(target, declarations)
        self._halves: dict[tuple[str, str, bool], tuple[Value, Value]] = {}
        self._pairs: dict[tuple[str, str], tuple[Value, Value]] = {}

    def dot4(self, u: Value, s: Value, acc: Value) -> Value:
        """acc + the sum of four u8 x s8 products in each i32 lane; exact, the i32 sum wraps.

        u: i32 lanes (or a scalar, spread) of four unsigned bytes, s: of four signed bytes;
        acc: i32 lanes, 128, 256 or 512 bits in all where the target has VNNI.
        """
        x, w = self.pair(u, s)
        if self.target.has_vnni:
            count = 4 * acc.lanes
            return self.call_intrinsic(
                f"llvm.x86.avx512.vpdpbusd.{8 * count}",
                i32,
                acc.lanes,
                acc,
                self.bitcast(x, i8, count),
                self.bitcast(w, i8, count),
            )
        u_even, u_odd = self._split(u, signed=False)
        s_even, s_odd = self._split(s, signed=True)
        return acc + (self._madd(u_even, s_even) + self._madd(u_odd, s_odd))

    def pairs(self, u: Value, s: Value) -> Value:
        """Sums of two u8 x s8 products in each i16 lane, which saturate; AVX2 only.

        u, s: i32 lanes of four bytes each.
        """
        x, w = self.pair(u, s)
        count = 4 * x.lanes
        operands = [self.bitcast(v, i8, count) for v in (x, w)]
        return self.call_intrinsic("llvm.x86.avx2.pmadd.ub.sw", i16, count // 2, *operands)

    def pair_sums(self, x: Value) -> Value:
        """The sums of neighbouring i16 lanes, as i32 lanes."""
        return self._madd(self.bitcast(x, i32), self.const(0x00010001, i32, x.lanes // 2))

    def dot4_halves(self, u: Value, even: Value, odd: Value, acc: Value) -> Value:
        """As `dot4` for targets without VNNI, with the signed bytes widened beforehand.

        even, odd: i32 lanes of two i16 each, the bytes 0 and 2, and the bytes 1 and 3.
        """
        u_even, u_odd = self._split(u, signed=False)
        return acc + (self._madd(u_even, even) + self._madd(u_odd, odd))

    def dot_words(self, a: Value, b: Value, acc: Value) -> Value:
        """acc + the sum of two i16 products in each i32 lane; exact, the i32 sum wraps.

        a, b: i32 lanes (or a scalar, spread) of two i16 each; acc: i32 lanes, 128, 256 or 512 bits in all.
        """
        if not self.target.has_vnni:
            return acc + self._madd(a, b)
        x, y = self.pair(a, b)
        count = 2 * acc.lanes
        operands = [self.bitcast(v, i16, count) for v in (x, y)]
        name = f"llvm.x86.avx512.vpdpwssd.{16 * count}"
        return self.call_intrinsic(name, i32, acc.lanes, acc, *operands)

    def dot2(self, a: Value, b: Value, acc: Value) -> Value:
        """acc + the sum of two bf16 products in each f32 lane: the odd one is added first.

        a, b: i32 lanes (or a scalar, spread) of two bf16 each; acc: f32 lanes, 128, 256 or 512 bits in
        all where the target has the instruction.
        """
        x, w = self.pair(a, b)
        if self.target.has_bf16:
            pairs = f"<{2 * acc.lanes} x bfloat>"
            name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * acc.lanes}"
            callee = self.intrinsic(name, acc.type, [acc.type, pairs, pairs])
            p, q = (self.emit(f"bitcast {v.type} {v.ref} to {pairs}") for v in (x, w))
            text = f"call {callee}({acc.type} {acc.ref}, {pairs} {p}, {pairs} {q})"
            return self.value(text, f32, acc.lanes)
        x_even, x_odd = self.bf16_pair(a)
        w_even, w_odd = self.bf16_pair(b)
        return self.fma(x_even, w_even, self.fma(x_odd, w_odd, acc))

    def bf16_pair(self, x: Value) -> tuple[Value, Value]:
        """The even and the odd bf16 of i32 lanes as f32 lanes; remembered per block."""
        key = (self.block, x.ref)
        if key not in self._pairs:
            bits = self.bitcast(x, u32)
            even = self.bitcast(bits << 16, f32)
            self._pairs[key] = even, self.bitcast(bits & 0xFFFF0000, f32)
        return self._pairs[key]

    def _split(self, x: Value, *, signed: bool) -> tuple[Value, Value]:
        """Even and odd bytes of i32 lanes as pairs of 16-bit numbers in i32 lanes.

        Remembered per block: a tile uses each operand many times.
        """
        key = (self.block, x.ref, signed)
        if key not in self._halves:
            if signed:
                half = self.bitcast(x, i16, 2 * x.lanes)
                even = self.bitcast((half << 8) >> 8, i32, x.lanes)
                odd = self.bitcast(half >> 8, i32, x.lanes)
            else:
                even = x & 0x00FF00FF
                odd = self.bitcast(self.bitcast(x, u16, 2 * x.lanes) >> 8, i32, x.lanes)
            self._halves[key] = even, odd
        return self._halves[key]

    def _madd(self, a: Value, b: Value) -> Value:
        """Sum of two s16 x s16 products in each i32 lane."""
        x, y = self.pair(a, b)
        bits = 32 * x.lanes
        if self.target.is_x86 and bits in _PMADDWD:
            pairs = [self.bitcast(v, i16, 2 * x.lanes) for v in (x, y)]
            return self.call_intrinsic(_PMADDWD[bits], i32, x.lanes, *pairs)
        low = ((x << 16) >> 16) * ((y << 16) >> 16)
        return low + (x >> 16) * (y >> 16)
