"""Layers that quantize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.dims import extents
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


def _no_zero_point(call: Call) -> None:
    if call.given(2) is not None:
        raise ModelError("blocks have no zero point; leave input 2 out")


def _to_int8(call: Call, scaled: Tensor) -> Tensor:
    """Halves to even, clipped.  ModelError for a type other than INT8."""
    if call["to_type"] != _INT8:
        raise ModelError(f"blocks of {call['to_type']} are not computed here; use INT8")
    net = call.net
    return net.cast(net.clip(net.op("Round", scaled), -128.0, 127.0), "int8")


class _Blocks:
    """A tensor in blocks: each axis is split in two, that of blocks and that within a block."""

    def __init__(self, net: Network, x: Tensor, block: Sequence[int]) -> None:
        """block: extents of a block, -1 for all of an axis.  ModelError if they do not divide the tensor's."""
        if len(block) != x.rank:
            raise ModelError(
                f"block_shape={tuple(block)} must have an extent for each axis of {x.shape}"
            )
        for extent, size in zip(x.shape, block, strict=True):
            if size != -1 and (size < 1 or (isinstance(extent, int) and extent % size)):
                raise ModelError(f"block_shape={tuple(block)} must divide {x.shape}")
        self._net, self._x, self._block = net, x, block
        self.within = [2 * i + 1 for i in range(x.rank)]

    def _size(self, axis: int) -> Tensor:
        """The extent of an axis, [1]."""
        return self._net.gather(self._net.shape(self._x), np.array([axis]))

    def _pair(self, axis: int) -> list[Any]:
        """How many blocks there are along an axis, and the extent of one."""
        size = self._block[axis]
        if size == -1:
            return [np.array([1]), self._size(axis)]
        return [self._net.div(self._size(axis), np.array([size])), np.array([size])]

    def whole(self) -> Tensor:
        """The tensor, its axes split."""
        pairs = [part for axis in range(self._x.rank) for part in self._pair(axis)]
        return self._net.reshape(self._x, self._net.concat(pairs, 0))

    def beside(self, scale: Tensor) -> Tensor:
        """Scales, an element for each block, to compute with the split tensor."""
        return self._net.unsqueeze(scale, self.within)

    def joined(self, split: Tensor) -> Tensor:
        """A split tensor in the shape that there was."""
        return self._net.reshape(split, self._net.shape(self._x))


class IQuantizeLayer(ILayer):
    """round(x / scale), halves to even, clipped to the type."""

    _kind = LayerType.QUANTIZE
    _most = 3
    axis = Param(whole, "The axis that has a scale for each index; -1: one scale for all.")
    block_shape = dims("Extents of blocks; empty: none.")
    to_type = Param(_type, "Type of the output.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        kind = onnx_type(call["to_type"])
        if call["block_shape"]:
            _no_zero_point(call)
            split = _Blocks(call.net, call.input(0), call["block_shape"])
            scaled = call.net.div(split.whole(), split.beside(call.input(1)))
            return [split.joined(_to_int8(call, scaled))]
        scale, where = _scale(call)
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
        if call["block_shape"]:
            _no_zero_point(call)
            split = _Blocks(call.net, call.input(0), call["block_shape"])
            step = split.beside(call.input(1))
            scaled = call.net.mul(call.net.cast(split.whole(), step.dtype), step)
            return [call.cast(split.joined(scaled), call["to_type"])]
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


class IDynamicQuantizeLayer(ILayer):
    """x / scale in INT8 with a scale for each block, its largest magnitude / 127; the second output has the scales."""

    _kind = LayerType.DYNAMIC_QUANTIZE
    _most = 2
    axis = Param(whole, "The axis that blocks are along, where only `block_size` is set.")
    block_size = Param(whole, "Extent of blocks along `axis`.")
    block_shape = dims(
        "Extents of blocks along all axes, -1 for all of one; empty: `axis` and `block_size` say them."
    )
    to_type = Param(_type, "Type of the first output: INT8.")
    scale_type = Param(_type, "Type of scales: FLOAT.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x = call.net, call.input(0)
        if (call["to_type"], call["scale_type"]) != (_INT8, FLOAT):
            raise ModelError(
                f"blocks of {call['to_type']} with scales of {call['scale_type']} are not computed here; use INT8 with FLOAT"
            )
        if call.given(1) is not None:
            raise ModelError("scales of FLOAT are not quantized; leave input 1 out")
        block = list(call["block_shape"])
        if not block:
            if not -x.rank <= call["axis"] < x.rank:
                raise ModelError(f"axis={call['axis']} is none of {x.shape}")
            block = [1] * x.rank
            block[call["axis"]] = call["block_size"]
        split = _Blocks(net, x, block)
        parts = net.cast(split.whole(), "float32")
        scale = net.div(net.max(net.abs(parts), split.within), np.float32(127))
        step = net.where(net.equal(scale, np.float32(0)), np.float32(1), scale)
        made = split.joined(_to_int8(call, net.div(parts, split.beside(step))))
        return [made, scale]


@reported(None)
def add_dynamic_quantize(
    self: Graph,
    input: ITensor,
    axis: int,
    block_size: int,
    output_type: DataType,
    scale_type: DataType,
) -> IDynamicQuantizeLayer:
    """Quantize blocks along one axis by scales of what they hold."""
    where = {"axis": whole(axis, "axis"), "block_size": whole(block_size, "block_size")}
    return _dynamic(self, input, output_type, scale_type, block_shape=(), **where)


@reported(None)
def add_dynamic_quantize_v2(
    self: Graph,
    input: ITensor,
    block_shape: Sequence[int],
    output_type: DataType,
    scale_type: DataType,
) -> IDynamicQuantizeLayer:
    """Quantize blocks by scales of what they hold.  block_shape: an extent for each axis, -1 for all of it."""
    shape = extents(block_shape, "block_shape")
    return _dynamic(self, input, output_type, scale_type, block_shape=shape, axis=-1, block_size=0)


def _dynamic(
    graph: Graph, x: ITensor, output_type: DataType, scale_type: DataType, **where: Any
) -> IDynamicQuantizeLayer:
    types = {
        "to_type": _type(output_type, "output_type"),
        "scale_type": _type(scale_type, "scale_type"),
    }
    return graph._add(IDynamicQuantizeLayer, [x], 2, **types, **where)
