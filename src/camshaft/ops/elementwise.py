"""Elementwise work: one op, `pointwise`, whose attribute is the scalar expression.

`ONNX_ELEMENTWISE` spells the ONNX operators that are a fixed expression of their inputs (and
attributes); adding one is adding a line.  Ops whose ONNX form needs more (Clip's optional inputs,
PRelu's broadcasting, Cast) are handled by the ONNX frontend with the same expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir import known
from camshaft.ir.expr import Expr
from camshaft.ir.op import Attribute, OpDef, Reordering, Role
from camshaft.ir.types import TensorType, broadcast_shapes

Attrs = Mapping[str, Any]


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    dtype = E.result_dtype(attrs["expr"], [t.dtype for t in types])
    return [TensorType(dtype, broadcast_shapes(*(t.shape for t in types)))]


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    value = E.evaluate(attrs["expr"], arrays)
    return [np.asarray(np.broadcast_to(value, shape), order="C")]


POINTWISE = OpDef(
    "pointwise",
    "A scalar expression of the inputs, which broadcast together as in NumPy.",
    _infer,
    _reference,
    {"expr": Attribute("the expression; i0, i1, ... are the inputs")},
    "pointwise",
    anchors=0,
    reordering=Reordering((Role.BROADCAST,)),
    symbolic=lambda arrays, attrs: [known.pointwise(attrs["expr"], arrays)],
)


def _un(op: str) -> Callable[..., Expr]:
    return lambda x, **_: E.unary(op, x)


def _bin(op: str) -> Callable[..., Expr]:
    return lambda a, b, **_: E.binary(op, a, b)


def _chain(op: str) -> Callable[..., Expr]:
    def build(*xs: Expr, **_: object) -> Expr:
        result = xs[0]
        for x in xs[1:]:
            result = E.binary(op, result, x)
        return result

    return build


def _c(value: float) -> Expr:
    return E.const(value)


def relu(x: Expr, **_: object) -> Expr:
    return E.maximum(x, _c(0.0))


def leaky_relu(x: Expr, alpha: float = 0.01, **_: object) -> Expr:
    return E.select(E.binary("lt", x, _c(0.0)), E.mul(x, _c(alpha)), x)


def elu(x: Expr, alpha: float = 1.0, **_: object) -> Expr:
    negative = E.mul(_c(alpha), E.sub(E.unary("exp", E.minimum(x, _c(0.0))), _c(1.0)))
    return E.select(E.binary("lt", x, _c(0.0)), negative, x)


def celu(x: Expr, alpha: float = 1.0, **_: object) -> Expr:
    inner = E.unary("exp", E.minimum(E.div(x, _c(alpha)), _c(0.0)))
    negative = E.mul(_c(alpha), E.sub(inner, _c(1.0)))
    return E.select(E.binary("lt", x, _c(0.0)), negative, x)


def selu(
    x: Expr, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Expr:
    return E.mul(_c(gamma), elu(x, alpha))


def softplus(x: Expr, **_: object) -> Expr:
    """max(x,0) + log(1 + exp(-|x|)): the form that cannot overflow."""
    tail = E.unary("log", E.add(_c(1.0), E.unary("exp", E.unary("neg", E.unary("abs", x)))))
    return E.add(E.maximum(x, _c(0.0)), tail)


def hard_sigmoid(x: Expr, alpha: float = 0.2, beta: float = 0.5, **_: object) -> Expr:
    return E.clip(E.add(E.mul(x, _c(alpha)), _c(beta)), 0.0, 1.0)


def hard_swish(x: Expr, **_: object) -> Expr:
    return E.mul(x, hard_sigmoid(x, 1.0 / 6.0, 0.5))


def mish(x: Expr, **_: object) -> Expr:
    return E.mul(x, E.unary("tanh", softplus(x)))


def gelu(x: Expr, approximate: str = "none", **_: object) -> Expr:
    if approximate == "tanh":
        cubic = E.add(x, E.mul(_c(0.044715), E.mul(x, E.mul(x, x))))
        inner = E.unary("tanh", E.mul(_c(0.7978845608028654), cubic))
    else:
        inner = E.unary("erf", E.mul(x, _c(0.7071067811865476)))
    return E.mul(E.mul(_c(0.5), x), E.add(_c(1.0), inner))


def swish(x: Expr, alpha: float = 1.0, **_: object) -> Expr:
    return E.mul(x, E.sigmoid(E.mul(x, _c(alpha))))


def shrink(x: Expr, bias: float = 0.0, lambd: float = 0.5, **_: object) -> Expr:
    low = E.select(E.binary("lt", x, _c(-lambd)), E.add(x, _c(bias)), _c(0.0))
    return E.select(E.binary("lt", _c(lambd), x), E.sub(x, _c(bias)), low)


ONNX_ELEMENTWISE: Mapping[str, Callable[..., Expr]] = {
    "Abs": _un("abs"),
    "Add": _bin("add"),
    "And": _bin("and"),
    "Ceil": _un("ceil"),
    "Celu": celu,
    "Cos": _un("cos"),
    "Div": _bin("div"),
    "Elu": elu,
    "Equal": _bin("eq"),
    "Erf": _un("erf"),
    "Exp": _un("exp"),
    "Floor": _un("floor"),
    "Gelu": gelu,
    "Greater": lambda a, b, **_: E.binary("lt", b, a),
    "GreaterOrEqual": lambda a, b, **_: E.binary("le", b, a),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "IsInf": lambda x, **_: E.unary("isinf", x),
    "IsNaN": _un("isnan"),
    "LeakyRelu": leaky_relu,
    "Less": _bin("lt"),
    "LessOrEqual": _bin("le"),
    "Log": _un("log"),
    "Max": _chain("max"),
    "Min": _chain("min"),
    "Mish": mish,
    "Mul": _bin("mul"),
    "Neg": _un("neg"),
    "Not": _un("not"),
    "Or": _bin("or"),
    "Pow": _bin("pow"),
    "PRelu": lambda x, slope: E.select(E.binary("lt", x, _c(0.0)), E.mul(x, slope), x),
    "Reciprocal": _un("reciprocal"),
    "Relu": relu,
    "Round": _un("round"),
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": lambda x, **_: E.sigmoid(x),
    "Sign": _un("sign"),
    "Sin": _un("sin"),
    "Softplus": softplus,
    "Softsign": lambda x, **_: E.div(x, E.add(_c(1.0), E.unary("abs", x))),
    "Sqrt": _un("sqrt"),
    "Sub": _bin("sub"),
    "Sum": _chain("add"),
    "Swish": swish,
    "Tanh": _un("tanh"),
    "ThresholdedRelu": lambda x, alpha=1.0: E.select(E.binary("lt", _c(alpha), x), x, _c(0.0)),
    "Where": lambda c, a, b, **_: E.select(c, a, b),
    "Xor": _bin("xor"),
}

VARIADIC = ("Max", "Min", "Sum")
"""Operators of the table that take any number of inputs, from left to right."""

OPS = (POINTWISE,)
