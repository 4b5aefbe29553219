"""Layers that look elements up, put them at places, or find where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import BoundingBoxFormat, GatherMode, ScatterMode
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.element_types import INT32
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, member, whole
from camshaft.tensorrt.network.tensor import ITensor

_gather, _scatter, _type = member(GatherMode), member(ScatterMode), member(DataType)
_DEFAULT, _ELEMENT, _ND = GatherMode.DEFAULT, GatherMode.ELEMENT, GatherMode.ND
_SCATTER_ELEMENT = ScatterMode.ELEMENT
_CORNERS = BoundingBoxFormat.CORNER_PAIRS


class IGatherLayer(ILayer):
    """Elements or slices at indices."""

    _kind = LayerType.GATHER
    _most = 2
    axis = Param(whole, "The axis that indices are of; of DEFAULT and ELEMENT.")
    num_elementwise_dims = Param(
        whole, "Leading axes that data and indices share; of ND and DEFAULT."
    )
    mode = Param(_gather, "What indices say.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, mode = call.net, call.input(0), call["mode"]
        axis, shared = call["axis"], call["num_elementwise_dims"]
        if mode == _ND:
            indices = net.cast(call.input(1), "int64")
            return [net.gather_nd(x, indices, batch_dims=shared, name=call.name)]
        if mode == _ELEMENT:
            return [net.gather_elements(x, call.input(1), axis, name=call.name)]
        if shared:
            return [_by_row(call, x, call.input(1), axis, shared)]
        return [net.gather(x, call.input(1), axis, name=call.name)]


def _by_row(call: Call, x: Tensor, at: Tensor, axis: int, shared: int) -> Tensor:
    """Slices along an axis, where the first axes of data and indices are the same."""
    net = call.net
    if not shared <= axis < x.rank or at.rank < shared:
        raise ModelError(
            f"num_elementwise_dims={shared} takes indices of {shared} axes and more, and an axis from {shared} to {x.rank - 1}; axis is {axis}"
        )
    others = [a for a in range(shared, x.rank) if a != axis]
    indices = net.unsqueeze(net.cast(at, "int64"), [at.rank])
    rows = net.transpose(x, [*range(shared), axis, *others])
    made = net.gather_nd(rows, indices, batch_dims=shared)
    ahead = axis - shared
    before = [*range(at.rank, at.rank + ahead)]
    behind = [*range(at.rank + ahead, made.rank)]
    found = [*range(shared, at.rank)]
    return net.transpose(made, [*range(shared), *before, *found, *behind], name=call.name)


@reported(None)
def add_gather(self: Graph, input: ITensor, indices: ITensor, axis: int) -> IGatherLayer:
    """Slices along an axis."""
    return _gathered(self, input, indices, whole(axis, "axis"), _DEFAULT)


@reported(None)
def add_gather_v2(self: Graph, input: ITensor, indices: ITensor, mode: GatherMode) -> IGatherLayer:
    """Slices, elements, or parts at places."""
    return _gathered(self, input, indices, 0, _gather(mode, "mode"))


def _gathered(graph: Graph, x: ITensor, at: ITensor, axis: int, mode: GatherMode) -> IGatherLayer:
    return graph._add(IGatherLayer, [x, at], axis=axis, num_elementwise_dims=0, mode=mode)


class IScatterLayer(ILayer):
    """A tensor with other elements at indices."""

    _kind = LayerType.SCATTER
    _most = 3
    axis = Param(whole, "The axis that indices are of; of ELEMENT.")
    mode = Param(_scatter, "What indices say.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, at, updates = call.net, call.input(0), call.input(1), call.input(2)
        if call["mode"] == _SCATTER_ELEMENT:
            return [net.scatter_elements(x, at, updates, call["axis"], name=call.name)]
        return [net.scatter_nd(x, net.cast(at, "int64"), updates, name=call.name)]


@reported(None)
def add_scatter(
    self: Graph, data: ITensor, indices: ITensor, updates: ITensor, mode: ScatterMode
) -> IScatterLayer:
    """`data` with `updates` at indices."""
    return self._add(IScatterLayer, [data, indices, updates], axis=0, mode=_scatter(mode, "mode"))


class IOneHotLayer(ILayer):
    """One value at the index along a new axis, another elsewhere."""

    _kind = LayerType.ONE_HOT
    _most = 3
    axis = Param(whole, "The new axis.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        indices, values, depth = (call.input(i) for i in range(3))
        made = call.net.op("OneHot", indices, depth, values, name=call.name, axis=call["axis"])
        return [made]


@reported(None)
def add_one_hot(
    self: Graph, indices: ITensor, values: ITensor, depth: ITensor, axis: int
) -> IOneHotLayer:
    """values: [off, on].  depth: a constant scalar, the extent of the new axis."""
    return self._add(IOneHotLayer, [indices, values, depth], axis=whole(axis, "axis"))


class INonZeroLayer(ILayer):
    """Places of elements that are not 0."""

    _kind = LayerType.NON_ZERO
    indices_type = Param(_type, "Type of the output.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        places = call.net.nonzero(call.input(0), name=call.name)
        return [call.cast(places, call["indices_type"])]


@reported(None)
def add_non_zero(self: Graph, input: ITensor, indices_type: DataType = INT32) -> INonZeroLayer:
    """Places of elements that are not 0: [rank, count]."""
    kind = _type(indices_type, "indices_type")
    return self._add(INonZeroLayer, [input], indices_type=kind)


class INMSLayer(ILayer):
    """Boxes that no better one of their class overlaps."""

    _kind = LayerType.NMS
    _most = 5
    bounding_box_format = Param(member(BoundingBoxFormat), "What a box's four numbers are.")
    topk_box_limit = Param(whole, "Boxes of each class that are looked at; kept, without effect.")
    indices_type = Param(_type, "Type of the output.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, most = call.net, call.scalar(call.input(2))
        boxes, scores = call.input(0), net.transpose(call.input(1), (0, 2, 1))
        by_class = boxes.rank == 4
        if boxes.rank not in (3, 4):
            raise ModelError(
                f"boxes have shape {boxes.shape}, must be [batch, n, 4] or [batch, n, classes, 4]"
            )
        if by_class:
            classes = net.op("Shape", scores, start=1, end=2)
            boxes, scores = _each_class(net, boxes, scores)
        limits = [call.given(3), call.given(4)]
        one = [None if t is None else net.reshape(t, [1]) for t in limits]
        centers = int(call["bounding_box_format"] != _CORNERS)
        made = net.op("NonMaxSuppression", boxes, scores, net.reshape(most, [1]), *one, name=call.name, center_point_box=centers)  # fmt: skip
        if by_class:
            made = _with_classes(net, made, classes)
        count = net.op("Squeeze", net.op("Shape", made, start=0, end=1))
        kind = call["indices_type"]
        return [call.cast(made, kind), call.cast(count, kind)]


def _each_class(net: Network, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [N, B, C or 1, 4] and scores [N, C, B] as those of N * C images of one class."""
    count, tail = net.op("Shape", scores, start=2, end=3), net.constant(np.array([4]))
    wanted = net.op("Concat", net.op("Shape", scores), tail, axis=0)
    each = net.op("Expand", net.transpose(boxes, (0, 2, 1, 3)), wanted)
    rest = net.constant(np.array([-1]))
    flat = net.op("Reshape", each, net.op("Concat", rest, count, tail, axis=0))
    one = net.constant(np.array([1]))
    return flat, net.op("Reshape", scores, net.op("Concat", rest, one, count, axis=0))


def _with_classes(net: Network, found: Tensor, classes: Tensor) -> Tensor:
    """Rows (image * classes + class, 0, box) as (image, class, box)."""
    first, box = (
        net.op("Gather", found, net.constant(np.array([column])), axis=1) for column in (0, 2)
    )
    image, kind = net.op("Div", first, classes), net.op("Mod", first, classes)
    made: Tensor = net.op("Concat", image, kind, box, axis=1)
    return made


@reported(None)
def add_nms(
    self: Graph,
    boxes: ITensor,
    scores: ITensor,
    max_output_boxes_per_class: ITensor,
    indices_type: DataType = INT32,
) -> INMSLayer:
    """[count, 3], (batch, class, box), and count.  boxes: [batch, n, 4], or [batch, n, classes, 4].  scores: [batch, n, classes]."""
    params: dict[str, Any] = {"bounding_box_format": _CORNERS, "topk_box_limit": 5000}
    given = [boxes, scores, max_output_boxes_per_class]
    kind = _type(indices_type, "indices_type")
    return self._add(INMSLayer, given, 2, indices_type=kind, **params)


class IReverseSequenceLayer(ILayer):
    """The first elements of each row, backwards."""

    _kind = LayerType.REVERSE_SEQUENCE
    _most = 2
    batch_axis = Param(whole, "The axis of rows.")
    sequence_axis = Param(whole, "The axis of a row's elements.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        lengths = call.net.cast(call.input(1), "int64")
        axes = {"batch_axis": call["batch_axis"], "time_axis": call["sequence_axis"]}
        return [call.net.op("ReverseSequence", call.input(0), lengths, name=call.name, **axes)]


@reported(None)
def add_reverse_sequence(
    self: Graph, input: ITensor, sequence_lens: ITensor
) -> IReverseSequenceLayer:
    """The first `sequence_lens` elements of each row, backwards."""
    given = [input, sequence_lens]
    return self._add(IReverseSequenceLayer, given, batch_axis=1, sequence_axis=0)
