"""Loads and stores of the kernel language: aligned or not, masked, strided, prefetched.

A mask says which lanes exist.  Lanes that do not exist are neither read nor written: a masked
access never touches memory behind its operand.
"""

from __future__ import annotations

from camshaft.backends.cpu.lang.arith import type_suffix
from camshaft.backends.cpu.lang.convert import Convert
from camshaft.backends.cpu.lang.values import (
    Index,
    Pointer,
    Value,
    llvm_type,
    memory_type,
)
from camshaft.errors import BuildError
from camshaft.ir.types import DType, boolean, f16, i64, u8, u16

Count = Value | int | None
"""How many first lanes exist: an int or an i64 scalar (any number; those below 1 are none), or all."""

Mask = Count
"""A count, or bool lanes."""


class Memory(Convert):
    """Adds memory access to the arithmetic."""

    def lane_mask(self, count: Index, lanes: int) -> Value:
        """Bool lanes: the first `count` are true (count may be a run-time i64)."""
        if isinstance(count, int):
            return self.const_vector([n < count for n in range(lanes)], boolean)
        count = self.index(count)
        numbers = self.const_vector(range(lanes), i64)
        return self.compare("lt", numbers, self.splat(count, lanes))

    def load(self, p: Pointer, lanes: int = 1, mask: Mask = None) -> Value:
        """`lanes` consecutive elements; lanes outside the mask read as 0."""
        mask = self._lanes_of(mask, lanes)
        if p.dtype.kind == "b":
            return self.ne(self.load(p.as_type(u8), lanes, mask), 0)
        if mask is None:
            kind = memory_type(p.dtype, lanes)
            align = max(1, min(p.align, lanes * p.dtype.bytes))
            return self.value(f"load {kind}, ptr {p.address()}, align {align}", p.dtype, lanes)
        if isinstance(mask, int) and (
            mask == 1 or not _has_masked_moves(self.target.vector_bits, p.dtype)
        ):
            return self._load_pieces(p, lanes, mask)
        m = self.lane_mask(mask, lanes) if isinstance(mask, int) else mask
        if p.dtype == f16:
            return self.bitcast(self.load(p.as_type(u16), lanes, m), p.dtype)
        kind, suffix = llvm_type(p.dtype, lanes), type_suffix(Value(self, "", p.dtype, lanes))
        callee = self.intrinsic(f"llvm.masked.load.{suffix}.p0", kind, ["ptr", m.type, kind])
        align = max(1, min(p.align, lanes * p.dtype.bytes))
        return self.value(
            f"call {callee}(ptr align {align} {p.address()}, {m.type} {m.ref}, "
            f"{kind} zeroinitializer)",
            p.dtype,
            lanes,
        )

    def _lanes_of(self, mask: Mask, lanes: int) -> Mask:
        """Bool lanes for a run-time count; an int that is no more than needed."""
        if isinstance(mask, Value) and mask.dtype == i64:
            return self.lane_mask(mask, lanes)
        return _trimmed(mask, lanes)

    def _load_pieces(self, p: Pointer, lanes: int, count: int) -> Value:
        """The first `count` of `lanes` elements by power-of-two loads (no masked move exists)."""
        result = self.const(0, p.dtype, lanes)
        start = 0
        while start < count:
            width = 1 << ((count - start).bit_length() - 1)
            part = self.load(p.at(start), width)
            if width == 1:
                result = self.insert(result, part, start)
            else:
                widened = self.shuffle(part, None, [n if n < width else -1 for n in range(lanes)])
                picks = [
                    lanes + n - start if start <= n < start + width else n for n in range(lanes)
                ]
                result = self.shuffle(result, widened, picks)
            start += width
        return result

    def store(self, x: Value, p: Pointer, mask: Mask = None) -> None:
        """Store the lanes (those in the mask) at consecutive elements."""
        mask = self._lanes_of(mask, x.lanes)
        if p.dtype != x.dtype:
            raise BuildError(f"cannot store {x.dtype} lanes through a pointer to {p.dtype}")
        if x.dtype.kind == "b":
            x, p = self._resize(x, u8), p.as_type(u8)
        align = max(1, min(p.align, x.lanes * p.dtype.bytes))
        if mask is None:
            self.effect(f"store {x.type} {x.ref}, ptr {p.address()}, align {align}")
            return
        if isinstance(mask, int) and (
            mask == 1 or not _has_masked_moves(self.target.vector_bits, p.dtype)
        ):
            self._store_pieces(x, p, mask)
            return
        if x.dtype == f16:
            # LLVM would convert them one by one where the target has no masked store of 16 bits.
            self.store(self.bitcast(x, u16), p.as_type(u16), mask)
            return
        m = self.lane_mask(mask, x.lanes) if isinstance(mask, int) else mask
        if not isinstance(mask, int):
            x = self._unfused(x)
        name = f"llvm.masked.store.{type_suffix(x)}.p0"
        callee = self.intrinsic(name, "void", [x.type, "ptr", m.type])
        self.effect(
            f"call {callee}({x.type} {x.ref}, ptr align {align} {p.address()}, {m.type} {m.ref})"
        )

    def _unfused(self, x: Value) -> Value:
        """Keep LLVM from fusing the narrowing of `x` with a masked store of it.

        LLVM 22 turns a narrowing masked store whose mask folds to a single lane into a scalar
        store of the wide element, which overwrites its neighbours.  An empty piece of assembly
        between the two costs nothing.
        """
        if not self.target.is_x86 or self.target.vector_bits < 512 or x.dtype.bits >= 32:
            return x
        lanes = max(x.lanes, 16 // x.dtype.bytes)  # registers hold 16 bytes or more
        if lanes > x.lanes:
            picks = [lane if lane < x.lanes else -1 for lane in range(lanes)]
            x, kept = self.shuffle(x, None, picks), x.lanes
            return self.shuffle(self._unfused(x), None, range(kept))
        return self.value(f'call {x.type} asm "", "=v,0"({x.type} {x.ref})', x.dtype, x.lanes)

    def store_packed(self, x: Value, mask: Value, p: Pointer) -> Value:
        """Store the lanes in the mask one after another; returns how many there are, an i64.

        All x.lanes elements at `p` are written, those after the packed ones with anything.
        """
        name = f"llvm.experimental.vector.compress.{type_suffix(x)}"
        callee = self.intrinsic(name, x.type, [x.type, mask.type, x.type])
        text = f"call {callee}({x.type} {x.ref}, {mask.type} {mask.ref}, {x.type} poison)"
        self.store(self.value(text, x.dtype, x.lanes), p)
        bits = self.emit(f"bitcast {mask.type} {mask.ref} to i{mask.lanes}")
        callee = self.intrinsic(f"llvm.ctpop.i{mask.lanes}", f"i{mask.lanes}", [f"i{mask.lanes}"])
        count = self.emit(f"call {callee}(i{mask.lanes} {bits})")
        return self.value(f"zext i{mask.lanes} {count} to i64", i64)

    def _store_pieces(self, x: Value, p: Pointer, count: int) -> None:
        start = 0
        while start < count:
            width = 1 << ((count - start).bit_length() - 1)
            if width == 1:
                part = self.extract(x, start)
            else:
                part = self.shuffle(x, None, range(start, start + width))
            self.store(part, p.at(start))
            start += width

    def broadcast(self, p: Pointer, lanes: int) -> Value:
        """One element in every lane."""
        return self.splat(self.load(p), lanes)

    def prefetch(self, p: Pointer, *, locality: int = 3, write: bool = False) -> None:
        """Prefetch the cache line at `p`: locality 3 into L1, 2 into L2, 1 into L3."""
        callee = self.intrinsic("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        self.effect(f"call {callee}(ptr {p.address()}, i32 {int(write)}, i32 {locality}, i32 1)")

    def opaque(self, p: Pointer) -> Pointer:
        """The same address in a register whose value LLVM cannot analyse.

        LLVM then loads a value again for a distant use, which is cheaper than a register that holds
        it.
        """
        ref = self.emit(f'call ptr asm "", "=r,0"(ptr {p.address()})')
        return Pointer(self, ref, p.dtype, 0, p.align)

    def zeros(self, rows: int, cols: int, dtype: DType, lanes: int) -> list[list[Value]]:
        """A rows x cols grid of zero vectors: fresh accumulators."""
        return [[self.const(0, dtype, lanes) for _ in range(cols)] for _ in range(rows)]


def _trimmed(mask: Mask, lanes: int) -> Mask:
    if isinstance(mask, int):
        if mask <= 0:
            raise BuildError("a masked access needs at least one lane")
        return None if mask >= lanes else mask
    return mask


def _has_masked_moves(vector_bits: int, dtype: DType) -> bool:
    return vector_bits >= 512 or (vector_bits == 256 and dtype.bits >= 32)
