"""Shape arithmetic: values of small integer tensors that are known as extents.

Models compute shapes from shapes (Shape, Gather, Mul, Concat, Reshape).  With open extents such a
tensor has no array, but its elements are known as extents.  They are kept as NumPy object arrays,
so that slicing, concatenation and reshaping need no second implementation; `scalar` evaluates
scalar expressions on them.

An element is an int, a `Dim`, a bool, or a `Ratio` where the model computes in floats on the way
(`floor(h * 0.5)`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import (
    Dim,
    Extent,
    floor_div,
    known_different,
    largest,
    remainder,
    smallest,
)
from camshaft.ir.extents.symbol import UndecidedExtent

MOST_KNOWN = 64
"""Elements of the largest tensor whose value is tracked."""
_LARGEST_DIVISOR = 1 << 10
"""Of a float factor written as a fraction: with larger ones float rounding could differ."""


class Unknown(Exception):
    """The value is not known as an extent; not an error, and never seen by users."""


@dataclass(frozen=True)
class Ratio:
    """numerator / denominator, computed by the model in floats; the denominator is positive."""

    numerator: Extent
    denominator: int = 1


Element = int | Dim | bool | Ratio


def as_known(array: np.ndarray) -> np.ndarray | None:
    """A small constant as an array of elements; None for what cannot take part."""
    if array.size > MOST_KNOWN or array.dtype.kind not in "iubf":
        return None
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        return None
    result = np.empty(array.shape, object)
    for at in np.ndindex(array.shape):
        try:
            result[at] = _constant(array[at].item())
        except Unknown:
            return None
    return result


def of_extents(values: Sequence[Extent], shape: tuple[int, ...]) -> np.ndarray:
    """Extents in row-major order as an array of elements."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def is_whole(known: np.ndarray) -> bool:
    """Whether all elements are extents."""
    return all(isinstance(e, int | Dim) and not isinstance(e, bool) for e in known.flat)


def whole_number(element: Element) -> Extent | None:
    """An element as an extent, whatever type the model computes it in; None for fractions."""
    if isinstance(element, Ratio):
        return element.numerator if element.denominator == 1 else None
    return int(element) if isinstance(element, bool) else element


def is_symbolic(known: np.ndarray) -> bool:
    """Whether an element depends on a symbol."""
    return any(isinstance(e, Dim) or (isinstance(e, Ratio) and isinstance(e.numerator, Dim))
               for e in known.flat)  # fmt: skip


def _constant(value: bool | int | float) -> Element:
    if isinstance(value, bool | int):
        return value
    fraction = Fraction(value)
    if fraction.denominator > _LARGEST_DIVISOR:
        inverse = round(1 / value) if value else 0
        if inverse and float(np.float32(1) / np.float32(inverse)) == value:
            return Ratio(1, inverse)
        raise Unknown
    return Ratio(fraction.numerator, fraction.denominator)


def pointwise(expr: Expr, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The expression on broadcast arrays of elements; Unknown where one has no known value."""
    arrays = np.broadcast_arrays(*inputs)
    result = np.empty(arrays[0].shape, object)
    for at in np.ndindex(result.shape):
        elements: Any = [a[at] for a in arrays]
        result[at] = scalar(expr, elements)
    return result


def scalar(expr: Expr, inputs: Sequence[Element]) -> Element:
    """The expression on single elements; Unknown where the bounds decide nothing."""
    if expr.op == "input":
        return inputs[int(expr.value or 0)]
    if expr.op == "const":
        assert expr.dtype is not None and expr.value is not None
        if expr.dtype.kind == "b":
            return bool(expr.value)
        return _constant(expr.value)
    if expr.op == "extent":
        assert expr.dtype is not None
        return Ratio(expr.value) if expr.dtype.is_float else expr.value
    if expr.op == "select":
        condition = scalar(expr.args[0], inputs)
        return scalar(expr.args[1 if condition else 2], inputs)
    args = [scalar(a, inputs) for a in expr.args]
    if expr.op == "cast":
        assert expr.dtype is not None
        return _cast(args[0], "f" if expr.dtype.is_float else expr.dtype.kind)
    try:
        if expr.op in _UNARY:
            return _UNARY[expr.op](args[0])
        if expr.op in _BINARY:
            return _BINARY[expr.op](args[0], args[1])
    except UndecidedExtent:
        raise Unknown from None
    raise Unknown


def _cast(x: Element, kind: str) -> Element:
    if isinstance(x, Ratio):
        if kind == "f":
            return x
        if kind in "iu" and x.denominator == 1:
            return x.numerator
        raise Unknown
    if kind == "f":
        return Ratio(int(x) if isinstance(x, bool) else x)
    if kind == "b":
        return bool(x) if isinstance(x, int) else _nonzero(x)
    return int(x) if isinstance(x, bool) else x


def _nonzero(x: Dim) -> bool:
    if known_different(x, 0):
        return True
    raise Unknown


def _parts(x: Element) -> tuple[Extent, int]:
    return (x.numerator, x.denominator) if isinstance(x, Ratio) else (x, 1)


def _made(numerator: Extent, denominator: int, *like: Element) -> Element:
    if not any(isinstance(x, Ratio) for x in like):
        assert denominator == 1
        return numerator
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    if denominator > _LARGEST_DIVISOR**2:
        raise Unknown
    exact = numerator // denominator if denominator != 1 else numerator
    if exact * denominator == numerator:
        return Ratio(exact)
    return Ratio(numerator, denominator)


def _add(a: Element, b: Element) -> Element:
    (p, q), (r, s) = _parts(a), _parts(b)
    return _made(p * s + r * q, q * s, a, b)


def _mul(a: Element, b: Element) -> Element:
    (p, q), (r, s) = _parts(a), _parts(b)
    return _made(p * r, q * s, a, b)


def _neg(a: Element) -> Element:
    p, q = _parts(a)
    return _made(-p, q, a)


def _div(a: Element, b: Element) -> Element:
    (p, q), (r, s) = _parts(a), _parts(b)
    if isinstance(a, Ratio) or isinstance(b, Ratio):
        if not isinstance(r, int):
            quotient = _exactly(p * s, r * q)
            if quotient is None:
                raise Unknown
            return Ratio(quotient)
        if r == 0:
            raise Unknown
        return _made(p * s, q * r, a, b)
    if not r > 0:
        raise Unknown
    if p >= 0:  # integer division truncates
        return floor_div(p, r)
    if p <= 0:
        return -floor_div(-p, r)
    raise Unknown


def _exactly(a: Extent, b: Extent) -> Extent | None:
    quotient = floor_div(a, b)
    return quotient if quotient * b == a else None


def _mod(a: Element, b: Element) -> Element:
    (p, q), (r, s) = _parts(a), _parts(b)
    if q != 1 or s != 1 or not r > 0:
        raise Unknown
    value = remainder(p, r)
    return Ratio(value) if isinstance(a, Ratio) or isinstance(b, Ratio) else value


def _floor(a: Element) -> Element:
    p, q = _parts(a)
    return Ratio(floor_div(p, q)) if isinstance(a, Ratio) else a


def _round(a: Element) -> Element:
    if _parts(a)[1] != 1:
        raise Unknown
    return a


def _absolute(a: Element) -> Element:
    return a if bool(_parts(a)[0] >= 0) else _neg(a)


def _extreme(pick: Callable[..., Extent]) -> Callable[[Element, Element], Element]:
    def chosen(a: Element, b: Element) -> Element:
        (p, q), (r, s) = _parts(a), _parts(b)
        return _made(pick(p * s, r * q), q * s, a, b)

    return chosen


def _compared(test: Callable[[Extent], bool]) -> Callable[[Element, Element], bool]:
    def chosen(a: Element, b: Element) -> bool:
        (p, q), (r, s) = _parts(a), _parts(b)
        return test(p * s - r * q)

    return chosen


def _is_zero(difference: Extent) -> bool:
    if isinstance(difference, int):
        return difference == 0
    low, high = bounds(difference)
    if low > 0 or high < 0:
        return False
    raise Unknown


def _flags(combine: Callable[[bool, bool], bool]) -> Callable[[Element, Element], bool]:
    def chosen(a: Element, b: Element) -> bool:
        return combine(bool(_cast(a, "b")), bool(_cast(b, "b")))

    return chosen


_UNARY: Mapping[str, Callable[[Any], Element]] = {
    "neg": _neg,
    "abs": _absolute,
    "floor": _floor,
    "ceil": lambda a: _neg(_floor(_neg(a))),
    "round": _round,
    "not": lambda a: not _cast(a, "b"),
}
_BINARY: Mapping[str, Callable[[Any, Any], Element]] = {
    "add": _add,
    "sub": lambda a, b: _add(a, _neg(b)),
    "mul": _mul,
    "div": _div,
    "mod": _mod,
    "min": _extreme(smallest),
    "max": _extreme(largest),
    "lt": _compared(lambda d: bool(d < 0)),
    "le": _compared(lambda d: bool(d <= 0)),
    "eq": _compared(_is_zero),
    "and": _flags(lambda a, b: a and b),
    "or": _flags(lambda a, b: a or b),
    "xor": _flags(lambda a, b: a != b),
}


def folded(known: np.ndarray, kind: str) -> np.ndarray:
    """`known` reduced to one element: kind "sum", "prod", "min" or "max"."""
    combine = {"sum": _add, "prod": _mul, "min": _extreme(smallest), "max": _extreme(largest)}[kind]
    elements = list(known.flat)
    total = elements[0]
    for e in elements[1:]:
        total = combine(total, e)
    result = np.empty((), object)
    result[()] = total
    return result
