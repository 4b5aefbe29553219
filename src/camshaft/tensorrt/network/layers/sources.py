"""Layers without inputs, or that are filled: constants, shapes, sequences, random numbers; and assertions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.dims import extents, volume
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.operations import FillOperation
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call, array_of
from camshaft.tensorrt.network.element_types import FLOAT, onnx_type
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, dims, held_weights, member, number, text
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.weights import weights_of

_operation, _type = member(FillOperation), member(DataType)
_LINSPACE, _UNIFORM = FillOperation.LINSPACE, FillOperation.RANDOM_UNIFORM
_SPANS = {FillOperation.LINSPACE: (0.0, 1.0), FillOperation.RANDOM_UNIFORM: (0.0, 1.0)}


class IConstantLayer(ILayer):
    """A constant."""

    _kind = LayerType.CONSTANT
    _most = 0
    _any_opset = True
    weights = held_weights("The elements.")
    shape = dims("The shape.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        held, extent = call["weights"], call["shape"]
        if held.size != volume(extent):
            raise ModelError(f"weights has {held.size} elements, and shape {extent} not")
        made = call.net.constant(array_of(held).reshape(extent), name=call.name)
        call.emission.weights_made(made, held, call.record, "weights")
        return [made]


@reported(None)
def add_constant(self: Graph, shape: Sequence[int], weights: Any) -> IConstantLayer:
    """A constant.  ModelError, logged, if weights has not as many elements as the shape."""
    extent, held = extents(shape, "shape"), weights_of(weights, "weights")
    if held.size != volume(extent):
        raise ModelError(f"weights has {held.size} elements, and shape {extent} not")
    return self._add(IConstantLayer, [], weights=held, shape=extent)


class IShapeLayer(ILayer):
    """The extents of a tensor."""

    _kind = LayerType.SHAPE
    _casts = True

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return [call.net.shape(call.input(0), name=call.name)]


@reported(None)
def add_shape(self: Graph, input: ITensor) -> IShapeLayer:
    """The extents of a tensor, INT64 of rank 1."""
    return self._add(IShapeLayer, [input])


class IFillLayer(ILayer):
    """A tensor that is filled by a rule."""

    _kind = LayerType.FILL
    _most = 3
    _shapes = (0,)
    shape = dims("Extents of the output; input 0, if set, says them instead.")
    operation = Param(_operation, "The rule.")
    alpha = Param(number, "Start, lower limit, or mean; input 1 instead if set.")
    beta = Param(number, "Step, upper limit, or deviation; input 2 instead if set.")
    to_type = Param(_type, "Type of the elements.")

    def is_alpha_beta_int64(self) -> bool:
        """Whether alpha and beta are whole numbers: both were set as such, or are of a type that is."""
        values = self._record.param("alpha"), self._record.param("beta")
        return all(isinstance(v, int) for v in values)

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, kind = call.net, call["to_type"]
        sizes = call.given(0)
        if sizes is None:
            sizes = net.constant(np.asarray(call["shape"], np.int64))
        sizes = net.cast(sizes, "int64")
        if call["operation"] == _LINSPACE:
            return [_linspace(call, sizes, kind)]
        if kind != FLOAT:
            raise ModelError(f"to_type={kind}: random numbers are FLOAT; add a cast")
        like = net.op("ConstantOfShape", sizes, value=np.zeros(1, np.float32))
        if call["operation"] == _UNIFORM:
            low, high = call["alpha"], call["beta"]
            return [net.op("RandomUniformLike", like, name=call.name, low=low, high=high)]
        mean, scale = call["alpha"], call["beta"]
        return [net.op("RandomNormalLike", like, name=call.name, mean=mean, scale=scale)]


def _linspace(call: Call, sizes: Tensor, kind: DataType) -> Tensor:
    """start + sum over axes of step * index."""
    net = call.net
    rank = sizes.shape[0]
    if not isinstance(rank, int):
        raise ModelError("the rank of the output must be known")
    number_type = onnx_type(kind)
    start, step = call.given(1), call.given(2)
    if start is None:
        start = net.constant(call["alpha"], number_type)
    if step is None and rank != 1:
        raise ModelError("of rank 2 and more input 2 must be set, a step for each axis")
    made = net.cast(start, number_type)
    for axis in range(rank):
        count = net.gather(sizes, axis)
        steps = net.op("Range", net.constant(0, "int64"), count, net.constant(1, "int64"))
        if step is None:
            by = net.constant(call["beta"], number_type)
        else:
            by = net.gather(net.reshape(step, [-1]), axis)
        part = net.mul(net.cast(steps, number_type), net.cast(by, number_type))
        others = [a for a in range(rank) if a != axis]
        made = net.add(made, net.unsqueeze(part, others) if others else part)
    if rank == 0:
        return made
    result: Tensor = net.op("Identity", made, name=call.name)
    return result


@reported(None)
def add_fill(
    self: Graph, shape: Sequence[int], op: FillOperation, output_type: DataType = FLOAT
) -> IFillLayer:
    """A tensor of equal steps or of random numbers."""
    alpha, beta = _SPANS.get(_operation(op, "op"), (0.0, 1.0))
    return self._add(
        IFillLayer,
        [],
        shape=extents(shape, "shape"),
        operation=op,
        alpha=alpha,
        beta=beta,
        to_type=_type(output_type, "output_type"),
    )


class IAssertionLayer(ILayer):
    """A condition that must hold."""

    _kind = LayerType.ASSERTION
    message = Param(text, "What to say if it does not hold.")


@reported(None)
def add_assertion(self: Graph, condition: ITensor, message: str) -> IAssertionLayer:
    """A condition of bools: a build fails where it never holds, and a run where it does not."""
    return self._add(IAssertionLayer, [condition], 0, message=text(message, "message"))
