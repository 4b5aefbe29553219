"""Scalar expressions as elementwise nodes of standard ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.frontends.onnx.standard.extents import Extents
from camshaft.frontends.onnx.standard.writer import Writer
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType

_UNARY = {
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "erf": "Erf",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sign": "Sign",
    "not": "Not",
    "sin": "Sin",
    "cos": "Cos",
    "reciprocal": "Reciprocal",
    "isnan": "IsNaN",
    "isinf": "IsInf",
}
_BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "mod": "Mod",
    "pow": "Pow",
    "min": "Min",
    "max": "Max",
    "lt": "Less",
    "le": "LessOrEqual",
    "eq": "Equal",
    "and": "And",
    "or": "Or",
    "xor": "Xor",
}


@dataclass
class Elementwise:
    """The nodes of one expression: each subexpression is written once.

    inputs: names of values, or tensors, which are named where they are read.  dtypes: their element types.
    """

    w: Writer
    extents: Extents
    inputs: Sequence[str | Tensor]
    dtypes: Sequence[DType]
    _done: dict[Expr, str] = field(default_factory=dict, init=False)

    def write(self, e: Expr, output: str) -> None:
        """The expression as a value called `output`."""
        if not e.args:
            self.w.node("Identity", [self.value(e)], output)
        else:
            self._node(e, output)

    def value(self, e: Expr) -> str:
        """The name of a subexpression's value, which is computed where it does not exist yet."""
        if e not in self._done:
            self._done[e] = self._leaf(e) if not e.args else self._node(e, None)
        return self._done[e]

    def dtype(self, e: Expr) -> DType:
        """Its element type."""
        return E.result_dtype(e, self.dtypes)

    def put(self, e: Expr, value: str) -> None:
        """Let a value that exists stand for a subexpression."""
        self._done[e] = value

    def _leaf(self, e: Expr) -> str:
        if e.op == "input":
            read = self.inputs[int(e.value)]
            return read if isinstance(read, str) else self.w.value(read)
        assert e.dtype is not None
        if e.op == "const":
            return self.w.constant(np.asarray(e.value, e.dtype.numpy), "constant")
        number = self.w.node("Reshape", [self.extents.one(e.value), self.w.ints([], "scalar")])
        return self.w.node("Cast", [number], to=onnx_dtype(e.dtype))

    def _node(self, e: Expr, output: str | None) -> str:
        known = self._of_layer(e, output)
        if known is not None:
            return known
        if e.op == "cast":
            return self._cast(e, output)
        if e.op == "select":
            return self.w.node("Where", [self.value(a) for a in e.args], output)
        if e.op == "mod" and self.dtype(e).is_float:
            raise ModelError("the remainder of floats has no form in standard ONNX")
        op_type = _UNARY.get(e.op) or _BINARY[e.op]
        return self.w.node(op_type, [self.value(a) for a in e.args], output)

    # -- what people know by a name ------------------------------------------------------------

    def _of_layer(self, e: Expr, output: str | None) -> str | None:
        """An activation that ONNX has a node for, None if it is none."""
        if e.op == "reciprocal" and self.dtype(e).is_float:
            return self._sigmoid(e, output)
        if e.op in ("max", "min") and self.dtype(e).is_float:
            return self._clip(e, output)
        if e.op == "select":
            return self._leaky(e, output)
        return None

    def _sigmoid(self, e: Expr, output: str | None) -> str | None:
        total = e.args[0]
        if total.op != "add" or total.args[0].op != "exp" or not _is_number(total.args[1], 1.0):
            return None
        inside = total.args[0].args[0]
        if inside.op == "neg":
            return self.w.node("Sigmoid", [self.value(inside.args[0])], output)
        turned = self.w.node("Neg", [self.value(inside)])
        return self.w.node("Sigmoid", [turned], output)

    def _clip(self, e: Expr, output: str | None) -> str | None:
        x, bound = e.args
        if bound.op != "const":
            return None
        high = x.args[1] if x.op == "min" else x
        if e.op == "max" and high.op == "const" and bound.value <= high.value:
            bounds = [self.value(bound), self.value(high)]
            return self.w.node("Clip", [self.value(x.args[0]), *bounds], output)
        if e.op == "max" and _is_number(bound, 0.0):
            return self.w.node("Relu", [self.value(x)], output)
        sides = [self.value(bound)] if e.op == "max" else ["", self.value(bound)]
        return self.w.node("Clip", [self.value(x), *sides], output)

    def _leaky(self, e: Expr, output: str | None) -> str | None:
        below, scaled, x = e.args
        zero = below.op == "lt" and below.args[0] == x and _is_number(below.args[1], 0.0)
        if not zero or scaled.op != "mul" or scaled.args[0] != x:
            return None
        slope = scaled.args[1]
        if slope.op == "const":
            return self.w.node("LeakyRelu", [self.value(x)], output, alpha=float(slope.value))
        if slope.op == "input":
            return self.w.node("PRelu", [self.value(x), self.value(slope)], output)
        return None

    # -- casts ---------------------------------------------------------------------------------

    def _cast(self, e: Expr, output: str | None) -> str:
        """Between floats and integers as ONNX does; from floats to integers rounded and saturated first, unless
        it is a truncation, which is what ONNX does."""
        assert e.dtype is not None
        x = e.args[0]
        have, to = self.dtype(x), onnx_dtype(e.dtype)
        if not (have.is_float and e.dtype.is_int):
            return self.w.node("Cast", [self.value(x)], output, to=to)
        if (cut := _truncated(x)) is not None:
            return self.w.node("Cast", [self.value(cut)], output, to=to)
        whole = self.value(x) if x.op == "round" else self.w.node("Round", [self.value(x)])
        low, high = e.dtype.range
        info = np.finfo(have.numpy)
        top = np.asarray(high, have.numpy)
        if float(top) > high:  # the float next to it lies beyond
            top = np.nextafter(top, np.asarray(-info.max, have.numpy))
        sides = [
            self.w.constant(np.asarray(v, have.numpy), n) for v, n in ((low, "low"), (top, "high"))
        ]
        return self.w.node("Cast", [self.w.node("Clip", [whole, *sides])], output, to=to)


def _is_number(e: Expr, value: float) -> bool:
    return e.op == "const" and e.value == value


def _truncated(e: Expr) -> Expr | None:
    """x, where the expression is x without its fraction."""
    if e.op != "select" or e.args[1].op != "ceil" or e.args[2].op != "floor":
        return None
    below, up, down = e.args
    x = up.args[0]
    same = down.args[0] == x and below.op == "lt" and below.args[0] == x
    return x if same and _is_number(below.args[1], 0.0) else None
