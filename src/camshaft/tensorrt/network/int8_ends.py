"""Inputs and outputs that are INT8 where the network computes in floats: levels of the tensor's dynamic range."""

from __future__ import annotations

from onnx import TensorProto

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.network.element_types import onnx_type
from camshaft.tensorrt.network.tensor import ITensor

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
MOST = 127.0
"""The largest level."""


def from_border(
    net: Network, tensor: ITensor, levels: Tensor, within: int
) -> tuple[Tensor, Tensor]:
    """The numbers that an INT8 input with a range stands for, and its levels as floats; the input twice where it is another one.

    levels: the input, whose elements are cast already to the ONNX type `within`.
    """
    scale = _scale(tensor, onnx_type(tensor._dtype or tensor._declared))
    if scale is None:
        return levels, levels
    if within not in _FLOATS:
        levels, within = net.cast(levels, "float32"), TensorProto.FLOAT
    return net.op("Mul", levels, net.constant(scale, within)), levels


def to_border(net: Network, tensor: ITensor, value: Tensor, at_border: int) -> Tensor:
    """An output in the ONNX type that was set for it; INT8 elements of floats are levels of the tensor's range, clipped.

    ModelError where it has none.
    """
    within = net.type_of(value).elem_type
    if within in _FLOATS and at_border == TensorProto.INT8 and not tensor._graph._strongly_typed:
        scale = _scale(tensor, at_border)
        if scale is None:
            raise ModelError(
                f"output {tensor.name!r} is INT8 and of a layer that gives floats: set its dynamic_range"
            )
        levels = net.op("Round", net.op("Div", value, net.constant(scale, within)))
        value = net.clip(levels, -MOST - 1, MOST)
    return net.cast(value, at_border)


def _scale(tensor: ITensor, at_border: int) -> float | None:
    """Of a level; None where elements are as they are."""
    is_int8 = at_border == TensorProto.INT8 and not tensor._graph._strongly_typed
    if tensor._range is None or not is_int8:
        return None
    return max(abs(bound) for bound in tensor._range) / MOST
