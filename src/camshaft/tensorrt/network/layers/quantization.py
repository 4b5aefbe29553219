"""Layers that quantize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.element_types import FLOAT, onnx_type
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, dims, member, whole
from camshaft.tensorrt.network.tensor import ITensor

_type = member(DataType)
_INT8 = DataType.INT8


def _scale(call: Call) -> tuple[Tensor, dict[str, Any]]:
    """The scale, and the attribute that says its axis."""
    scale, axis = call.input(1), call["axis"]
    if axis == -1 or scale.rank == 0:
        whole_scale = call.net.reshape(scale, np.zeros(0, np.int64)) if scale.rank else scale
        return whole_scale, {}
    return scale, {"axis": axis}


class IQuantizeLayer(ILayer):
    """round(x / scale), halves to even, clipped to the type."""

    _kind = LayerType.QUANTIZE
    _most = 3
    axis = Param(whole, "The axis that has a scale for each index; -1: one scale for all.")
    block_shape = dims("Extents of blocks; empty: none.")
    to_type = Param(_type, "Type of the output.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        scale, where = _scale(call)
        kind = onnx_type(call["to_type"])
        zero = call.given(2)
        if zero is None:
            return [call.net.quantize(call.input(0), scale, dtype=kind, name=call.name, **where)]
        return [call.net.quantize(call.input(0), scale, zero, name=call.name, **where)]


@reported(None)
def add_quantize(
    self: Graph, input: ITensor, scale: ITensor, output_type: DataType = _INT8
) -> IQuantizeLayer:
    """scale: a constant, a scalar or one for each index of the layer's `axis`."""
    kind = _type(output_type, "output_type")
    return self._add(IQuantizeLayer, [input, scale], axis=-1, block_shape=(), to_type=kind)


class IDequantizeLayer(ILayer):
    """x * scale."""

    _kind = LayerType.DEQUANTIZE
    _most = 3
    axis = Param(whole, "The axis that has a scale for each index; -1: one scale for all.")
    block_shape = dims("Extents of blocks; empty: none.")
    to_type = Param(_type, "Type of the output.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        scale, where = _scale(call)
        made = call.net.dequantize(call.input(0), scale, call.given(2), name=call.name, **where)
        return [call.cast(made, call["to_type"])]


@reported(None)
def add_dequantize(
    self: Graph, input: ITensor, scale: ITensor, output_type: DataType = FLOAT
) -> IDequantizeLayer:
    """scale: a constant, a scalar or one for each index of the layer's `axis`."""
    kind = _type(output_type, "output_type")
    return self._add(IDequantizeLayer, [input, scale], axis=-1, block_shape=(), to_type=kind)
