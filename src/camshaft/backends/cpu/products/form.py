"""How one step of a reduction multiplies x by weights, for every pair of element types that may meet.

Matrix products and direct convolutions are the same code but for this.  Weights lie [.../group][n][group]:
the `group` elements of the reduction that one step takes lie beside each other, for each of n outputs.

    x            weights      group
    f32          f32          1      multiply-add
    u8           i8           4      `dot4`, exact sums in i32
    i16          i16          2      `dot_words`, the same where they are few enough
    bf16         bf16         2      `dot2`
    f32          bf16         2      both halves of a pair are widened (a shift, a mask): two multiply-adds
    f16, f32     f16          1      widened, multiply-add
    f16          f16          1      `narrow`: multiply-add in f16, where the target has it; few sums at a time

Weights that are not packed are taken one by one and widened.
"""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import HALVES, DType, bf16, f16, f32, i8, i16, i32, u8, u16

Parts = tuple[Value, ...]
"""What one step multiplies: parts of x with parts of the weights, one after the other."""

_BYTES = (u8, i8)


def may_meet(x: DType, w: DType) -> bool:
    """Whether there is a form for these types."""
    if x in _BYTES:
        return w in _BYTES
    return (x == f32 and w in (f32, *HALVES)) or (x in HALVES and x == w)


@dataclass(frozen=True)
class ProductForm:
    """x, w: element types of the operands.  group: see the module.  dot: whether x is read as 32-bit words
    of `group` elements.  narrow: sums are f16."""

    x: DType
    w: DType
    group: int
    dot: bool
    narrow: bool = False

    @staticmethod
    def packed(x: DType, w: DType, *, adjacent: bool) -> ProductForm:
        """For weights in packed form; adjacent: whether a group of x lies together in memory."""
        if x == w == i16:  # which no op multiplies: who takes them has few enough
            return ProductForm(x, w, 2, dot=True)
        if not may_meet(x, w):
            raise BuildError(f"no code multiplies {x} by {w}")
        if x in _BYTES:
            return ProductForm(x, w, 4, dot=True)
        group = 2 if w == bf16 else 1
        return ProductForm(x, w, group, dot=x == w == bf16 and adjacent)

    @staticmethod
    def plain(x: DType, w: DType) -> ProductForm:
        """For floats that lie as they are."""
        return ProductForm(x, w, 1, dot=False)

    @staticmethod
    def widening(x: DType) -> ProductForm:
        """For x of any float type, taken as f32, and f32 in panels."""
        return ProductForm(x, f32, 1, dot=False)

    @staticmethod
    def half_sums() -> ProductForm:
        """For f16 whose products are summed in f16: of few elements, since sums have 11 bits."""
        return ProductForm(f16, f16, 1, dot=False, narrow=True)

    @property
    def integer(self) -> bool:
        """8-bit operands."""
        return self.x in _BYTES

    @property
    def sums(self) -> DType:
        """In which products are summed."""
        if self.x == i16:
            return i32
        return f16 if self.narrow else self.x.accumulator

    @property
    def unit(self) -> DType:
        """What a group of packed weights is read as, one a lane."""
        return i32 if self.group > 1 else self.w

    def extra_registers(self, cols: int, target: CpuTarget) -> int:
        """Vector registers that a step of `cols` vectors of weights takes besides what one of f32 does: widened
        operands beside those that they are made of."""
        if self.w == f32 or self.narrow or (self.integer and target.has_vnni):
            return 0
        if self.integer:
            return 2
        if self.dot:
            return 1 if target.has_bf16 or self.x == i16 else cols + 2
        if self.group > 1:
            return cols + 1
        return 3 if self.x in HALVES else 1

    # --- code ---------------------------------------------------------------------------------

    def widened(self, k: FunctionBuilder, vector: Value) -> Parts:
        """Lanes of weights, of type `unit`, as they are multiplied."""
        if self.dot or self.narrow or self.w == f32:
            return (vector,)
        if self.group > 1:
            return k.bf16_pair(vector)
        return (k.cast(vector, f32),)

    def element(self, k: FunctionBuilder, x: Pointer, step: Extent) -> Parts:
        """A group of x, whose elements are `step` apart: scalars."""
        if self.dot:
            return (k.load(x.as_type(i32)),)
        return tuple(k.load(x.at(n * step)) for n in range(self.group))

    def rest(self, k: FunctionBuilder, x: Pointer, step: Extent, left: int) -> Parts:
        """The last `left` elements of halves, fewer than a group; nothing behind them is read."""
        if left != 1 or self.group != 2:
            raise BuildError(f"{left} elements are no rest of {self}")
        last = k.load(x)
        if self.dot:
            return (k.cast(k.bitcast(last, u16), i32),)
        return (last,)

    def spread(self, k: FunctionBuilder, x: Parts, lanes: int) -> Parts:
        """A group of x in all lanes, as it is multiplied.  Halves are spread before they are widened: one
        instruction with AVX512-FP16, and elsewhere fewer than the other way about."""
        vectors = tuple(k.splat(part, lanes) for part in x)
        return (
            vectors if self.dot or self.narrow else tuple(k.cast(vector, f32) for vector in vectors)
        )

    def add(self, k: FunctionBuilder, x: Parts, w: Parts, acc: Value) -> Value:
        """acc + the products of x, which is spread, with lanes of weights.  Of a rest x has fewer parts."""
        for part, weights in zip(x, w, strict=False):
            if self.integer:
                acc = k.dot4(part, weights, acc)
            elif self.x == i16:
                acc = k.dot_words(part, weights, acc)
            elif self.dot:
                acc = k.dot2(part, weights, acc)
            else:
                acc = k.fma(part, weights, acc)
        return acc
