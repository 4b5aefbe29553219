"""Layers that multiply matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.operations import MatrixOperation
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import (
    Param,
    held_weights,
    maybe_weights,
    member,
    text,
    whole,
)
from camshaft.tensorrt.network.tensor import ITensor

_operation = member(MatrixOperation)
_TRANSPOSE, _VECTOR = MatrixOperation.TRANSPOSE, MatrixOperation.VECTOR


class IMatrixMultiplyLayer(ILayer):
    """A product of matrices, or of a vector."""

    _kind = LayerType.MATRIX_MULTIPLY
    _most = 2
    op0 = Param(_operation, "What becomes of the first before.")
    op1 = Param(_operation, "What becomes of the second before.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, ops = call.net, (call["op0"], call["op1"])
        given = [call.input(0), call.input(1)]
        batches = [t.rank - (1 if op == _VECTOR else 2) for t, op in zip(given, ops, strict=True)]
        if batches[0] != batches[1] or batches[0] < 0:
            shapes = f"{given[0].shape} and {given[1].shape}"
            raise ModelError(f"shapes {shapes} must have as many axes of batches as each other")
        for i, op in enumerate(ops):
            if op == _TRANSPOSE:
                axes = [*range(given[i].rank)]
                given[i] = net.transpose(given[i], [*axes[:-2], axes[-1], axes[-2]])
            elif op == _VECTOR:
                given[i] = net.unsqueeze(given[i], -2 if i == 0 else -1)
        made = net.matmul(*given, name=call.name)
        gone = [axis for axis, op in zip((-2, -1), ops, strict=True) if op == _VECTOR]
        return [net.squeeze(made, gone) if gone else made]


@reported(None)
def add_matrix_multiply(
    self: Graph, input0: ITensor, op0: MatrixOperation, input1: ITensor, op1: MatrixOperation
) -> IMatrixMultiplyLayer:
    """A product of matrices, each transposed or a vector if asked; batches of them broadcast."""
    ops = {"op0": _operation(op0, "op0"), "op1": _operation(op1, "op1")}
    return self._add(IMatrixMultiplyLayer, [input0, input1], **ops)


class IFullyConnectedLayer(ILayer):
    """A product with weights over the last three axes."""

    _kind = LayerType.FULLY_CONNECTED
    _most = 3
    num_output_channels = Param(whole, "Channels of the output.")
    kernel = held_weights("[outputs, inputs].")
    bias = held_weights("[outputs], or none.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, count = call.net, call.input(0), call["num_output_channels"]
        if x.rank < 3:
            raise ModelError(f"input has shape {x.shape}; it takes [..., C, H, W]")
        kernel = call.weights("kernel", (count, -1), x)
        kernel = call.input(1) if kernel is None else kernel
        bias = call.weights("bias", (count,), x)
        flat = net.reshape(x, [*[0] * (x.rank - 3), -1])
        made = net.linear(flat, kernel, call.given(2) if bias is None else bias, name=call.name)
        return [net.unsqueeze(made, [-2, -1])]


@reported(None)
def add_fully_connected(
    self: Graph, input: ITensor, num_outputs: int, kernel: Any, bias: Any = None
) -> IFullyConnectedLayer:
    """[..., C, H, W] to [..., outputs, 1, 1]."""
    return self._add(
        IFullyConnectedLayer,
        [input],
        num_output_channels=whole(num_outputs, "num_outputs"),
        kernel=maybe_weights(kernel, "kernel"),
        bias=maybe_weights(bias, "bias"),
    )


class IEinsumLayer(ILayer):
    """Einstein's sum."""

    _kind = LayerType.EINSUM
    _most = None
    equation = Param(text, 'Letters of axes: "ij,jk->ik".')

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        given = [call.input(i) for i in range(len(call.inputs))]
        return [call.net.einsum(call["equation"], *given, name=call.name)]


@reported(None)
def add_einsum(self: Graph, inputs: Sequence[ITensor], equation: str) -> IEinsumLayer:
    """Einstein's sum, as NumPy's `einsum` writes it."""
    return self._add(IEinsumLayer, [*inputs], equation=text(equation, "equation"))
