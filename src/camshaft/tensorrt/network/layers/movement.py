"""Layers that move elements: transposes, reshapes, joins and cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.dims import Dims, Permutation, extents
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import SampleMode
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, dims, flag, member, order, whole
from camshaft.tensorrt.network.tensor import ITensor

_STRICT, _FILL = SampleMode.STRICT_BOUNDS, SampleMode.FILL
_WRAP, _REFLECT = SampleMode.WRAP, SampleMode.REFLECT
_FAR = np.iinfo(np.int64).min


def third_last(rank: int) -> int:
    """The axis that layers take by default: of channels, of an image."""
    return max(rank - 3, 0)


class LateAxis(Param):
    """An axis that hangs on the input's rank until it is set."""

    def __init__(self, doc: str, of: Callable[[int], int] = int) -> None:
        """of: what the property says of an axis."""
        super().__init__(whole, doc)
        self._of = of

    def _get(self, layer: ILayer) -> Any:
        value = layer._record.param(self._name)
        source = layer.get_input(0)
        if value is not None or source is None:
            return value
        return self._of(third_last(len(source.shape)))


def _permutation(value: tuple[int, ...] | None) -> Permutation:
    return Permutation(range(8) if value is None else value)


class IShuffleLayer(ILayer):
    """A transpose, a reshape, a transpose."""

    _kind = LayerType.SHUFFLE
    _most = 2
    _shapes = (1,)
    first_transpose = Param(order, "Where axes come from, before.", _permutation)
    reshape_dims = Param(
        extents, "Extents: -1 is what is left, 0 what stands there.", lambda d: Dims(d or ())
    )
    second_transpose = Param(order, "Where axes come from, afterwards.", _permutation)
    zero_is_placeholder = Param(flag, "Whether 0 in `reshape_dims` copies an extent.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, sizes = call.net, call.input(0), call.given(1)
        if sizes is None and call["reshape_dims"] is not None:
            sizes = net.constant(np.asarray(call["reshape_dims"], np.int64))
        made = _turned(call, x, call["first_transpose"])
        if sizes is not None:
            keep = 0 if call["zero_is_placeholder"] else 1
            sizes = net.cast(sizes, "int64")
            made = net.op("Reshape", made, sizes, name=call.name, allowzero=keep)
        return [_turned(call, made, call["second_transpose"])]


def _turned(call: Call, x: Tensor, perm: tuple[int, ...] | None) -> Tensor:
    if perm is None:
        return x
    axes = perm[: x.rank]
    return x if axes == tuple(range(x.rank)) else call.net.transpose(x, axes)


@reported(None)
def add_shuffle(self: Graph, input: ITensor) -> IShuffleLayer:
    """Transpose, reshape and transpose, as the layer's properties say; input 1, if set, is the shape."""
    return self._add(
        IShuffleLayer,
        [input],
        first_transpose=None,
        reshape_dims=None,
        second_transpose=None,
        zero_is_placeholder=True,
    )


class ISliceLayer(ILayer):
    """A part of a tensor, in steps."""

    _kind = LayerType.SLICE
    _most = 6
    _shapes = (1, 2, 3)
    start = dims("First index of each axis; input 1 instead, if set.")
    shape = dims("Extents of the output; input 2 instead, if set.")
    stride = dims("Steps; input 3 instead, if set.")
    axes = dims("The axes that these are of; empty: all.")
    mode = Param(member(SampleMode), "What lies outside; of FILL input 4, or 0.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x = call.net, call.input(0)
        if call.given(5) is not None:
            raise ModelError("axes must be set as a property, not as input 5")
        axes = [*(call["axes"] or range(x.rank))]
        names = ("start", "shape", "stride")
        known = [_numbers(call, i + 1, name) for i, name in enumerate(names)]
        start, size, stride = known
        if start is None or size is None or stride is None:
            return [_open_slice(call, x, axes, known)]
        if not len(start) == len(size) == len(stride) == len(axes):
            raise ModelError(
                f"start {start}, shape {size}, stride {stride}: input has {x.rank} axes"
            )
        if call["mode"] == _STRICT:
            _check_bounds(x, axes, start, size, stride)
            ends = [s + n * d if s + n * d >= 0 else _FAR for s, n, d in zip(start, size, stride, strict=True)]  # fmt: skip
            return [net.slice(x, start, ends, axes, stride, name=call.name)]
        return [_outside(call, x, axes, start, size, stride)]


def _numbers(call: Call, index: int, name: str) -> list[int] | None:
    """Whole numbers of an input that is a constant, or of the property; None if they are not known."""
    given = call.given(index)
    if given is None:
        return [*call[name]]
    elements = call.net.constant_value(given)
    return None if elements is None else [int(v) for v in elements.reshape(-1)]


def _check_bounds(
    x: Tensor, axes: list[int], start: list[int], size: list[int], stride: list[int]
) -> None:
    for axis, first, count, step in zip(axes, start, size, stride, strict=True):
        extent, last = x.shape[axis], first + (count - 1) * step
        if isinstance(extent, int) and count and not (0 <= first < extent and 0 <= last < extent):
            raise ModelError(
                f"axis {axis} has {extent} elements, and the slice takes {first} to {last}; set mode"
            )


def _open_slice(call: Call, x: Tensor, axes: list[int], known: list[list[int] | None]) -> Tensor:
    """A slice within bounds whose numbers are computed."""
    net = call.net
    if call["mode"] != _STRICT:
        raise ModelError(f"mode={call['mode']} takes constant start, shape and stride")
    start, size, stride = (
        net.cast(call.input(i + 1), "int64") if k is None else net.constant(k, "int64")
        for i, k in enumerate(known)
    )
    end = net.add(start, net.mul(size, stride))
    if known[2] is None or min(known[2]) < 0:
        end = net.where(net.less(end, 0), net.constant(_FAR, "int64"), end)
    return net.slice(x, start, end, axes, stride, name=call.name)


def _outside(
    call: Call, x: Tensor, axes: list[int], start: list[int], size: list[int], stride: list[int]
) -> Tensor:
    """A slice that reads beyond bounds: gathers with indices that the mode maps, FILL with a mask."""
    net, made, mode = call.net, x, call["mode"]
    inside: Tensor | None = None
    for axis, first, count, step in zip(axes, start, size, stride, strict=True):
        extent = x.shape[axis]
        if not isinstance(extent, int):
            raise ModelError(f"mode={mode} takes a known extent, and axis {axis} is open")
        raw = first + step * np.arange(count)
        index = np.clip(raw, 0, extent - 1)
        if mode == _WRAP:
            index = raw % extent
        elif mode == _REFLECT:
            period = max(2 * (extent - 1), 1)
            index = (extent - 1) - np.abs(raw % period - (extent - 1))
        made = net.gather(made, index.astype(np.int64), axis)
        held = ((raw >= 0) & (raw < extent)).reshape([-1] + [1] * (x.rank - 1 - axis))
        if mode == _FILL and not held.all():
            mask = net.constant(held)
            inside = mask if inside is None else net.logical_and(inside, mask)
    if inside is None:
        return net._one("Identity", made, name=call.name)
    value = call.given(4)
    return net.where(inside, made, net.constant(0, x.dtype) if value is None else value, name=call.name)  # fmt: skip


@reported(None)
def add_slice(
    self: Graph,
    input: ITensor,
    start: Sequence[int],
    shape: Sequence[int],
    stride: Sequence[int],
) -> ISliceLayer:
    """From `start`, `shape` elements of each axis, in steps."""
    return self._add(
        ISliceLayer,
        [input],
        start=extents(start, "start"),
        shape=extents(shape, "shape"),
        stride=extents(stride, "stride"),
        axes=(),
        mode=_STRICT,
    )


class IConcatenationLayer(ILayer):
    """Tensors joined along an axis."""

    _kind = LayerType.CONCATENATION
    _most = None
    axis = LateAxis("The axis; at first the third last, or the first of fewer.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        given = [call.input(i) for i in range(len(call.inputs))]
        call.same_ranks(*given)
        axis = third_last(given[0].rank) if call["axis"] is None else call["axis"]
        return [call.net.concat(given, axis, name=call.name)]


@reported(None)
def add_concatenation(self: Graph, inputs: Sequence[ITensor]) -> IConcatenationLayer:
    """Tensors joined along the axis that the layer says.  ModelError, logged, if there are none."""
    if not inputs:
        raise ModelError("inputs is empty; pass one tensor or more")
    return self._add(IConcatenationLayer, [*inputs], axis=None)


class ISqueezeLayer(ILayer):
    """Without axes of extent 1."""

    _kind = LayerType.SQUEEZE
    _most = 2

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        axes = call.net.cast(call.input(1), "int64")
        return [call.net.squeeze(call.input(0), axes, name=call.name)]  # type: ignore[arg-type]


class IUnsqueezeLayer(ILayer):
    """With new axes of extent 1."""

    _kind = LayerType.UNSQUEEZE
    _most = 2

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        axes = call.net.cast(call.input(1), "int64")
        return [call.net.unsqueeze(call.input(0), axes, name=call.name)]  # type: ignore[arg-type]


@reported(None)
def add_squeeze(self: Graph, input: ITensor, axes: ITensor) -> ISqueezeLayer:
    """Without the axes that a constant of whole numbers says."""
    return self._add(ISqueezeLayer, [input, axes])


@reported(None)
def add_unsqueeze(self: Graph, input: ITensor, axes: ITensor) -> IUnsqueezeLayer:
    """With new axes where a constant of whole numbers says."""
    return self._add(IUnsqueezeLayer, [input, axes])
