"""A pooling spec in numbers, and the arithmetic that max and average windows share.

Read by the pooling tactics; knows nothing of loops.  Sums of 8-bit elements are exact integers,
in 16 bits where the window is small enough and in 32 otherwise.  Half floats are widened: averages of
them are f32, maxima are halves again.
"""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, extents_attr, int_attr, ints_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent, is_static
from camshaft.ir.strides import Strides
from camshaft.ir.types import HALVES, DType, f32, i8, i16, i32, u8, u16

_MAX_TYPES = (f32, *HALVES, u8, i8, u16, i16, i32)
_MEAN_TYPES = (f32, *HALVES, u8, i8)


@dataclass(frozen=True)
class PoolProblem:
    """Extents (n, h, w, c -> oh, ow), window, its strides, dilations and pads, and kind.

    All extents but c may be symbolic, the window's only where it is the whole image; of an open
    width, ceil_mode says how oh and ow came about.
    steps: element strides of x.  zero: zero point of an integer average.
    """

    dtype: DType
    kind: str
    n: Extent
    h: Extent
    w: Extent
    c: int
    oh: Extent
    ow: Extent
    window: tuple[Extent, Extent]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    ceil_mode: bool
    include_pad: bool
    zero: int
    steps: Strides
    epilogue: E.Expr

    @staticmethod
    def of(spec: KernelSpec) -> PoolProblem:
        """The numbers of a "pool" spec."""
        attrs = dict(spec.attrs)
        x, out = spec.inputs[0], spec.outputs[0]
        n, h, w, channels = x.shape
        window, pads = extents_attr(spec, "kernel"), ints_attr(spec, "pads", (0, 0, 0, 0))
        strides = ints_attr(spec, "strides", (1, 1))
        dilations = ints_attr(spec, "dilations", (1, 1))
        return PoolProblem(
            dtype=x.dtype,
            kind=str(attrs["kind"]),
            n=n, h=h, w=w, c=fixed_extent(channels, "channels of a pool"),
            oh=out.shape[1],
            ow=out.shape[2],
            window=(window[0], window[1]),
            strides=(strides[0], strides[1]),
            dilations=(dilations[0], dilations[1]),
            pads=(pads[0], pads[1], pads[2], pads[3]),
            ceil_mode=bool(attrs.get("ceil_mode", False)),
            include_pad=bool(attrs.get("count_include_pad", False)),
            zero=int_attr(spec, "x_zero_point", 0),
            steps=tuple(x.strides),
            epilogue=expr_attr(spec, "epilogue", E.inp(0)),
        )  # fmt: skip

    @property
    def kernel(self) -> tuple[int, int]:
        """The window where it is not open."""
        height, width = self.window
        return fixed_extent(height, "a pool's window"), fixed_extent(width, "a pool's window")

    @property
    def is_max(self) -> bool:
        """Maximum (else average)."""
        return self.kind == "max"

    @property
    def is_global(self) -> bool:
        """One window that is the whole image."""
        return (
            (self.oh, self.ow) == (1, 1)
            and self.window == (self.h, self.w)
            and self.dilations == (1, 1)
            and self.pads[:2] == (0, 0)
            and (self.is_max or not self.include_pad or self.pads == (0, 0, 0, 0))
        )

    def sum_dtype(self, taps: Extent) -> DType:
        """Element type that holds the maximum or the sum of `taps` elements."""
        if self.dtype.is_float:
            return f32
        if self.is_max:
            return self.dtype
        if not isinstance(taps, int) or taps > 256:
            return i32
        return u16 if self.dtype == u8 else i16

    def lanes(self, target: CpuTarget) -> int:
        """Channels of one vector: what one register holds, fewer where there are fewer channels."""
        full = target.lanes(self.sum_dtype(1))
        least = 128 // (8 * self.sum_dtype(1).bytes) if self.is_max else full
        while full > least and full // 2 >= self.c:
            full //= 2
        return full

    def initial(self, k: FunctionBuilder, dtype: DType, lanes: int) -> Value:
        """The value of an empty window."""
        if not self.is_max:
            return k.const(0, dtype, lanes)
        return k.const(float("-inf") if dtype.is_float else dtype.range[0], dtype, lanes)

    def combine(self, k: FunctionBuilder, a: Value, b: Value) -> Value:
        """Maximum or sum of partial results."""
        if not self.is_max:
            return k.add(a, b)
        # `k.max`, which keeps NaN, would cost a window 4 to 40 % of its time (ops.pooling).
        return k.greater(b, a) if a.dtype.is_float else k.max(a, b)

    def maximum(self, k: FunctionBuilder, value: Value) -> Value:
        """A maximum in the type of the elements."""
        return k.cast(value, self.dtype)

    def mean(self, k: FunctionBuilder, total: Value, taps: Value, count: Value) -> Value:
        """total / count; taps: how many elements were summed (both i64 scalars)."""
        divisor = k.cast(k.max(count, 1), f32)
        if total.dtype == f32:
            return total * k.div(1, divisor)
        wide = k.cast(total, i32)
        if self.zero:
            wide = wide - k.splat(k.cast(taps * self.zero, i32), total.lanes)
        return k.div(k.cast(wide, f32), divisor)


def supported(spec: KernelSpec) -> PoolProblem | None:
    """The problem, or None where the pooling tactics have no code for its types or epilogue."""
    if spec.op != "pool" or not spec.inputs:
        return None
    x = spec.inputs[0]
    channels = x.shape[-1]
    if len(x.shape) != 4 or x.const or not isinstance(channels, int):
        return None
    if channels > 1 and x.strides[3] != 1:
        return None
    p = PoolProblem.of(spec)
    if not (is_static(p.window) or p.is_global):
        return None
    if x.dtype not in (_MAX_TYPES if p.is_max else _MEAN_TYPES):
        return None
    anchor = x.dtype if p.is_max else f32
    return p if printable(p.epilogue, [anchor, *(o.dtype for o in spec.inputs[1:])]) else None
