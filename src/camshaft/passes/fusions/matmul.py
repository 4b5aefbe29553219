"""A matrix product with constant weights is a 1x1 convolution over rows: one set of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import CONV, MATMUL, RESHAPE, TRANSPOSE
from camshaft.passes.canonical.shapes import reshaped
from camshaft.passes.rewrite import Rewrite, Rewriter


def transposed(matrix: np.ndarray) -> np.ndarray:
    """The transposed matrix, contiguous.  By strips of one cache line, five times NumPy's speed."""
    out = np.empty(matrix.shape[::-1], matrix.dtype)
    for i in range(0, matrix.shape[0], 16):
        out[:, i : i + 16] = matrix[i : i + 16].T
    return out


def filters_of(matrix: np.ndarray) -> np.ndarray:
    """A matrix [..., K, N], of which there is one, as a convolution's weights [N, 1, 1, K], read-only."""
    filters = transposed(matrix.reshape(matrix.shape[-2:]))[:, None, None, :]
    filters.flags.writeable = False
    return filters


def row_shape(operand: Tensor, shape: Shape) -> Shape | None:
    """The shape in which an epilogue operand of [..., M, N] broadcasts to [1, 1, rows, N], or None."""
    if operand.type.rank <= 1:
        return operand.shape
    padded: Shape = (1,) * (len(shape) - operand.type.rank) + operand.shape
    if prod(padded[:-1]) == 1:
        return padded[-1:]
    if padded[:-1] == shape[:-1]:
        return (1, 1, prod(shape[:-1]), padded[-1])
    return None


def conv_of_rows(
    r: Rewriter,
    node: Node,
    x: Tensor,
    weights: Tensor,
    operands: Sequence[Tensor],
    x_zero_point: int,
    epilogue: Expr,
) -> Tensor:
    """What the product `node` computes, as a convolution of x as [1, 1, rows, K].

    weights: constant [N, 1, 1, K].  operands: of the epilogue, each with a `row_shape`.
    """
    shape = node.output.shape
    rows, (n, _, _, k) = prod(shape[:-1]), weights.shape
    inputs = [reshaped(r, x, (1, 1, rows, k), node, "rows"), weights]
    for t in operands:
        want = row_shape(t, shape)
        assert want is not None
        inputs.append(reshaped(r, t, want, node, "rows"))
    attrs: dict[str, Attr] = {
        "layout": "NHWC",
        "x_zero_point": x_zero_point,
        "epilogue": epilogue,
    }
    if shape == (1, 1, rows, n):
        return r.emit(CONV, inputs, attrs, like=node)
    y = r.emit(CONV, inputs, attrs, like=node, output=f"{node.output.name}:rows")
    return r.emit(RESHAPE, [y], {"shape": shape}, like=node)


class MatmulToConv(Rewrite):
    """a [..., M, K] x constant [K, N] -> conv of [1, 1, rows, K] with weights [N, 1, 1, K].

    The reshapes around it move nothing.  Works for float and for 8-bit operands (the zero point
    of the left matrix becomes the convolution's; that of the weights must be zero).
    """

    name = "matmul-to-conv"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x, weights = node.args[:2]
        if not weights.is_const or prod(weights.shape[:-2]) != 1 or node.attrs["b_zero_point"]:
            return None
        shape = node.output.shape
        if node.output.type.size == 0 or len(shape) != max(x.type.rank, 2):
            return None
        operands = node.args[2:]
        if any(row_shape(t, shape) is None for t in operands):
            return None
        filters = r.builder.derived(filters_of, [weights], weights.name)
        zero, epilogue = int_attr(node, "a_zero_point"), expr_attr(node, "epilogue")
        return [conv_of_rows(r, node, x, filters, operands, zero, epilogue)]

    def example(self) -> Graph:
        b = GraphBuilder("linear")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (2, 5, 3)))
        skip = b.input("skip", TensorType(f32, (2, 5, 4)))
        w = b.constant(rng.standard_normal((3, 4), np.float32), "w")
        bias = b.constant(rng.standard_normal(4, np.float32), "bias")
        attrs: dict[str, Attr] = {"epilogue": E.add(E.add(E.inp(0), E.inp(1)), E.inp(2))}
        return b.graph({"y": b.emit(MATMUL, [x, w, bias, skip], attrs, name="linear")})


class TransposeIntoWeights(Rewrite):
    """transpose > flatten > matmul with constant weights: the weights' rows are permuted instead.

    This is the fully connected layer behind a convolution: the image is flattened as it lies.
    """

    name = "transpose-into-weights"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        flat = r.producer(node.args[0], RESHAPE)
        turned = r.producer(flat.args[0], TRANSPOSE) if flat else None
        weights = node.args[1]
        if flat is None or turned is None or not weights.is_const or weights.type.rank != 2:
            return None
        source = turned.args[0]
        perm = ints_attr(turned, "perm")
        shape = turned.output.shape
        lead = _leading(shape, weights.shape[0])
        if lead is None or perm[:lead] != tuple(range(lead)):
            return None
        # Row k of the weights belongs to the k-th element of the turned image; bring them into
        # the order in which the image lies.
        order = [perm[lead:].index(a) for a in range(lead, len(perm))]
        image = fixed(shape[lead:], "extents that are flattened")
        rows = r.builder.derived(
            _as_it_lies, [weights], weights.name, image=image, order=tuple(order)
        )
        attrs: dict[str, Attr] = {"shape": flat.output.shape}
        label = f"{flat.output.name}:as-it-lies"
        x = r.emit(RESHAPE, [source], attrs, like=flat, output=label)
        inputs = [x, rows, *node.args[2:]]
        return [r.emit(MATMUL, inputs, node.attrs, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("flatten-linear")
        x = b.input("x", TensorType(f32, (2, 3, 4, 5)))
        y = b.emit(TRANSPOSE, [x], {"perm": (0, 3, 1, 2)}, name="to-nchw")
        y = b.emit(RESHAPE, [y], {"shape": (2, 60)}, name="flatten")
        w = b.constant(np.random.default_rng(0).standard_normal((60, 4), np.float32), "w")
        return b.graph({"y": b.emit(MATMUL, [y, w], name="linear")})


def _as_it_lies(rows: np.ndarray, image: Sequence[int], order: Sequence[int]) -> np.ndarray:
    """Rows of weights for the elements of an image, brought into another order of its axes."""
    return rows.reshape(*image, -1).transpose(*order, len(order)).reshape(rows.shape)


def _leading(shape: Shape, inner: Extent) -> int | None:
    """How many axes precede the trailing ones that have `inner` elements together, or None."""
    for lead in range(len(shape) - 1, -1, -1):
        if prod(shape[lead:]) == inner and (lead == 0 or shape[lead - 1] != 1):
            return lead
    return None


MATMUL_FUSIONS: tuple[Rewrite, ...] = (TransposeIntoWeights(),)
MATMUL_RULES: tuple[Rewrite, ...] = (MatmulToConv(),)
