"""Whether a kernel's result is what the reference allows: intervals instead of tolerances.

Kernels may round where the reference does not and the reverse (fused multiply-adds, polynomials of
another degree), and a value next to a rounding boundary may then fall to its other side.  How far
a result may be off thus follows from how far each operation may be off.  `bounds` evaluates an
expression on intervals: every float operation widens its result by its own error, and rounding and
casts are applied to both ends.  A quantization thus gets two admissible values exactly where a
boundary lies within the error, and one everywhere else; what it is multiplied by afterwards
magnifies the difference as it does in the kernel.

A value beyond the numbers of its type is infinite in one kernel; in another it is part of a fused
operation that brings it back.  So an end beyond them becomes infinite, and where infinities may
have met and made NaN, nothing is known of the value any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.types import DType, bf16, boolean, dtype_of, f64, i8, u8

FUNCTION = 2e-6
"""Relative error of exp (as a part of sigmoids), log, tanh, erf, sin, cos and pow."""
COARSE = 1.5e-4
"""Relative error of a sigmoid, and of the 1 + erf or 1 + tanh of GELU, that is about to become 8 bits (a
kernel may use three digits)."""
SUM = 1e-3
"""Error of a float sum of products, of the largest of them (Winograd's is about a tenth).  What
`vdpbf16ps` does to subnormal operands and sums, 2^-126 each at most, is far below it: the largest of
them is taken to be 1e-6 at least."""

_INCREASING = frozenset({"tanh", "erf", "exp", "floor", "ceil", "round", "sign"})
_INEXACT = frozenset({"exp", "log", "tanh", "erf", "sin", "cos", "pow"})
_EXACT = frozenset(
    {"neg", "abs", "floor", "ceil", "round", "sign", "min", "max", "select", "const"}
)
_STEPS = frozenset({"floor", "ceil", "round", "sign", "lt", "le", "eq", "mod"})
_EVERYTHING = (-np.inf, np.inf)
_NOWHERE = np.zeros((), bool)


@dataclass(frozen=True)
class Interval:
    """Least and greatest admissible value of every element, with the value's element type.

    Ends of floats are float64, so that they are not rounded themselves; others are of the type.
    unknown: bools that broadcast to the ends: where anything is admissible, NaN included, because
    something overflowed.
    """

    low: np.ndarray
    high: np.ndarray
    dtype: DType
    unknown: np.ndarray = field(default_factory=lambda: _NOWHERE)

    @classmethod
    def around(cls, value: np.ndarray, error: float | np.ndarray = 0.0) -> Interval:
        """The values of an array, give or take `error` (floats only); what is infinite is so exactly."""
        dtype = dtype_of(value)
        if not dtype.is_float:
            return cls(value, value, dtype)
        wide = value.astype(np.float64)
        return cls(wide, wide, dtype).widened(error)

    def widened(self, error: float | np.ndarray) -> Interval:
        """The interval of floats, wider by `error` at finite ends."""
        return replace(self, low=_moved(self.low, -error), high=_moved(self.high, error))

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends, the least first."""
        return self.low, self.high

    @property
    def is_exact(self) -> np.ndarray:
        """Where there is one value only."""
        return np.asarray(self.low == self.high)


def _moved(end: np.ndarray, by: float | np.ndarray) -> np.ndarray:
    """Ends of intervals, moved where they are finite: what is infinite in the reference is so in a kernel."""
    return np.asarray(np.where(np.isfinite(end), end + by, end))


def bounds(e: Expr, inputs: Sequence[Interval]) -> Interval:
    """Every value that an implementation of `e` may give where its inputs lie in `inputs`."""
    dtypes = [x.dtype for x in inputs]
    coarse = E.result_dtype(e, dtypes) in (u8, i8)
    found: dict[Expr, Interval] = {}
    with np.errstate(all="ignore"):
        for x in E.nodes(e):
            args = [found[a] for a in x.args]
            if x.op == "input":
                found[x] = inputs[int(x.value or 0)]
                continue
            dtype = E.result_dtype(x, dtypes)
            low, high = _ends(x, args, dtype)
            error = _error(x, dtype, args, coarse)
            if x.op == "cast" and dtype == bf16:  # AVX-512 BF16 makes 0 of subnormal numbers
                low, high = low - dtype.tiny, high + dtype.tiny
            if error:
                low = _moved(low, -np.abs(low) * error - dtype.tiny)
                high = _moved(high, np.abs(high) * error + dtype.tiny)
            if dtype.is_float:
                low, high = _overflowed(x, low, high, args, dtype)
            found[x] = Interval(low, high, dtype, _unknown(x, args))
    return found[e]


def _overflowed(
    x: Expr, low: np.ndarray, high: np.ndarray, args: Sequence[Interval], dtype: DType
) -> Ends:
    """The ends, infinite on the outer side where they are beyond the numbers of the type.

    An inner end that overflowed even in float64 is the largest number, unless an operand is infinite;
    casts do make infinities.
    """
    most = dtype.largest
    if x.op not in ("cast", "const"):
        ends = [np.isfinite(end) for a in args for end in a.ends]
        finite = np.logical_and.reduce(np.broadcast_arrays(*ends))
        low = np.where(finite & (low == np.inf), most, low)
        high = np.where(finite & (high == -np.inf), -most, high)
    return np.where(low < -most, -np.inf, low), np.where(high > most, np.inf, high)


def _unknown(x: Expr, args: Sequence[Interval]) -> np.ndarray:
    """Where an operand is unknown that counts, or infinities may meet such that the result is NaN."""
    if x.op == "select":
        condition, a, b = args
        certain, possible = condition.ends
        return np.asarray(condition.unknown | (possible & a.unknown) | (~certain & b.unknown))
    unknown = _NOWHERE
    for a in args:
        unknown = unknown | a.unknown
    meet = _MEETINGS.get(x.op)
    if meet is None or not args[0].dtype.is_float:
        return unknown
    exact = np.logical_and.reduce(np.broadcast_arrays(*(a.is_exact for a in args)))
    return np.asarray(unknown | (meet(*args) & ~exact))


def _error(x: Expr, dtype: DType, args: Sequence[Interval], coarse: bool) -> float:
    """Relative error that an operation adds to what its operands bring."""
    if not dtype.is_float or x.op in _EXACT:
        return 0.0
    if x.op == "cast":  # small floats are rounded already; small integers are exact
        bound = 2.0 ** (dtype.fraction + 1)
        small = args[0].dtype.is_int and all(np.all(np.abs(end) <= bound) for end in args[0].ends)
        return 0.0 if small or dtype.bits <= 16 else dtype.step
    if coarse and x.op in ("exp", "reciprocal", "div"):
        return COARSE if any(n.op == "exp" for n in E.nodes(x)) else dtype.step
    if coarse and x.op == "add" and any(a.op in ("erf", "tanh") for a in x.args):
        return COARSE
    return FUNCTION if x.op in _INEXACT else dtype.step


def steps_inside(e: Expr) -> bool:
    """Whether the expression holds a step function other than a quantization at its end."""
    if e.op == "cast" and e.dtype is not None and e.dtype.is_int:
        e = e.args[0]
        if e.op == "add" and e.args[1].op == "const":
            e = e.args[0]
        if e.op == "round":
            e = e.args[0]
    casts = (x.dtype for x in E.nodes(e) if x.op == "cast")
    coarse = (d for d in casts if d is not None and not (d.is_float and d.bits >= 16))
    return any(x.op in _STEPS for x in E.nodes(e)) or any(coarse)


# --- operations on intervals ------------------------------------------------------------------

Ends = tuple[np.ndarray, np.ndarray]


def _ends(x: Expr, args: Sequence[Interval], dtype: DType) -> Ends:
    """Both ends of an operation's exact value."""
    if x.op == "const":
        value = np.asarray(x.value, np.float64 if dtype.is_float else dtype.numpy)
        return value, value
    if x.op == "cast":
        return _cast(args[0], dtype)
    if x.op == "select":
        return _select(*args)
    if x.op in _COMPARISONS or dtype == boolean:
        return _boolean(x, args)
    if dtype.is_int:
        return _integer(x, args, dtype)
    rule = _RULES.get(x.op)
    if rule is not None:
        return rule(*args)
    if x.op in _INCREASING:
        return _apply(x.op, args[0].low), _apply(x.op, args[0].high)
    return _only_exact(x, args)


def _apply(op: str, *arrays: np.ndarray) -> np.ndarray:
    """One operation in float64."""
    expr = Expr(op, tuple(E.inp(n) for n in range(len(arrays))))
    return E.evaluate(expr, [a.astype(np.float64) for a in arrays])


def _cast(x: Interval, dtype: DType) -> Ends:
    """Monotone, except where integers wrap."""
    low, high = x.ends
    if dtype.is_float:
        return _rounded(low, dtype), _rounded(high, dtype)
    if dtype == boolean:
        certain = (low > 0) | (high < 0) | np.isnan(low.astype(np.float64))
        return certain, certain | (low != 0) | (high != 0)
    ends = E.convert(low, dtype), E.convert(high, dtype)
    if x.dtype.is_float or bool(x.is_exact.all()) or x.dtype == boolean:
        return ends
    least, most = dtype.range
    wraps = ~x.is_exact & ((low < least) | (high > most))
    return np.where(wraps, least, ends[0]), np.where(wraps, most, ends[1])


def _rounded(end: np.ndarray, dtype: DType) -> np.ndarray:
    """An end in a float type of at most 16 bits, or as it is where one of 8 has no number for it."""
    if dtype.bits >= 16:
        return end.astype(dtype.numpy if dtype.bits == 16 else np.float64).astype(np.float64)
    number = E.convert(end.astype(np.float64), dtype).astype(np.float64)
    return np.where(np.isfinite(number), number, end)


def _select(condition: Interval, a: Interval, b: Interval) -> Ends:
    """One of the two, or anything between where the condition is open."""
    certain, possible = condition.ends
    least, most, open_ = np.minimum(a.low, b.low), np.maximum(a.high, b.high), possible & ~certain
    low = np.where(open_, least, np.where(certain, a.low, b.low))
    return low, np.where(open_, most, np.where(certain, a.high, b.high))


def _less(a: Interval, b: Interval) -> Ends:
    return a.high < b.low, a.low < b.high


def _at_most(a: Interval, b: Interval) -> Ends:
    return a.high <= b.low, a.low <= b.high


def _equal(a: Interval, b: Interval) -> Ends:
    return a.is_exact & b.is_exact & (a.low == b.low), (a.low <= b.high) & (b.low <= a.high)


_COMPARISONS: dict[str, Callable[[Interval, Interval], Ends]] = {
    "lt": _less,
    "le": _at_most,
    "eq": _equal,
}


def _boolean(x: Expr, args: Sequence[Interval]) -> Ends:
    """Comparisons and logic: whether certainly, whether possibly."""
    if x.op in _COMPARISONS:
        return _COMPARISONS[x.op](args[0], args[1])
    if x.op in ("isnan", "isinf"):
        ends = [_apply(x.op, end) for end in args[0].ends]
        certain = ends[0] & ends[1]
        return certain & (args[0].is_exact | (x.op == "isnan")), ends[0] | ends[1]
    truths = [_cast(a, boolean) for a in args]
    if x.op == "not":
        return ~truths[0][1], ~truths[0][0]
    (a, a_maybe), (b, b_maybe) = truths
    if x.op in ("and", "min"):
        return a & b, a_maybe & b_maybe
    if x.op in ("or", "max"):
        return a | b, a_maybe | b_maybe
    open_ = (a != a_maybe) | (b != b_maybe)
    return ~open_ & (a ^ b), open_ | (a ^ b)


def _integer(x: Expr, args: Sequence[Interval], dtype: DType) -> Ends:
    """Exact where the operands are; else the operation on all ends, or anything if it wraps."""
    ops = [E.inp(n) for n in range(len(args))]
    expr = Expr(x.op, tuple(ops))
    low = E.evaluate(expr, [a.low for a in args])
    if all(bool(a.is_exact.all()) for a in args):
        return low, low
    exact = np.logical_and.reduce(np.broadcast_arrays(*(a.is_exact for a in args)))
    least, most = dtype.range
    wide = [Interval(a.low.astype(np.float64), a.high.astype(np.float64), f64) for a in args]
    rule = _RULES.get(x.op)
    if rule is None:
        return np.where(exact, low, least), np.where(exact, low, most)
    bottom, top = rule(*wide)
    wraps = ~((bottom >= least) & (top <= most))
    # Divisions truncate towards zero; everything else is whole already.
    ends = (np.trunc(np.where(wraps, 0, end)).astype(dtype.numpy) for end in (bottom, top))
    spread = [np.where(wraps, edge, end) for edge, end in zip((least, most), ends, strict=True)]
    return np.where(exact, low, spread[0]), np.where(exact, low, spread[1])


def _corners(op: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., Ends]:
    def apply(a: Interval, b: Interval) -> Ends:
        values = [op(p, q) for p in a.ends for q in b.ends]
        return np.minimum.reduce(values), np.maximum.reduce(values)

    return apply


def _divide(a: Interval, b: Interval) -> Ends:
    low, high = _corners(np.divide)(a, b)
    through_zero = (b.low <= 0) & (b.high >= 0) & ~b.is_exact
    return np.where(through_zero, -np.inf, low), np.where(through_zero, np.inf, high)


def _absolute(x: Interval) -> Ends:
    low, high = np.abs(x.low), np.abs(x.high)
    through_zero = (x.low < 0) & (x.high > 0)
    return np.where(through_zero, 0, np.minimum(low, high)), np.maximum(low, high)


def _wave(op: Callable[[np.ndarray], np.ndarray]) -> Callable[[Interval], Ends]:
    def apply(x: Interval) -> Ends:
        reach = (x.high - x.low) / 2
        middle = op(x.low + reach)
        return np.maximum(middle - reach, -1.0), np.minimum(middle + reach, 1.0)

    return apply


def _reciprocal(x: Interval) -> Ends:
    one = np.ones(())
    return _divide(Interval(one, one, f64), x)


def _of_positive(op: str) -> Callable[[Interval], Ends]:
    """An increasing function that has no value below 0, where its operand may lie there too."""

    def apply(x: Interval) -> Ends:
        open_ = (x.low < 0) & (x.high >= 0)
        return _apply(op, np.where(open_, 0.0, x.low)), _apply(op, x.high)

    return apply


def _power(a: Interval, b: Interval) -> Ends:
    """Monotone in each operand for positive bases."""
    low, high = _corners(np.power)(a, b)
    free = (a.low <= 0) & ~(a.is_exact & b.is_exact)
    return np.where(free, -np.inf, low), np.where(free, np.inf, high)


_RULES: dict[str, Callable[..., Ends]] = {
    "neg": lambda x: (-x.high, -x.low),
    "abs": _absolute,
    "add": lambda a, b: (a.low + b.low, a.high + b.high),
    "sub": lambda a, b: (a.low - b.high, a.high - b.low),
    "mul": _corners(np.multiply),
    "div": _divide,
    "min": lambda a, b: (np.minimum(a.low, b.low), np.minimum(a.high, b.high)),
    "max": lambda a, b: (np.maximum(a.low, b.low), np.maximum(a.high, b.high)),
    "reciprocal": _reciprocal,
    "pow": _power,
    "log": _of_positive("log"),
    "sqrt": _of_positive("sqrt"),
    "sin": _wave(np.sin),
    "cos": _wave(np.cos),
}


def _is_infinite(x: Interval) -> np.ndarray:
    return np.asarray(np.isinf(x.low) | np.isinf(x.high))


def _holds_zero(x: Interval) -> np.ndarray:
    return (x.low <= 0) & (x.high >= 0)


def _opposed(a: Interval, b: Interval) -> np.ndarray:
    """Where a sum may be of infinities of both signs."""
    unlike = (a.high == np.inf) & (b.low == -np.inf), (a.low == -np.inf) & (b.high == np.inf)
    return np.asarray(unlike[0] | unlike[1])


_MEETINGS: dict[str, Callable[..., np.ndarray]] = {
    "add": _opposed,
    "sub": lambda a, b: _opposed(a, Interval(-b.high, -b.low, b.dtype)),
    "mul": lambda a, b: (_is_infinite(a) & _holds_zero(b)) | (_holds_zero(a) & _is_infinite(b)),
    "div": lambda a, b: _is_infinite(a) & _is_infinite(b),
    "mod": lambda a, b: _is_infinite(a),
    "sin": _is_infinite,
    "cos": _is_infinite,
}
"""By operation: where operands that may be infinite may give NaN."""


def _only_exact(x: Expr, args: Sequence[Interval]) -> Ends:
    """Operations without a rule (float mod): known where the operands are, else anything."""
    value = _apply(x.op, *(a.low for a in args))
    exact = np.logical_and.reduce(np.broadcast_arrays(*(a.is_exact for a in args)))
    return np.where(exact, value, _EVERYTHING[0]), np.where(exact, value, _EVERYTHING[1])
