"""A matrix product in numbers, and the packed form of its right-hand operand.

a [..., M, K] times b [..., K, N].  Batch axes and M are merged where every operand allows, so a
stack of rows times one matrix is one tall product.  b is packed into panels of `width` columns,
[matrix][panel][K/g][width][g], where g is the group of `products.form`: 4 for 8-bit integers (signed
bytes), 2 for bf16, else 1; columns and rows that do not exist are zero.  Integers are multiplied as
u8 x s8; what the shift to those types and the zero points add is a constant per column (and, with a
zero point of b, a multiple of each row's sum).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.pointwise.axes import Nest, merged
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.backends.cpu.products.form import may_meet
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.strides import Strides
from camshaft.ir.types import DType, Shape, f32, i8, i32, row_major_strides, u8


@dataclass(frozen=True)
class MatmulProblem:
    """rows: loops over rows of the output, the last of which (M) is tiled.

    a_steps: strides of a per row loop, then K.  b_steps, b_matrices: per row loop, the strides of b
    as it lies and the number of packed matrices.  operands, output: the epilogue's operands and
    the output with the row loops as their axes, then N.
    """

    a_dtype: DType
    b_dtype: DType
    rows: Shape
    k: Extent
    n: Extent
    a_steps: Strides
    b_steps: Strides
    b_matrices: Strides
    b_shape: Shape
    b_strides: Strides
    b_const: bool
    a_zero: int
    b_zero: int
    epilogue: E.Expr
    operands: tuple[Operand, ...]
    output: Operand

    @staticmethod
    def of(spec: KernelSpec) -> MatmulProblem:
        """The numbers of a "matmul" spec."""
        a, b = spec.inputs[:2]
        out = spec.outputs[0]
        rank = len(out.shape)
        axes = out.shape[:-1]
        stack = b.shape[:-2]
        b_rows = Operand(b.dtype, (*stack, 1), (*b.strides[:-2], 0))
        b_counts = Operand(b.dtype, (*stack, 1), (*row_major_strides(stack), 0))
        a_rows = Operand(a.dtype, a.shape[:-1], a.strides[:-1])
        extra = [o.strides_over(rank) for o in spec.inputs[2:]]
        nest = merged(
            axes,
            [
                a_rows.strides_over(rank - 1),
                b_rows.strides_over(rank - 1),
                b_counts.strides_over(rank - 1),
                *(s[:-1] for s in extra),
                out.strides[:-1],
            ],
        )
        if (
            nest.strides[2][-1] != 0
        ):  # M is 1 and was merged away: the last axis counts matrices of b
            nest = Nest((*nest.shape, 1), tuple((*s, 0) for s in nest.strides))
        full = (*nest.shape, out.shape[-1])
        operands = tuple(
            Operand(o.dtype, full, (*rows, s[-1]), o.const)
            for o, rows, s in zip(spec.inputs[2:], nest.strides[3:-1], extra, strict=True)
        )
        return MatmulProblem(
            a_dtype=a.dtype,
            b_dtype=b.dtype,
            rows=nest.shape,
            k=a.shape[-1],
            n=out.shape[-1],
            a_steps=(*nest.strides[0], a.strides[-1]),
            b_steps=nest.strides[1],
            b_matrices=nest.strides[2],
            b_shape=b.shape,
            b_strides=b.strides,
            b_const=b.const,
            a_zero=int_attr(spec, "a_zero_point", 0),
            b_zero=int_attr(spec, "b_zero_point", 0),
            epilogue=expr_attr(spec, "epilogue", E.inp(0)),
            operands=operands,
            output=Operand(out.dtype, full, (*nest.strides[-1], out.strides[-1])),
        )

    @property
    def integer(self) -> bool:
        """8-bit operands and i32 sums (else floats and f32 sums)."""
        return self.a_dtype.is_int

    @property
    def m(self) -> Extent:
        """Rows that are tiled."""
        return self.rows[-1]

    @property
    def batches(self) -> Extent:
        """Tiled products."""
        return prod(self.rows[:-1])

    @property
    def matrices(self) -> Extent:
        """Different matrices in b."""
        return prod(self.b_shape[:-2])

    @property
    def shifts(self) -> tuple[int, int]:
        """What is added to elements of a and b to make them u8 and s8."""
        return 128 * (self.a_dtype == i8), -128 * (self.b_dtype == u8)

    @property
    def zeros(self) -> tuple[int, int]:
        """Zero points of a and b as u8 and s8."""
        return self.a_zero + self.shifts[0], self.b_zero + self.shifts[1]

    def panels(self, width: int) -> Extent:
        """Panels of `width` columns that cover N."""
        return -(-self.n // width)


def is_supported(spec: KernelSpec) -> bool:
    """Whether the tactic has code for these types, strides and this epilogue."""
    if spec.op != "matmul" or len(spec.inputs) < 2:
        return False
    a, b = spec.inputs[:2]
    if len(a.shape) < 2 or len(b.shape) < 2 or 0 in (*a.shape, *b.shape):
        return False
    if not all(is_positive(d) for d in (a.shape[-1], *b.shape[-2:])):
        return False
    if not may_meet(a.dtype, b.dtype):
        return False
    integer = a.dtype.is_int
    if integer and a.shape[-1] != 1 and a.strides[-1] != 1:
        return False
    epilogue = expr_attr(spec, "epilogue", E.inp(0))
    return printable(epilogue, [i32 if integer else f32, *(o.dtype for o in spec.inputs[2:])])
