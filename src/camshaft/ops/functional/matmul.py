"""Matrix products: matmul, linear, gemm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.contraction import MATMUL
from camshaft.ops.functional.core import emit, require_same
from camshaft.ops.functional.movement.shape import reshape, transpose


def matmul(builder: GraphBuilder, a: Tensor, b: Tensor, *, output: str | None = None) -> Tensor:
    """a [..., M, K] times b [..., K, N], as NumPy's matmul: batch axes broadcast, vectors are taken too.

    Both have one element type; products of 8-bit integers are summed in i32 (`matmul_integer` takes
    their zero points).  ModelError for scalars and for shapes that do not multiply.
    """
    return matmul_over(builder, a, b, [], {}, output=output)


def matmul_over(
    builder: GraphBuilder,
    a: Tensor,
    b: Tensor,
    operands: Sequence[Tensor],
    attrs: Mapping[str, object],
    *,
    output: str | None = None,
) -> Tensor:
    """A canonical matmul and its epilogue, whose operands fit the product of the matrices."""
    if not a.type.rank or not b.type.rank:
        raise ModelError(f"operands {a.type} and {b.type} must not be scalars")
    row, column = a.type.rank == 1, b.type.rank == 1
    left = reshape(builder, a, (1, *a.shape)) if row else a
    right = reshape(builder, b, (*b.shape, 1)) if column else b
    held = None if row or column else output
    y = emit(builder, MATMUL, [left, right, *operands], attrs, held)
    if not (row or column):
        return y
    shape = list(y.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return reshape(builder, y, shape, output=output)


def linear(
    builder: GraphBuilder,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    output: str | None = None,
) -> Tensor:
    """x [..., C] times the transposed weight [K,C], plus bias [K]: [..., K]."""
    if weight.type.rank != 2 or not x.type.rank:
        raise ModelError(f"weight {weight.type} is no matrix [K,C] for an input {x.type}")
    if bias is not None:
        misfit = f"bias {bias.type} has not one value for each of {weight.shape[0]} rows"
        if bias.type.rank != 1:
            raise ModelError(misfit)
        require_same(builder, bias.shape[0], weight.shape[0], misfit)
    operands = [] if bias is None else [bias]
    attrs = {} if bias is None else {"epilogue": E.add(E.inp(0), E.inp(1))}
    return matmul_over(builder, x, transpose(builder, weight), operands, attrs, output=output)


def gemm(
    builder: GraphBuilder,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
    output: str | None = None,
) -> Tensor:
    """alpha * A B + beta * c, where A is a or its transpose, B is b or its transpose (BLAS's gemm).

    a, b: matrices of one element type.  c: broadcasts to the product.
    """
    left, right = (
        transpose(builder, t, (1, 0)) if turned and t.type.rank == 2 else t
        for t, turned in ((a, trans_a), (b, trans_b))
    )
    if left.type.rank != 2 or right.type.rank != 2:
        raise ModelError(f"operands {left.type} and {right.type} must be matrices")
    scaled = E.mul(E.inp(0), E.const(alpha, a.type.dtype))
    operands = [left, right]
    if c is not None:
        scaled = E.add(scaled, E.mul(E.inp(1), E.const(beta, a.type.dtype)))
        operands.append(c)
    return emit(builder, MATMUL, operands, {"epilogue": scaled}, output)
