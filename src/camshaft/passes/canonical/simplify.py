"""Shorter scalar expressions of the same value.

Every rule here yields the same value for every input, NaN included; only small constant powers
spelled as products and roots may differ in the last bit.  (What a NaN has become by a cast to an
integer type may however lack a clip that no number needs.)  What is only nearly equal, such as
reassociating constants, is left to passes that say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds as bounds_of_extent
from camshaft.ir.op import ValueRange
from camshaft.ir.scalar import PREDICATES
from camshaft.ir.types import DType

ANY: ValueRange = (-math.inf, math.inf)
_BOUNDED: dict[str, ValueRange] = {
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "sign": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    **dict.fromkeys((*PREDICATES, "and", "or", "xor"), (0.0, 1.0)),
}
_TO_WHOLE: dict[str, Callable[[float], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
}


def range_of_type(dtype: DType) -> ValueRange:
    """Bounds of every value of an element type."""
    if dtype.is_int:
        return float(dtype.range[0]), float(dtype.range[1])
    return (0.0, 1.0) if dtype.kind == "b" else ANY


def bounds(e: Expr, dtypes: Sequence[DType], inputs: Sequence[ValueRange]) -> ValueRange:
    """An interval that holds the (non-NaN) value of `e`, given types and intervals of its inputs."""
    known: dict[Expr, ValueRange] = {}
    types: dict[Expr, DType] = {}
    for x in E.nodes(e):
        args = [known[a] for a in x.args]
        types[x] = E.node_dtype(x, [types[a] for a in x.args], dtypes)
        if x.op == "cast":
            found = _bounds_of_cast(args[0], types[x.args[0]], types[x])
        else:
            found = _bounds(x, args, inputs)
        if types[x].is_float:  # rounding is monotone, so rounded ends bound rounded values
            found = (_rounded(found[0], types[x]), _rounded(found[1], types[x]))
        limit = range_of_type(types[x])
        wraps = found[0] < limit[0] or found[1] > limit[1]
        known[x] = limit if wraps else found
    return known[e]


def _rounded(value: float, dtype: DType) -> float:
    if dtype.name != "f32":
        return value
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _bounds(x: Expr, args: Sequence[ValueRange], inputs: Sequence[ValueRange]) -> ValueRange:
    if x.op == "input":
        return inputs[int(x.value or 0)]
    if x.op == "const":
        value = float(x.value or 0)
        return ANY if math.isnan(value) else (value, value)
    if x.op == "extent":
        low, high = bounds_of_extent(x.value)
        return float(low), float(high)
    if x.op in _BOUNDED:
        return _BOUNDED[x.op]
    if len(args) == 1:
        return _bounds_of_unary(x, args[0])
    if x.op == "select":
        return min(args[1][0], args[2][0]), max(args[1][1], args[2][1])
    return _bounds_of_binary(x, args[0], args[1])


def _bounds_of_unary(x: Expr, a: ValueRange) -> ValueRange:
    low, high = a
    if x.op == "neg":
        return -high, -low
    if x.op == "abs":
        return max(0.0, low, -high), max(-low, high)
    if x.op in ("exp", "sqrt"):
        return 0.0, math.inf
    if x.op == "reciprocal":
        return (1.0 / high if high < math.inf else 0.0, 1.0 / low) if low > 0 else ANY
    if x.op in _TO_WHOLE:
        return _whole(low, x.op), _whole(high, x.op)
    return ANY


def _bounds_of_cast(a: ValueRange, source: DType, target: DType) -> ValueRange:
    """Floats round and saturate on their way to an integer type; integers wrap."""
    if not target.is_int:
        return a
    least, most = range_of_type(target)
    low, high = _whole(a[0]), _whole(a[1])
    if source.is_int:
        return (low, high) if least <= low and high <= most else (least, most)
    return min(max(low, least), most), max(min(high, most), least)


def _whole(value: float, op: str = "round") -> float:
    return float(_TO_WHOLE[op](value)) if math.isfinite(value) else value


def _bounds_of_binary(x: Expr, a: ValueRange, b: ValueRange) -> ValueRange:
    if x.op == "min":
        return min(a[0], b[0]), min(a[1], b[1])
    if x.op == "max":
        return max(a[0], b[0]), max(a[1], b[1])
    if x.op == "add":
        return _ordered([a[0] + b[0], a[1] + b[1]])
    if x.op == "sub":
        return _ordered([a[0] - b[1], a[1] - b[0]])
    if x.op == "mul":
        if x.args[0] == x.args[1]:
            return 0.0, math.inf
        return _ordered([p * q if p and q else 0.0 for p in a for q in b])
    if x.op == "div" and b[0] > 0:
        return _ordered([p / q for p in a for q in b])
    return ANY


def _ordered(ends: list[float]) -> ValueRange:
    return ANY if any(math.isnan(v) for v in ends) else (min(ends), max(ends))


def simplify(e: Expr, dtypes: Sequence[DType], ranges: Sequence[ValueRange] | None = None) -> Expr:
    """`e` rewritten bottom-up; equal to it for every input within `ranges` (and for NaN).

    dtypes, ranges: element types and (where known) bounds of the inputs.
    """
    limits = list(ranges) if ranges is not None else [range_of_type(d) for d in dtypes]

    def change(x: Expr, args: tuple[Expr, ...]) -> Expr:
        again = E.with_args(x, args)
        for _ in range(8):
            shorter = _once(again, dtypes, limits)
            if shorter == again:
                break
            again = shorter
        return again

    return E.rebuilt(e, change)


def _once(x: Expr, dtypes: Sequence[DType], limits: Sequence[ValueRange]) -> Expr:
    if x.op in ("max", "min"):
        return _clip(x, dtypes, limits)
    if x.op == "cast":
        return _cast(x, dtypes)
    if x.op in ("neg", "not") and x.args[0].op == x.op:
        return x.args[0].args[0]
    if x.op == "abs":
        if x.args[0].op in ("neg", "abs"):
            return E.unary("abs", x.args[0].args[0])
        return x.args[0] if bounds(x.args[0], dtypes, limits)[0] >= 0 else x
    if x.op in ("round", "floor", "ceil"):
        inner = x.args[0]
        from_int = inner.op == "cast" and E.result_dtype(inner.args[0], dtypes).is_int
        return inner if inner.op in ("round", "floor", "ceil") or from_int else x
    if x.op == "select" and x.args[1] == x.args[2]:
        return x.args[1]
    if x.op == "div":
        return _division(x)
    return _power(x) if x.op == "pow" else x


def _clip(x: Expr, dtypes: Sequence[DType], limits: Sequence[ValueRange]) -> Expr:
    """A chain of min and max with literals becomes at most one of each, or none."""
    value, c = x.args
    if value.op == "const":
        value, c = c, value
    if c.op != "const" or c.dtype is None:
        return value if value == c else x
    bound = float(c.value or 0)
    low, high = bounds(value, dtypes, limits)
    if (low >= bound) if x.op == "max" else (high <= bound):
        return value
    chain, base = [(x.op, c)], value
    while base.op in ("max", "min") and base.args[1].op == "const":
        chain.append((base.op, base.args[1]))
        base = base.args[0]
    if (high <= bound) if x.op == "max" else (low >= bound):
        if c.dtype.is_int:
            return c
        if len(chain) > 1:  # c, unless the value is NaN
            return E.maximum(E.minimum(base, c), c)
    if len(chain) <= len({op for op, _ in chain}):
        return E.binary(x.op, value, c)
    return _clipped(base, list(reversed(chain)))


def _clipped(base: Expr, chain: list[tuple[str, Expr]]) -> Expr:
    """`base` under a chain of literal bounds, innermost first, with each kind applied once."""
    low, high = -math.inf, math.inf
    for op, c in chain:
        bound = float(c.value or 0)
        choose = max if op == "max" else min
        low, high = choose(low, bound), choose(high, bound)
    dtype = chain[0][1].dtype
    assert dtype is not None

    def literal(value: float) -> Expr:
        return E.const(value if dtype.is_float else int(value), dtype)

    steps = {"max": low, "min": high}
    for op in dict.fromkeys(op for op, _ in chain):
        if math.isfinite(steps[op]):
            base = E.binary(op, base, literal(steps[op]))
    return base


def _cast(x: Expr, dtypes: Sequence[DType]) -> Expr:
    inner = x.args[0]
    assert x.dtype is not None
    if E.result_dtype(inner, dtypes) == x.dtype:
        return inner
    if inner.op == "cast" and inner.dtype is not None:
        source = E.result_dtype(inner.args[0], dtypes)
        # Floats saturate on their way to an integer type, integers wrap.
        alike = inner.dtype.is_int or x.dtype.is_float or x.dtype.holds(source)
        if alike and inner.dtype.holds(source):
            return E.cast(inner.args[0], x.dtype)
    return x


def _division(x: Expr) -> Expr:
    """x / 2**k -> x * 2**-k, which is exact."""
    c = x.args[1]
    if c.op != "const" or c.dtype is None or not c.dtype.is_float or not c.value:
        return x
    mantissa, exponent = math.frexp(float(c.value))
    if abs(mantissa) == 0.5 and abs(exponent) < 100:
        return E.mul(x.args[0], E.const(1.0 / float(c.value), c.dtype))
    return x


def _power(x: Expr) -> Expr:
    base, exponent = x.args
    if exponent.op != "const" or exponent.dtype is None or not exponent.dtype.is_float:
        return x
    simple = {
        1.0: base,
        2.0: E.mul(base, base),
        3.0: E.mul(E.mul(base, base), base),
        0.5: E.unary("sqrt", base),
        -1.0: E.unary("reciprocal", base),
    }
    return simple.get(float(exponent.value or 0), x)
