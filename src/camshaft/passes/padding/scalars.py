"""What is known of single values: intervals, whether they are 0, and whole numbers as extents.

An expression is evaluated over such values, so that a mask's 0 decides comparisons and selections behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents import known
from camshaft.ir.extents.bounds import bounds as bounds_of_extent
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.types import DType
from camshaft.passes.canonical.simplify import bounds, range_of_type


@dataclass(frozen=True)
class Value:
    """A value between low and high, both included; NaN may occur besides.

    nonzero: whether it is certainly not 0.  whole: what it is, as an extent over indices and sizes.
    """

    low: float
    high: float
    nonzero: bool = False
    whole: Extent | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high

    @property
    def truth(self) -> bool | None:
        """Whether it is not 0; None where that is open."""
        if self.nonzero or self.low > 0 or self.high < 0:
            return True
        return False if self.low == self.high == 0 else None


TRUE, FALSE, OPEN = Value(1.0, 1.0, True), Value(0.0, 0.0), Value(0.0, 1.0)


def anything(dtype: DType) -> Value:
    """Of a finite value of a type."""
    if dtype.is_float:
        return Value(-dtype.largest, dtype.largest)
    return Value(*range_of_type(dtype))


def of_extent(e: Extent) -> Value:
    """A whole number."""
    low, high = bounds_of_extent(e)
    return Value(float(low), float(high), low > 0 or high < 0, e)


def evaluate(
    expr: Expr, inputs: Sequence[Value], dtypes: Sequence[DType], facts: Sequence[Extent] = ()
) -> Value:
    """The expression's value over such inputs of these types.  facts: extents that are not negative."""
    found: dict[Expr, Value] = {}
    types: dict[Expr, DType] = {}
    for x in E.nodes(expr):
        types[x] = E.node_dtype(x, [types[a] for a in x.args], dtypes)
        args = [found[a] for a in x.args]
        found[x] = (
            inputs[int(x.value or 0)]
            if x.op == "input"
            else _node(x, args, [types[a] for a in x.args], types[x], facts)
        )
    return found[expr]


def _node(
    x: Expr,
    args: Sequence[Value],
    dtypes: Sequence[DType],
    result: DType,
    facts: Sequence[Extent],
) -> Value:
    decided = _decided(x, args, result, facts) if args else None
    if decided is not None:
        return decided
    whole = _whole(x, args, result)
    if whole is not None:
        return whole
    inner = [E.inp(n) for n in range(len(args))]
    low, high = bounds(E.with_args(x, tuple(inner)), dtypes, [(a.low, a.high) for a in args])
    return Value(low, high, low > 0 or high < 0)


def _decided(
    x: Expr, args: Sequence[Value], result: DType, facts: Sequence[Extent]
) -> Value | None:
    """What follows from operands that are certainly 0, or certainly not."""
    truths = [a.truth for a in args]
    if x.op == "select" and truths[0] is not None:
        return args[1 if truths[0] else 2]
    if x.op == "not" and truths[0] is not None:
        return FALSE if truths[0] else TRUE
    if x.op in ("and", "or"):
        decisive = x.op == "or"
        if decisive in truths:
            return TRUE if decisive else FALSE
        return None if None in truths else FALSE if decisive else TRUE
    if x.op == "cast" and result.kind == "b" and truths[0] is not None:
        return TRUE if truths[0] else FALSE
    if x.op == "mul" and False in truths:  # values are finite
        return Value(0.0, 0.0)
    if x.op in ("eq", "lt", "le"):
        return _compared(x.op, args[0], args[1]) or _by_facts(x.op, args[0], args[1], facts)
    return None


def _compared(op: str, a: Value, b: Value) -> Value | None:
    if op == "eq":
        if a.is_known and b.is_known and a.low == b.low:
            return TRUE
        apart = a.high < b.low or b.high < a.low
        zero = (a.truth is False and b.nonzero) or (b.truth is False and a.nonzero)
        return FALSE if apart or zero else None
    strict = op == "lt"
    if a.high < b.low or (not strict and a.high <= b.low):
        return TRUE
    return FALSE if a.low > b.high or (strict and a.low >= b.high) else None


def _by_facts(op: str, a: Value, b: Value, facts: Sequence[Extent]) -> Value | None:
    """A comparison of whole numbers, from extents that are not negative."""
    if not facts or a.whole is None or b.whole is None:
        return None

    def is_below(x: Extent, y: Extent, by: int) -> bool:
        return any(bounds_of_extent(y - x - by - fact)[0] >= 0 for fact in facts)

    if op == "eq":
        apart = is_below(a.whole, b.whole, 1) or is_below(b.whole, a.whole, 1)
        return FALSE if apart else None
    least = 1 if op == "lt" else 0
    if is_below(a.whole, b.whole, least):
        return TRUE
    return FALSE if is_below(b.whole, a.whole, 1 - least) else None


def _whole(x: Expr, args: Sequence[Value], result: DType) -> Value | None:
    """Arithmetic on whole numbers that are known as extents."""
    wholes = [a.whole for a in args]
    if x.op == "const" and result.is_int:
        return of_extent(int(x.value or 0))
    if x.op == "extent" and result.is_int and isinstance(x.value, int | Dim):
        return of_extent(x.value)
    if not args or None in wholes or result.is_float:
        return None
    inner = tuple(E.inp(n) for n in range(len(args)))
    try:
        made = known.scalar(E.with_args(x, inner), [w for w in wholes if w is not None])
    except (known.Unknown, UndecidedExtent):
        return None
    if isinstance(made, bool):
        return TRUE if made else FALSE
    return of_extent(made) if isinstance(made, int | Dim) else None
