"""Buffers, and strided views into them: the only strided array that a program knows.

A concat's producers write to slices of one buffer, a transpose reads the same elements in another
order, and a host step sees its operands as arrays: all of these are a `View`.  Offsets and strides
are in elements of the buffer's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from camshaft.ir.extents.extent import Extent
from camshaft.ir.strides import Strides, inner_is_unit, reshaped, span
from camshaft.ir.types import DType, Shape, TensorType, row_major_strides

Space = Literal["input", "output", "arena", "constant", "scratch", "state", "report"]
"""input, output: the caller's array of that name.  arena: memory of a context that holds an
intermediate tensor while it is needed.  scratch: the same for a kernel's workspace.  constant: a
stored or expanded tensor of the engine.  state: memory of a context that lasts from call to call.
report: REPORT_BYTES of a context in which a kernel reports an operand outside its op's domain.
"""

REPORT_BYTES = 64
"""Size of a report: i64 mark (not 0), value, extent it does not fit; the rest is not used."""

PLACED: tuple[Space, ...] = ("arena", "scratch")
"""The spaces whose buffers have an offset in a context's arena."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A run of `elements` elements of one type; (space, name) is unique in a program."""

    name: str
    dtype: DType
    elements: Extent
    space: Space = "arena"

    @property
    def nbytes(self) -> Extent:
        return self.elements * self.dtype.bytes


@dataclass(frozen=True, slots=True)
class View:
    """Element (i, j, ...) of the view is element `offset + i * strides[0] + j * strides[1] + ...`
    of the buffer.  A stride is 0 where the view repeats elements, and never negative."""

    buffer: Buffer
    offset: Extent
    shape: Shape
    strides: Strides

    @staticmethod
    def dense(buffer: Buffer, shape: Shape) -> View:
        """The buffer from its start on in row-major order."""
        return View(buffer, 0, shape, row_major_strides(shape))

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype

    @property
    def type(self) -> TensorType:
        return TensorType(self.buffer.dtype, self.shape)

    @property
    def span(self) -> Extent:
        """Elements from the first to one past the last that the view touches."""
        return span(self.shape, self.strides)

    @property
    def first_byte(self) -> Extent:
        """Where the first element lies in the buffer."""
        return self.offset * self.buffer.dtype.bytes

    @property
    def nbytes(self) -> Extent:
        """Bytes from the first to one past the last element touched."""
        return self.span * self.buffer.dtype.bytes

    @property
    def inner_is_unit(self) -> bool:
        """Whether neighbours along the last axis are neighbours in memory."""
        return inner_is_unit(self.shape, self.strides)

    def __str__(self) -> str:
        lie = "" if self.strides == row_major_strides(self.shape) else f"@{self.strides}"
        where = f"{self.buffer.space} {self.buffer.name!r} + {self.offset}"
        return f"{where}: {self.dtype}{list(self.shape)}{lie}"

    def transposed(self, perm: Sequence[int]) -> View:
        """Axis i of the result is axis perm[i]."""
        shape = tuple(self.shape[p] for p in perm)
        return replace(self, shape=shape, strides=tuple(self.strides[p] for p in perm))

    def sliced(self, starts: Sequence[Extent], steps: Sequence[int], shape: Shape) -> View:
        """Every steps[i]-th element of axis i from starts[i] on, shape[i] of them."""
        offset = self.offset + sum(a * s for a, s in zip(starts, self.strides, strict=True))
        strides = tuple(s * t for s, t in zip(self.strides, steps, strict=True))
        return View(self.buffer, offset, shape, strides)

    def broadcast(self, shape: Shape) -> View:
        """Repeated as NumPy broadcasts: leading axes are added, extents of 1 become what is wanted."""
        lead = len(shape) - len(self.shape)
        kept = zip(self.shape, self.strides, shape[lead:], strict=True)
        strides = (0,) * lead + tuple(0 if d == 1 and d != e else s for d, s, e in kept)
        return replace(self, shape=shape, strides=strides)

    def reshaped(self, shape: Shape) -> View | None:
        """The same elements in row-major order as `shape`; None where no strides read them so."""
        strides = reshaped(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)
