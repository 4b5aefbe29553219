"""Layers of windows over images: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.dims import Dims, DimsHW, extents
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import PaddingMode
from camshaft.tensorrt.enums.operations import PoolingType
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import (
    Param,
    check_least,
    dims,
    flag,
    held_weights,
    maybe_weights,
    member,
    number,
    plane,
    whole,
)
from camshaft.tensorrt.network.tensor import ITensor, tensor

_padding, _pool = member(PaddingMode), member(PoolingType)
_EXPLICIT = PaddingMode.EXPLICIT_ROUND_DOWN
_ROUND_UP = frozenset([PaddingMode.EXPLICIT_ROUND_UP, PaddingMode.CAFFE_ROUND_UP])
_SAME = {PaddingMode.SAME_UPPER: "SAME_UPPER", PaddingMode.SAME_LOWER: "SAME_LOWER"}
_MAX, _AVERAGE = PoolingType.MAX, PoolingType.AVERAGE


def _symmetric() -> property:
    """`padding_nd`: the same before and after."""

    def read(layer: ILayer) -> Dims:
        before, after = layer._record.param("pre_padding"), layer._record.param("post_padding")
        if before != after:
            layer._record.graph._refuse(
                f"layer {layer.name!r} pads {before} before and {after} after; read pre_padding and post_padding"
            )
        return Dims(before)

    def write(layer: ILayer, value: Any) -> None:
        given = extents(value, "padding_nd")
        layer._record.assign("pre_padding", given)
        layer._record.assign("post_padding", given)

    return property(read, write, doc="Padding before and after.")


def _axes(call: Call, window: tuple[int, ...]) -> dict[str, Any]:
    """ONNX's attributes of windows, with the padding that makes counts round up put to the end."""
    dilations = call.record.params.get("dilation_nd", (1,) * len(window))
    made = {"kernel_shape": window, "strides": call["stride_nd"], "dilations": dilations}
    mode = call["padding_mode"]
    if mode in _SAME:
        return made | {"auto_pad": _SAME[mode]}
    return made | {"pads": [*call["pre_padding"], *call["post_padding"]]}


def _fill_last(call: Call, x: Tensor, axes: dict[str, Any]) -> None:
    """Pad a convolution so far that its last window, which is not whole, counts.  ModelError of open extents."""
    sizes = x.shape[2:]
    rank = len(sizes)
    for i, size in enumerate(sizes):
        if not isinstance(size, int):
            raise ModelError(f"padding_mode rounds up, and extent {size!r} is open; pad explicitly")
        reach = axes["dilations"][i] * (axes["kernel_shape"][i] - 1) + 1
        left = (size + axes["pads"][i] + axes["pads"][rank + i] - reach) % axes["strides"][i]
        axes["pads"][rank + i] += (axes["strides"][i] - left) % axes["strides"][i]


def _weights(call: Call, kernel: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Kernel, of this shape, and bias: inputs where they are set, else weights."""
    x, given = call.input(0), call.given(1)
    if given is None:
        given = call.weights("kernel", kernel, x)
    if given is None:
        raise ModelError("kernel is empty; pass weights, or call set_input(1, tensor)")
    bias = call.given(2)
    return given, call.weights("bias", (call["num_output_maps"],), x) if bias is None else bias


class IConvolutionLayer(ILayer):
    """A convolution."""

    _kind = LayerType.CONVOLUTION
    _most = 3
    num_output_maps = Param(whole, "Channels of the output.", least=1)
    kernel_size_nd = dims("Extents of the window.", least=1)
    stride_nd = dims("Steps of the window.", least=1)
    pre_padding = dims("Padding before.")
    post_padding = dims("Padding after.")
    padding_mode = Param(_padding, "How the size of the output follows.")
    dilation_nd = dims("Steps within the window.", least=1)
    num_groups = Param(whole, "Groups of channels.", least=1)
    kernel = held_weights("[outputs, inputs / groups, *window]; empty: input 1 has them.")
    bias = held_weights("[outputs], or none.")
    padding_nd = _symmetric()
    kernel_size = plane("kernel_size_nd")
    stride = plane("stride_nd")
    padding = plane("padding_nd")
    dilation = plane("dilation_nd")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x, maps, window = call.input(0), call["num_output_maps"], call["kernel_size_nd"]
        kernel, bias = _weights(call, (maps, -1, *window))
        axes = _axes(call, window)
        if call["padding_mode"] in _ROUND_UP:
            _fill_last(call, x, axes)
        groups = call["num_groups"]
        return [call.net.op("Conv", x, kernel, bias, name=call.name, group=groups, **axes)]


class IDeconvolutionLayer(ILayer):
    """A transposed convolution."""

    _kind = LayerType.DECONVOLUTION
    _most = 3
    num_output_maps = Param(whole, "Channels of the output.", least=1)
    kernel_size_nd = dims("Extents of the window.", least=1)
    stride_nd = dims("Steps of the window.", least=1)
    pre_padding = dims("Taken off the output before.")
    post_padding = dims("Taken off the output after.")
    padding_mode = Param(_padding, "How the size of the output follows.")
    dilation_nd = dims("Steps within the window.", least=1)
    num_groups = Param(whole, "Groups of channels.", least=1)
    kernel = held_weights("[inputs, outputs / groups, *window]; empty: input 1 has them.")
    bias = held_weights("[outputs], or none.")
    padding_nd = _symmetric()
    kernel_size = plane("kernel_size_nd")
    stride = plane("stride_nd")
    padding = plane("padding_nd")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x, groups, window = call.input(0), call["num_groups"], call["kernel_size_nd"]
        maps = call["num_output_maps"]
        kernel, bias = _weights(call, (-1, maps // groups, *window))
        axes = _axes(call, window)
        return [call.net.op("ConvTranspose", x, kernel, bias, name=call.name, group=groups, **axes)]


@reported(None)
def add_convolution_nd(
    self: Graph,
    input: ITensor,
    num_output_maps: int,
    kernel_shape: Sequence[int],
    kernel: Any,
    bias: Any = None,
) -> IConvolutionLayer:
    """A convolution of [N, C, *axes] for each of 1 to 3 axes of space."""
    window = extents(kernel_shape, "kernel_shape")
    params = _convolution(input, num_output_maps, window, kernel, bias)
    return self._add(IConvolutionLayer, [input], **params)


@reported(None)
def add_convolution(
    self: Graph,
    input: ITensor,
    num_output_maps: int,
    kernel_shape: Sequence[int],
    kernel: Any,
    bias: Any = None,
) -> IConvolutionLayer:
    """A convolution of images."""
    window = tuple(DimsHW(kernel_shape))
    params = _convolution(input, num_output_maps, window, kernel, bias)
    return self._add(IConvolutionLayer, [input], **params)


@reported(None)
def add_deconvolution_nd(
    self: Graph,
    input: ITensor,
    num_output_maps: int,
    kernel_shape: Sequence[int],
    kernel: Any,
    bias: Any = None,
) -> IDeconvolutionLayer:
    """A transposed convolution of [N, C, *axes]."""
    window = extents(kernel_shape, "kernel_shape")
    params = _convolution(input, num_output_maps, window, kernel, bias)
    return self._add(IDeconvolutionLayer, [input], **params)


@reported(None)
def add_deconvolution(
    self: Graph,
    input: ITensor,
    num_output_maps: int,
    kernel_shape: Sequence[int],
    kernel: Any,
    bias: Any = None,
) -> IDeconvolutionLayer:
    """A transposed convolution of images."""
    window = tuple(DimsHW(kernel_shape))
    params = _convolution(input, num_output_maps, window, kernel, bias)
    return self._add(IDeconvolutionLayer, [input], **params)


def _convolution(
    x: ITensor, maps: int, window: tuple[int, ...], kernel: Any, bias: Any
) -> dict[str, Any]:
    check_least("num_output_maps", whole(maps, "num_output_maps"), 1)
    _check_window(x, window, "kernel_shape")
    return {
        "num_output_maps": whole(maps, "num_output_maps"),
        "kernel_size_nd": window,
        "kernel": maybe_weights(kernel, "kernel"),
        "bias": maybe_weights(bias, "bias"),
        "dilation_nd": (1,) * len(window),
        "num_groups": 1,
        **_windows(window),
    }


def _check_window(x: ITensor, window: tuple[int, ...], name: str) -> None:
    """ModelError of a window that an input of this rank does not have.  Ranks of what layers give are looked at later: here that would walk the
    network once for each layer."""
    check_least(name, window, 1)
    shape = tensor(x, "input")._shape
    if x._producer is None and len(shape) != len(window) + 2:
        raise ModelError(
            f"{name}={window} is of {len(window)} axes, and input {x.name!r} has the shape {shape}: give [N, C] and an extent for each"
        )


def _windows(window: tuple[int, ...]) -> dict[str, Any]:
    return {
        "stride_nd": (1,) * len(window),
        "pre_padding": (0,) * len(window),
        "post_padding": (0,) * len(window),
        "padding_mode": _EXPLICIT,
    }


class IPoolingLayer(ILayer):
    """A pool."""

    _kind = LayerType.POOLING
    type = Param(_pool, "What becomes of a window.")
    window_size_nd = dims("Extents of the window.", least=1)
    stride_nd = dims("Steps of the window.", least=1)
    pre_padding = dims("Padding before.")
    post_padding = dims("Padding after.")
    padding_mode = Param(_padding, "How the size of the output follows.")
    blend_factor = Param(number, "The average's share, of MAX_AVERAGE_BLEND.")
    average_count_excludes_padding = Param(flag, "Whether averages leave padding out.")
    padding_nd = _symmetric()
    window_size = plane("window_size_nd")
    stride = plane("stride_nd")
    padding = plane("padding_nd")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, kind = call.net, call.input(0), call["type"]
        axes = _axes(call, call["window_size_nd"])
        axes["ceil_mode"] = int(call["padding_mode"] in _ROUND_UP)
        counts = int(not call["average_count_excludes_padding"])
        if kind == _MAX:
            return [net.op("MaxPool", x, name=call.name, **axes)]
        if kind == _AVERAGE:
            return [net.op("AveragePool", x, name=call.name, count_include_pad=counts, **axes)]
        largest = net.op("MaxPool", x, **axes)
        mean = net.op("AveragePool", x, count_include_pad=counts, **axes)
        share = call["blend_factor"]
        return [net.add(net.mul(largest, 1 - share), net.mul(mean, share), name=call.name)]


@reported(None)
def add_pooling_nd(
    self: Graph, input: ITensor, type: PoolingType, window_size: Sequence[int]
) -> IPoolingLayer:
    """A pool of [N, C, *axes]; windows step by 1 unless `stride_nd` is set."""
    return _pooling(self, input, type, extents(window_size, "window_size"))


@reported(None)
def add_pooling(
    self: Graph, input: ITensor, type: PoolingType, window_size: Sequence[int]
) -> IPoolingLayer:
    """A pool of images."""
    return _pooling(self, input, type, tuple(DimsHW(window_size)))


def _pooling(graph: Graph, x: ITensor, type: PoolingType, window: tuple[int, ...]) -> IPoolingLayer:
    _check_window(x, window, "window_size")
    return graph._add(
        IPoolingLayer,
        [x],
        type=_pool(type, "type"),
        window_size_nd=window,
        blend_factor=0.0,
        average_count_excludes_padding=True,
        **_windows(window),
    )
