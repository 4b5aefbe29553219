"""Layers that work element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import ScaleMode
from camshaft.tensorrt.enums.operations import ActivationType, ElementWiseOperation, UnaryOperation
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.element_types import FLOAT, FLOATS, data_type
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import (
    Param,
    held_weights,
    maybe_weights,
    member,
    number,
    whole,
)
from camshaft.tensorrt.network.tensor import ITensor

_activation, _operation = member(ActivationType), member(ElementWiseOperation)
_unary, _mode, _type = member(UnaryOperation), member(ScaleMode), member(DataType)
Activate = Callable[[Call, Tensor, float, float], Tensor]


def _softplus(c: Call, x: Tensor, alpha: float, beta: float) -> Tensor:
    n = c.net
    return n.mul(n.softplus(n.mul(x, beta)), alpha, name=c.name)


def _scaled_tanh(c: Call, x: Tensor, alpha: float, beta: float) -> Tensor:
    n = c.net
    return n.mul(n.tanh(n.mul(x, beta)), alpha, name=c.name)


def _thresholded(c: Call, x: Tensor, alpha: float, beta: float) -> Tensor:
    return c.net.where(c.net.greater(x, alpha), x, c.net.constant(0, x.dtype), name=c.name)


def _selu(c: Call, x: Tensor, alpha: float, beta: float) -> Tensor:
    made: Tensor = c.net.op("Selu", x, name=c.name, alpha=alpha, gamma=beta)
    return made


_ACTIVATIONS: dict[ActivationType, Activate] = {
    ActivationType.RELU: lambda c, x, a, b: c.net.relu(x, name=c.name),
    ActivationType.SIGMOID: lambda c, x, a, b: c.net.sigmoid(x, name=c.name),
    ActivationType.TANH: lambda c, x, a, b: c.net.tanh(x, name=c.name),
    ActivationType.LEAKY_RELU: lambda c, x, a, b: c.net.leaky_relu(x, alpha=a, name=c.name),
    ActivationType.ELU: lambda c, x, a, b: c.net.elu(x, alpha=a, name=c.name),
    ActivationType.SELU: _selu,
    ActivationType.SOFTSIGN: lambda c, x, a, b: c.net.softsign(x, name=c.name),
    ActivationType.SOFTPLUS: _softplus,
    ActivationType.CLIP: lambda c, x, a, b: c.net.clip(x, a, b, name=c.name),
    ActivationType.HARD_SIGMOID: lambda c, x, a, b: c.net.hard_sigmoid(
        x, alpha=a, beta=b, name=c.name
    ),
    ActivationType.SCALED_TANH: _scaled_tanh,
    ActivationType.THRESHOLDED_RELU: _thresholded,
    ActivationType.GELU_ERF: lambda c, x, a, b: c.net.gelu(x, name=c.name),
    ActivationType.GELU_TANH: lambda c, x, a, b: c.net.gelu(x, approximate="tanh", name=c.name),
}
_DEFAULTS = {
    ActivationType.LEAKY_RELU: (0.01, 0.0),
    ActivationType.ELU: (1.0, 0.0),
    ActivationType.SELU: (1.67326319217681884765625, 1.05070102214813232421875),
    ActivationType.SOFTPLUS: (1.0, 1.0),
    ActivationType.HARD_SIGMOID: (0.2, 0.5),
    ActivationType.SCALED_TANH: (1.0, 1.0),
    ActivationType.THRESHOLDED_RELU: (1.0, 0.0),
}
"""alpha and beta of a new layer, others' 0."""


class IActivationLayer(ILayer):
    """An activation."""

    _kind = LayerType.ACTIVATION
    type = Param(_activation, "Which one.")
    alpha = Param(number, "Slope, scale, threshold or lower limit.")
    beta = Param(number, "Offset, inner scale or upper limit.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        kind = call["type"]
        if kind not in _ACTIVATIONS:
            raise ModelError(f"type={kind!r} is no ActivationType")
        return [_ACTIVATIONS[kind](call, call.input(0), call["alpha"], call["beta"])]


@reported(None)
def add_activation(self: Graph, input: ITensor, type: ActivationType) -> IActivationLayer:
    """An activation of each element."""
    alpha, beta = _DEFAULTS.get(_activation(type, "type"), (0.0, 0.0))
    return self._add(IActivationLayer, [input], type=type, alpha=alpha, beta=beta)


def _floor_div(c: Call, a: Tensor, b: Tensor) -> Tensor:
    n = c.net
    if a.dtype.kind in "iu":
        return n.div(n.sub(a, n.mod(a, b)), b, name=c.name)
    made: Tensor = n.op("Floor", n.div(a, b), name=c.name)
    return made


_ELEMENTWISE: dict[ElementWiseOperation, str] = {
    ElementWiseOperation.SUM: "Add",
    ElementWiseOperation.PROD: "Mul",
    ElementWiseOperation.MAX: "Max",
    ElementWiseOperation.MIN: "Min",
    ElementWiseOperation.SUB: "Sub",
    ElementWiseOperation.DIV: "Div",
    ElementWiseOperation.POW: "Pow",
    ElementWiseOperation.AND: "And",
    ElementWiseOperation.OR: "Or",
    ElementWiseOperation.XOR: "Xor",
    ElementWiseOperation.EQUAL: "Equal",
    ElementWiseOperation.GREATER: "Greater",
    ElementWiseOperation.LESS: "Less",
}
_FLOOR_DIV = ElementWiseOperation.FLOOR_DIV


def _alike(call: Call, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Floats of two types as FLOAT, which the types of a network that is not strongly typed leave open."""
    kinds = {data_type(call.net.type_of(x).elem_type) for x in (a, b)}
    if len(kinds) == 1 or not kinds <= FLOATS or call.record.graph._strongly_typed:
        return a, b
    return call.cast(a, FLOAT), call.cast(b, FLOAT)


class IElementWiseLayer(ILayer):
    """An operation of two tensors of one rank, whose extents are equal or 1."""

    _kind = LayerType.ELEMENTWISE
    _most = 2
    op = Param(_operation, "Which one.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        a, b = _alike(call, call.input(0), call.input(1))
        call.same_ranks(a, b)
        if call["op"] == _FLOOR_DIV:
            return [_floor_div(call, a, b)]
        if call["op"] not in _ELEMENTWISE:
            raise ModelError(f"op={call['op']!r} is no ElementWiseOperation")
        return [call.net.op(_ELEMENTWISE[call["op"]], a, b, name=call.name)]


@reported(None)
def add_elementwise(
    self: Graph, input1: ITensor, input2: ITensor, op: ElementWiseOperation
) -> IElementWiseLayer:
    """An operation of two tensors, element by element."""
    return self._add(IElementWiseLayer, [input1, input2], op=_operation(op, "op"))


_UNARY: dict[UnaryOperation, str] = {
    UnaryOperation.EXP: "Exp",
    UnaryOperation.LOG: "Log",
    UnaryOperation.SQRT: "Sqrt",
    UnaryOperation.RECIP: "Reciprocal",
    UnaryOperation.ABS: "Abs",
    UnaryOperation.NEG: "Neg",
    UnaryOperation.SIN: "Sin",
    UnaryOperation.COS: "Cos",
    UnaryOperation.TAN: "Tan",
    UnaryOperation.SINH: "Sinh",
    UnaryOperation.COSH: "Cosh",
    UnaryOperation.ASIN: "Asin",
    UnaryOperation.ACOS: "Acos",
    UnaryOperation.ATAN: "Atan",
    UnaryOperation.ASINH: "Asinh",
    UnaryOperation.ACOSH: "Acosh",
    UnaryOperation.ATANH: "Atanh",
    UnaryOperation.CEIL: "Ceil",
    UnaryOperation.FLOOR: "Floor",
    UnaryOperation.ERF: "Erf",
    UnaryOperation.NOT: "Not",
    UnaryOperation.SIGN: "Sign",
    UnaryOperation.ROUND: "Round",
    UnaryOperation.ISINF: "IsInf",
    UnaryOperation.ISNAN: "IsNaN",
}


class IUnaryLayer(ILayer):
    """An operation of each element."""

    _kind = LayerType.UNARY
    op = Param(_unary, "Which one.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        if call["op"] not in _UNARY:
            raise ModelError(f"op={call['op']!r} is no UnaryOperation")
        return [call.net.op(_UNARY[call["op"]], call.input(0), name=call.name)]


@reported(None)
def add_unary(self: Graph, input: ITensor, op: UnaryOperation) -> IUnaryLayer:
    """An operation of each element; ROUND takes halves to even."""
    return self._add(IUnaryLayer, [input], op=_unary(op, "op"))


_UNIFORM, _BY_CHANNEL = ScaleMode.UNIFORM, ScaleMode.CHANNEL


class IScaleLayer(ILayer):
    """(x * scale + shift) ** power."""

    _kind = LayerType.SCALE
    mode = Param(_mode, "What has a factor of its own.")
    shift = held_weights("Added; none: 0.")
    scale = held_weights("Factors; none: 1.")
    power = held_weights("Powers; none: 1.")
    channel_axis = Param(whole, "The axis of channels.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x = call.input(0)
        shape: tuple[Any, ...] = x.shape[call["channel_axis"] :]
        if call["mode"] == _UNIFORM:
            shape = (1,)
        elif call["mode"] == _BY_CHANNEL:
            shape = (-1, *(1 for _ in shape[1:]))
        steps = [(op, param) for op, param in (("Mul", "scale"), ("Add", "shift"), ("Pow", "power")) if call[param].size]  # fmt: skip
        for i, (op, param) in enumerate(steps):
            by = call.weights(param, shape, x)
            x = call.net.op(op, x, by, name=call.name if i == 0 else None)
        return [x]


@reported(None)
def add_scale(
    self: Graph,
    input: ITensor,
    mode: ScaleMode,
    shift: Any = None,
    scale: Any = None,
    power: Any = None,
) -> IScaleLayer:
    """(x * scale + shift) ** power: of all elements alike, by channel (axis 1), or by element of an image."""
    return _scale(self, input, mode, shift, scale, power, 1)


@reported(None)
def add_scale_nd(
    self: Graph,
    input: ITensor,
    mode: ScaleMode,
    shift: Any = None,
    scale: Any = None,
    power: Any = None,
    channel_axis: int = 1,
) -> IScaleLayer:
    """As `add_scale`, with the axis of channels."""
    return _scale(self, input, mode, shift, scale, power, channel_axis)


def _scale(
    graph: Graph, x: ITensor, mode: ScaleMode, shift: Any, scale: Any, power: Any, axis: int
) -> IScaleLayer:
    return graph._add(
        IScaleLayer,
        [x],
        mode=_mode(mode, "mode"),
        shift=maybe_weights(shift, "shift"),
        scale=maybe_weights(scale, "scale"),
        power=maybe_weights(power, "power"),
        channel_axis=whole(axis, "channel_axis"),
    )


class IParametricReLULayer(ILayer):
    """x, below 0 slope * x."""

    _kind = LayerType.PARAMETRIC_RELU
    _most = 2

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x, slopes = call.input(0), call.input(1)
        call.same_ranks(x, slopes)
        return [call.net.prelu(x, slopes, name=call.name)]


@reported(None)
def add_parametric_relu(self: Graph, input: ITensor, slopes: ITensor) -> IParametricReLULayer:
    """x, below 0 slope * x; slopes broadcast to the input."""
    return self._add(IParametricReLULayer, [input, slopes])


class ISelectLayer(ILayer):
    """Of two tensors the one that a condition says, element by element."""

    _kind = LayerType.SELECT
    _most = 3

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        given = [call.input(i) for i in range(3)]
        call.same_ranks(*given)
        return [call.net.where(*given, name=call.name)]


@reported(None)
def add_select(
    self: Graph, condition: ITensor, then_input: ITensor, else_input: ITensor
) -> ISelectLayer:
    """`then_input` where the condition holds, else `else_input`; of one rank, extents equal or 1."""
    return self._add(ISelectLayer, [condition, then_input, else_input])


class IIdentityLayer(ILayer):
    """The input; cast, if an output type is set."""

    _kind = LayerType.IDENTITY
    _casts = _any_opset = True

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        asked = call.record.output_types.get(0)
        if asked is not None:
            return [call.cast(call.input(0), asked, call.name)]
        return [call.net.op("Identity", call.input(0), name=call.name)]


@reported(None)
def add_identity(self: Graph, input: ITensor) -> IIdentityLayer:
    """The input as it is, or in the type that `set_output_type` says."""
    return self._add(IIdentityLayer, [input])


class ICastLayer(ILayer):
    """The input in another type."""

    _kind = LayerType.CAST
    _any_opset = True
    to_type = Param(_type, "The type.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return [call.cast(call.input(0), call["to_type"], call.name)]


@reported(None)
def add_cast(self: Graph, input: ITensor, to_type: DataType) -> ICastLayer:
    """The input in another type."""
    return self._add(ICastLayer, [input], to_type=_type(to_type, "to_type"))
