"""States: what a call leaves for the next one, such as the keys and values of earlier tokens.

An input and an output of the model become one array, which each context owns.  It lies at full capacity
from the first call on, so that growing moves nothing: a call reads its first elements along `axis`, and
leaves more of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.types import DType, Shape, TensorType, row_major_strides
from camshaft.program.view import Buffer, View


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What a program knows of one state.

    name: of the input that the model reads it by.  output: of the output that the model writes it by.
    type: what a call finds, as the model declares that input.  after: its shape behind the call.
    axis: along which it grows; it begins with 0 elements there.  None for a state whose shape does not change;
    it begins as zeros.  capacity: most elements along the axis.
    in_place: whether calls leave what they find as it is, and only append to it (growing states), or write it
    when nothing reads it any more; other states are computed apart and copied at the end of the call.
    """

    name: str
    output: str
    type: TensorType
    after: Shape
    axis: int | None = None
    capacity: int = 0
    in_place: bool = False

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def held(self) -> Shape:
        """The shape of all its memory."""
        axis = self.axis
        return tuple(self.capacity if i == axis else d for i, d in enumerate(self.type.shape))

    @property
    def nbytes(self) -> Extent:
        """Bytes of its memory."""
        return self.buffer.nbytes

    @property
    def buffer(self) -> Buffer:
        """Its memory."""
        return Buffer(self.name, self.dtype, TensorType(self.dtype, self.held).size, "state")

    @property
    def found(self) -> View:
        """What a call finds."""
        return View(self.buffer, 0, self.type.shape, row_major_strides(self.held))

    @property
    def left(self) -> View:
        """What a call leaves."""
        return View(self.buffer, 0, self.after, row_major_strides(self.held))

    @property
    def length(self) -> Extent:
        """How many elements along its axis a call finds in a growing state."""
        assert self.axis is not None
        return self.type.shape[self.axis]

    @property
    def length_after(self) -> Extent:
        """How many it leaves."""
        assert self.axis is not None
        return self.after[self.axis]

    @property
    def room(self) -> Constraint:
        """What keeps a call from leaving more than there is memory for."""
        return Constraint(self.capacity, ">=", self.length_after, f"state {self.name!r}")
