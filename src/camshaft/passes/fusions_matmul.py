"""A matrix product with constant weights is a 1x1 convolution over rows: one set of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONV, MATMUL, RESHAPE
from camshaft.passes.rewrite import Rewrite, Rewriter


class MatmulToConv(Rewrite):
    """a [..., M, K] x constant [K, N] -> conv of [1, 1, rows, K] with weights [N, 1, 1, K].

    The reshapes around it move nothing.  Works for float and for 8-bit operands (the zero point
    of the left matrix becomes the convolution's; that of the weights must be zero).
    """

    name = "matmul-to-conv"
    ops = (MATMUL,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x, weights = node.args[:2]
        if weights.data is None or prod(weights.shape[:-2]) != 1 or node.attrs["b_zero_point"]:
            return None
        k, n = weights.shape[-2:]
        shape = node.output.shape
        if node.output.type.size == 0 or len(shape) != max(x.type.rank, 2):
            return None
        operands = [self._operand(t, shape) for t in node.args[2:]]
        if any(o is None for o in operands):
            return None
        rows = prod(shape[:-1])
        inputs = [
            self._reshaped(x, (1, 1, rows, k), node, r),
            r.builder.constant(self._filters(weights.data, k, n), weights.name),
        ]
        for t, want in zip(node.args[2:], operands, strict=True):
            assert want is not None
            inputs.append(self._reshaped(t, want, node, r))
        attrs: dict[str, Attr] = {
            "layout": "NHWC",
            "x_zero_point": node.attrs["a_zero_point"],
            "epilogue": node.attrs["epilogue"],
        }
        if shape == (1, 1, rows, n):
            return [r.emit(CONV, inputs, attrs, like=node)]
        y = r.emit(CONV, inputs, attrs, like=node, output=f"{node.output.name}:rows")
        return [r.emit(RESHAPE, [y], {"shape": shape}, like=node)]

    @staticmethod
    def _filters(weights: np.ndarray, k: int, n: int) -> np.ndarray:
        filters = np.ascontiguousarray(weights.reshape(k, n).T).reshape(n, 1, 1, k)
        filters.flags.writeable = False
        return filters

    @staticmethod
    def _operand(tensor: Tensor, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Shape in which an epilogue operand broadcasts to [1, 1, rows, n], or None."""
        padded = (1,) * (len(shape) - tensor.type.rank) + tensor.shape
        if prod(padded[:-1]) == 1:
            return padded[-1:]
        if padded[:-1] == shape[:-1]:
            return (1, 1, prod(shape[:-1]), padded[-1])
        return None

    @staticmethod
    def _reshaped(tensor: Tensor, shape: tuple[int, ...], node: Node, r: Rewriter) -> Tensor:
        if tensor.shape == shape:
            return tensor
        label = f"{tensor.name}:rows"
        return r.emit(RESHAPE, [tensor], {"shape": shape}, like=node, output=label)

    def example(self) -> Graph:
        b = GraphBuilder("linear")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (2, 5, 3)))
        skip = b.input("skip", TensorType(f32, (2, 5, 4)))
        w = b.constant(rng.standard_normal((3, 4), np.float32), "w")
        bias = b.constant(rng.standard_normal(4, np.float32), "bias")
        attrs: dict[str, Attr] = {"epilogue": E.add(E.add(E.inp(0), E.inp(1)), E.inp(2))}
        return b.graph({"y": b.emit(MATMUL, [x, w, bias, skip], attrs, name="linear")})


MATMUL_RULES: tuple[Rewrite, ...] = (MatmulToConv(),)
