"""Layers that reduce axes, or work along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.operations import CumulativeOperation, ReduceOperation, TopKOperation
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call, axes_of
from camshaft.tensorrt.network.element_types import INT32
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers.movement import LateAxis, third_last
from camshaft.tensorrt.network.params import Param, flag, member, whole
from camshaft.tensorrt.network.tensor import ITensor

_reduce, _topk = member(ReduceOperation), member(TopKOperation)
_sum, _type = member(CumulativeOperation), member(DataType)
_LARGEST = TopKOperation.MAX
MOST_K = 3840
_REDUCTIONS = {
    ReduceOperation.SUM: "Sum",
    ReduceOperation.PROD: "Prod",
    ReduceOperation.MAX: "Max",
    ReduceOperation.MIN: "Min",
    ReduceOperation.AVG: "Mean",
}


class IReduceLayer(ILayer):
    """A reduction over axes."""

    _kind = LayerType.REDUCE
    op = Param(_reduce, "Which one.")
    axes = Param(whole, "A bit for each axis.")
    keep_dims = Param(flag, "Whether reduced axes stay, with extent 1.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x, axes = call.input(0), axes_of(call["axes"])
        if not axes or axes[-1] >= x.rank:
            raise ModelError(f"axes={call['axes']:#b} must have bits below bit {x.rank}")
        if call["op"] not in _REDUCTIONS:
            raise ModelError(f"op={call['op']} reduces nothing")
        keep = call["keep_dims"]
        return [call.net.reduce(_REDUCTIONS[call["op"]], x, axes, keep=keep, name=call.name)]


@reported(None)
def add_reduce(
    self: Graph, input: ITensor, op: ReduceOperation, axes: int, keep_dims: bool
) -> IReduceLayer:
    """A reduction.  axes: a bit for each."""
    keep = flag(keep_dims, "keep_dims")
    return self._add(
        IReduceLayer, [input], op=_reduce(op, "op"), axes=whole(axes, "axes"), keep_dims=keep
    )


class ITopKLayer(ILayer):
    """The largest or smallest elements along an axis, in order."""

    _kind = LayerType.TOPK
    _most = 2
    _shapes = (1,)
    op = Param(_topk, "Which.")
    k = Param(whole, "How many; input 1 instead, if set.")
    axes = Param(whole, "The bit of the axis.")
    indices_type = Param(_type, "Type of the indices.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, k = call.net, call.input(0), call["k"]
        axis = call.one_axis(call["axes"], x.rank)
        count = call.given(1)
        if count is not None:
            k = net.reshape(net.cast(count, "int64"), [1])
        largest = call["op"] == _LARGEST
        values, indices = net.topk(x, k, axis=axis, largest=largest, name=call.name)
        return [values, call.cast(indices, call["indices_type"])]


@reported(None)
def add_topk(
    self: Graph,
    input: ITensor,
    op: TopKOperation,
    k: int,
    axes: int,
    indices_type: DataType = INT32,
) -> ITopKLayer:
    """The `k` largest or smallest elements along an axis, and where they are.  ModelError, logged, if k is beyond 3840."""
    if not 0 <= whole(k, "k") <= MOST_K:
        raise ModelError(f"k={k} must be from 1 to {MOST_K}")
    params = {"op": _topk(op, "op"), "k": k, "axes": whole(axes, "axes")}
    return self._add(
        ITopKLayer, [input], 2, indices_type=_type(indices_type, "indices_type"), **params
    )


class ISoftMaxLayer(ILayer):
    """e**x, divided by its sum along an axis."""

    _kind = LayerType.SOFTMAX
    axes = LateAxis("The bit of the axis; at first that of the third last.", lambda axis: 1 << axis)

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x, bits = call.input(0), call["axes"]
        axis = third_last(x.rank) if bits is None else call.one_axis(bits, x.rank)
        return [call.net.softmax(x, axis=axis, name=call.name)]


@reported(None)
def add_softmax(self: Graph, input: ITensor) -> ISoftMaxLayer:
    """Softmax along the axis that the layer says."""
    return self._add(ISoftMaxLayer, [input], axes=None)


class IRaggedSoftMaxLayer(ILayer):
    """Softmax over the first elements of each row, 0 for the rest."""

    _kind = LayerType.RAGGED_SOFTMAX
    _most = 2

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, bounds = call.net, call.input(0), call.input(1)
        size = net.op("Squeeze", net.op("Shape", x, start=-1))
        place = net.op("Range", net.constant(0, "int64"), size, net.constant(1, "int64"))
        held = net.less(place, net.cast(bounds, "int64"))
        low = net.where(held, x, net.constant(-3.0e38, x.dtype))
        made = net.softmax(low)
        return [net.where(held, made, net.constant(0, x.dtype), name=call.name)]


@reported(None)
def add_ragged_softmax(self: Graph, input: ITensor, bounds: ITensor) -> IRaggedSoftMaxLayer:
    """input: [..., rows, size].  bounds: [..., rows, 1], elements of each row that count."""
    return self._add(IRaggedSoftMaxLayer, [input, bounds])


class ICumulativeLayer(ILayer):
    """Running sums along an axis."""

    _kind = LayerType.CUMULATIVE
    _most = 2
    op = Param(_sum, "SUM.")
    exclusive = Param(flag, "Whether an element's own value is left out.")
    reverse = Param(flag, "Whether sums run from the end.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        way: dict[str, Any] = {p: int(call[p]) for p in ("exclusive", "reverse")}
        return [call.net.op("CumSum", call.input(0), call.input(1), name=call.name, **way)]


@reported(None)
def add_cumulative(
    self: Graph,
    input: ITensor,
    axis: ITensor,
    op: CumulativeOperation,
    exclusive: bool,
    reverse: bool,
) -> ICumulativeLayer:
    """axis: a constant scalar."""
    way = {"exclusive": flag(exclusive, "exclusive"), "reverse": flag(reverse, "reverse")}
    return self._add(ICumulativeLayer, [input, axis], op=_sum(op, "op"), **way)
