"""Inputs and outputs that are INT8 where the network computes in floats: levels of the tensor's dynamic range."""

from __future__ import annotations

from onnx import TensorProto

from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.network.element_types import onnx_type
from camshaft.tensorrt.network.tensor import ITensor

MOST = 127.0
"""The largest level."""


def from_border(net: Network, tensor: ITensor, levels: Tensor, within: int) -> Tensor:
    """An input, whose elements are cast already; those of INT8 with a range are levels of it.  within: their ONNX type."""
    scale = _scale(tensor, onnx_type(tensor._dtype or tensor._declared), within)
    return levels if scale is None else net.op("Mul", levels, net.constant(scale, within))


def to_border(net: Network, tensor: ITensor, value: Tensor, at_border: int) -> Tensor:
    """An output in the ONNX type that was set for it; INT8 elements of a tensor with a range are levels of it, clipped."""
    within = net.type_of(value).elem_type
    scale = _scale(tensor, at_border, within)
    if scale is not None:
        levels = net.op("Round", net.op("Div", value, net.constant(scale, within)))
        value = net.clip(levels, -MOST - 1, MOST)
    return net.cast(value, at_border)


def _scale(tensor: ITensor, at_border: int, within: int) -> float | None:
    """Of a level; None where elements are as they are."""
    is_float = within in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    if tensor._range is None or at_border != TensorProto.INT8 or not is_float:
        return None
    return max(abs(bound) for bound in tensor._range) / MOST
