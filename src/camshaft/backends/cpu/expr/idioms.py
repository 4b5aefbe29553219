"""Groups of scalar operations that have shorter code together than one by one.

`epilogue.emit_expr` asks here before it prints an expression.  An idiom replaces a node and the
nodes below it, down to its operands, by code of the same meaning (within the last bits for
sigmoids and GELU, a small part of a quantum for both before quantization, exactly for requantization).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.backends.cpu.expr import math
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.ir.expr import Expr, nodes
from camshaft.ir.types import DType, f32, i8, u8, u32

_MODERATE = (2.0**-20, 2.0**20)
"""Constants with which GELU neither overflows nor becomes denormal."""


@dataclass(frozen=True)
class Idiom:
    """operands: what the group reads.  emit: its code, given the operands' values."""

    operands: tuple[Expr, ...]
    emit: Callable[[FunctionBuilder, Sequence[Value]], Value]


def plan(expr: Expr, *, coarse: bool = False) -> tuple[list[Expr], dict[Expr, Idiom]]:
    """Nodes to print, operands before users, and the idioms among them.

    coarse: sigmoids and GELU need three to four digits only; so they do where `expr` ends in 8 bits.
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
        return _gelu(e, users, coarse)
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
    power = _one_more(e)
    if power is not None and power.op == "exp" and power.args[0].op == "neg":
        return power.args[0].args[0]
    return None


def _gelu(e: Expr, users: Mapping[Expr, int], coarse: bool) -> Idiom | None:
    """c * x * (1 + erf(d * x)), in any order; c * x * (1 + tanh(y)) is 2 c x times the sigmoid of 2 y."""
    factor, others = 1.0, []
    for part in _factors(e, users):
        if part.op == "const" and part.dtype == f32:
            factor *= float(part.value or 0)
        else:
            others.append(part)
    if len(others) != 2 or not _MODERATE[0] <= factor <= _MODERATE[1]:
        return None
    for x, s in (others, others[::-1]):
        inner = _one_more(s)
        if inner is None or users[s] > 1 or users[inner] > 1:
            continue
        if inner.op == "tanh":
            return _tanh_form(x, inner.args[0], 2 * factor, coarse)
        scale = _multiple(inner.args[0], x) if inner.op == "erf" else None
        if scale is not None and _MODERATE[0] <= scale <= _MODERATE[1]:
            return _erf_form(x, scale, factor, coarse)
    return None


def _tanh_form(x: Expr, y: Expr, factor: float, coarse: bool) -> Idiom:
    """factor * x times the sigmoid of 2 y."""
    if factor <= 1:
        return Idiom(
            (x, y), lambda k, v: math.logistic(k, v[1] * 2.0, v[0] * factor, coarse=coarse)
        )
    return Idiom(  # multiplied last: factor * x could overflow where the sigmoid is 0
        (x, y), lambda k, v: math.logistic(k, v[1] * 2.0, v[0], coarse=coarse) * factor
    )


def _erf_form(x: Expr, scale: float, factor: float, coarse: bool) -> Idiom:
    return Idiom((x,), lambda k, v: math.gelu(k, v[0], scale, factor, coarse=coarse))


def _factors(e: Expr, users: Mapping[Expr, int]) -> list[Expr]:
    """What is multiplied in a product of products that nobody else reads."""
    found: list[Expr] = []
    for a in e.args:
        found += _factors(a, users) if a.op == "mul" and users[a] == 1 else [a]
    return found


def _one_more(e: Expr) -> Expr | None:
    """x if e is x + 1."""
    if e.op == "add":
        for x, one in (e.args, e.args[::-1]):
            if (one.op, one.value, one.dtype) == ("const", 1.0, f32):
                return x
    return None


def _multiple(e: Expr, x: Expr) -> float | None:
    """c if e is c * x."""
    if e == x:
        return 1.0
    if e.op == "mul":
        for a, c in (e.args, e.args[::-1]):
            if a == x and (c.op, c.dtype) == ("const", f32):
                return float(c.value or 0)
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
