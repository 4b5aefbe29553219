"""Groups of scalar operations that have shorter code together than one by one.

`epilogue.emit_expr` asks here before it prints an expression.  An idiom replaces a node and the
nodes below it, down to its operands, by code of the same meaning (within the last bits for
sigmoids, a small part of a quantum for sigmoids before quantization, exactly for requantization).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.expr import math
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.ir.expr import Expr, nodes
from camshaft.ir.types import DType, f32, i8, u8, u32


@dataclass(frozen=True)
class Idiom:
    """operands: what the group reads.  emit: its code, given the operands' values."""

    operands: tuple[Expr, ...]
    emit: Callable[[FunctionBuilder, Sequence[Value]], Value]


def plan(expr: Expr, *, coarse: bool = False) -> tuple[list[Expr], dict[Expr, Idiom]]:
    """Nodes to print, operands before users, and the idioms among them.

    coarse: sigmoids need three to four digits only; so they do where `expr` ends in 8 bits.
    """
    coarse = coarse or (expr.op == "cast" and expr.dtype in (u8, i8))
    users: dict[Expr, int] = {}
    for e in nodes(expr):
        for a in e.args:
            users[a] = users.get(a, 0) + 1
    order: dict[Expr, None] = {}
    found: dict[Expr, Idiom] = {}

    def walk(e: Expr) -> None:
        if e in order or e in found:
            return
        idiom = _idiom(e, users, coarse)
        for a in e.args if idiom is None else idiom.operands:
            walk(a)
        if idiom is not None:
            found[e] = idiom
        order[e] = None

    walk(expr)
    return list(order), found


def _idiom(e: Expr, users: Mapping[Expr, int], coarse: bool) -> Idiom | None:
    if e.op == "mul":
        for a, s in (e.args, e.args[::-1]):
            x = _sigmoid_argument(s)
            if x is not None and users[s] == 1:
                return _logistic(x, a, coarse)
    if e.op == "reciprocal":
        x = _sigmoid_argument(e)
        if x is not None:
            return _logistic(x, None, coarse)
    if e.op == "div":
        x = _logistic_argument(e.args[1])
        if x is not None:
            return _logistic(x, e.args[0], coarse)
    if e.op == "cast" and e.dtype in (u8, i8):
        return _requantization(e, e.dtype)
    return None


def _logistic(x: Expr, numerator: Expr | None, coarse: bool) -> Idiom:
    if numerator is None:
        return Idiom((x,), lambda k, v: math.logistic(k, v[0], coarse=coarse))
    return Idiom((numerator, x), lambda k, v: math.logistic(k, v[1], v[0], coarse=coarse))


def _sigmoid_argument(e: Expr) -> Expr | None:
    """x if e is 1 / (1 + exp(-x))."""
    return _logistic_argument(e.args[0]) if e.op == "reciprocal" else None


def _logistic_argument(e: Expr) -> Expr | None:
    """x if e is 1 + exp(-x)."""
    if e.op != "add":
        return None
    for power, one in (e.args, e.args[::-1]):
        if (one.op, one.value, one.dtype) != ("const", 1.0, f32) or power.op != "exp":
            continue
        if power.args[0].op == "neg":
            return power.args[0].args[0]
    return None


def _requantization(e: Expr, dtype: DType) -> Idiom | None:
    """cast(round(x) + zero point): rounded once, by the conversion to integers."""
    inner, zero = e.args[0], 0
    if inner.op == "add" and inner.args[1].op == "const" and inner.args[1].dtype == f32:
        value = float(inner.args[1].value or 0)
        if not value.is_integer() or abs(value) > 255:
            return None
        inner, zero = inner.args[0], int(value)
    if inner.op != "round":
        return None
    return Idiom((inner.args[0],), lambda k, v: _requantized(k, v[0], zero, dtype))


def _requantized(k: FunctionBuilder, x: Value, zero: int, dtype: DType) -> Value:
    if zero == 0 or x.dtype != f32:
        return k.cast(k.round(x) + zero if zero else x, dtype)
    low, high = (float(bound - zero) for bound in dtype.range)
    x = k.greater(x, low)  # which NaN becomes
    if dtype == i8 or k.target.vector_bits < 512:
        return k.cast(k.round_to_i32(k.lesser(x, high)) + zero, dtype)
    # What does not fit in an i32 converts to its highest bit: unsigned, still larger than 255.
    whole = k.bitcast(k.round_to_i32(x) + zero, u32)
    return k.cast(k.min(whole, 255), u8)
