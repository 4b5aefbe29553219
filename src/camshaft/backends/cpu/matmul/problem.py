"""A matrix product in numbers, and the packed form of its right-hand operand.

a [..., M, K] times b [..., K, N].  Batch axes and M are merged where every operand allows, so a
stack of rows times one matrix is one tall product.  b is packed into panels of `width` columns,
[matrix][panel][K][width], for 8-bit integers [matrix][panel][K/4][width][4] with signed bytes;
columns and rows that do not exist are zero.  Integers are multiplied as u8 x s8; what the shift to
those types and the zero points add is a constant per column (and, with a zero point of b, a
multiple of each row's sum).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.pointwise.axes import Nest, merged
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed, is_positive, is_static
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
        """8-bit operands and i32 sums (else all f32)."""
        return self.a_dtype != f32

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
    def depth(self) -> Extent:
        """Steps of the reduction: K, or groups of four."""
        return -(-self.k // 4) if self.integer else self.k

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

    def packed_elements(self, width: int) -> Extent:
        """Elements of the packed b."""
        group = 4 if self.integer else 1
        return self.matrices * self.panels(width) * self.depth * width * group


def is_supported(spec: KernelSpec) -> bool:
    """Whether the tactic has code for these types, strides and this epilogue."""
    if spec.op != "matmul" or len(spec.inputs) < 2:
        return False
    a, b = spec.inputs[:2]
    if len(a.shape) < 2 or len(b.shape) < 2 or 0 in (*a.shape, *b.shape):
        return False
    if not all(is_positive(d) for d in (a.shape[-1], *b.shape[-2:])):
        return False
    bytes_ = (u8, i8)
    integer = a.dtype in bytes_ and b.dtype in bytes_
    if not integer and (a.dtype, b.dtype) != (f32, f32):
        return False
    if integer and ((a.shape[-1] != 1 and a.strides[-1] != 1) or not is_static(a.shape[-1:])):
        return False
    epilogue = expr_attr(spec, "epilogue", E.inp(0))
    return printable(epilogue, [i32 if integer else f32, *(o.dtype for o in spec.inputs[2:])])


def packed_b(p: MatmulProblem, b: np.ndarray, width: int) -> list[np.ndarray]:
    """A constant b in panels; for integers also the constant of every (padded) column, i32."""
    matrices, depth, panels = fixed((p.matrices, p.depth, p.panels(width)), "constant matrices")
    k, n = b.shape[-2:]
    b = np.asarray(b).reshape(matrices, k, n)
    rows = depth * (4 if p.integer else 1)
    wide = np.zeros((matrices, rows, panels * width), np.int16 if p.integer else np.float32)
    wide[:, :k, :n] = b
    if not p.integer:
        view = wide.reshape(matrices, rows, panels, width).transpose(0, 2, 1, 3)
        return [np.ascontiguousarray(view)]
    wide[:, :k, :n] += p.shifts[1]
    a_zero, b_zero = p.zeros
    sums = wide.sum(axis=1, dtype=np.int64)
    constants = (k * a_zero * b_zero - a_zero * sums).astype(np.int32)
    view = wide.astype(np.int8).reshape(matrices, depth, 4, panels, width)
    return [np.ascontiguousarray(view.transpose(0, 3, 1, 4, 2)), constants]
