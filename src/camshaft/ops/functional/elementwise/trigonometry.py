"""Inverse trigonometric functions, hyperbolic functions and their inverses, of f32.

Approximations are those of Cephes, single precision (Moshier): a polynomial near 0, and identities
elsewhere.  They are off by a few units in the last place.  Shape and element type are those of x; other
types raise NoCanonicalForm, since the polynomials are no better than f32.  Outside of a function's domain
the result is NaN, as for NaN.
"""

from __future__ import annotations

import math

from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import f32
from camshaft.ops.functional.core import NoCanonicalForm
from camshaft.ops.functional.elementwise.arithmetic import pointwise

X = E.inp(0)
ZERO, HALF, ONE, TWO = (E.const(v) for v in (0.0, 0.5, 1.0, 2.0))
PI, HALF_PI, QUARTER_PI, LN_2 = (
    E.const(v) for v in (math.pi, math.pi / 2, math.pi / 4, math.log(2))
)
SIZE = E.unary("abs", X)
SQUARE = E.mul(X, X)
_LARGE = E.const(1500.0)
"""From here on x^2 + 1 and x^2 - 1 are x^2 in f32."""


def asin(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The arc sine, -pi/2 to pi/2."""
    far, arc = _arc_sine()
    e = E.select(far, E.sub(_signed(HALF_PI), E.mul(TWO, arc)), arc)
    return _of_f32(builder, e, x, output)


def acos(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The arc cosine, 0 to pi."""
    far, arc = _arc_sine()
    beyond = E.add(E.select(E.binary("lt", X, ZERO), PI, ZERO), E.mul(TWO, arc))
    return _of_f32(builder, E.select(far, beyond, E.sub(HALF_PI, arc)), x, output)


def atan(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The arc tangent, -pi/2 to pi/2."""
    near = E.binary("le", SIZE, E.const(math.tan(math.pi / 8)))
    far = E.binary("lt", E.const(math.tan(3 * math.pi / 8)), SIZE)
    middle = E.div(E.sub(SIZE, ONE), E.add(SIZE, ONE))  # the tangent of atan |x| - pi/4
    turned = E.select(far, E.div(E.const(-1.0), SIZE), middle)
    t = E.select(near, X, _signed(turned))
    base = _signed(E.select(far, HALF_PI, QUARTER_PI))
    arc = _odd(t, 8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
    return _of_f32(builder, E.select(near, arc, E.add(base, arc)), x, output)


def sinh(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The hyperbolic sine, (e^x - e^-x) / 2."""
    near = _odd(X, 2.03721912945e-4, 8.33028376239e-3, 1.66667160211e-1)
    rising, falling = _half_exponentials()
    e = E.select(E.binary("le", SIZE, ONE), near, _signed(E.sub(rising, falling)))
    return _of_f32(builder, e, x, output)


def cosh(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The hyperbolic cosine, (e^x + e^-x) / 2."""
    return _of_f32(builder, E.add(*_half_exponentials()), x, output)


def asinh(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The inverse of `sinh`, log(x + sqrt(x^2 + 1))."""
    near = _odd(X, 2.0122003309e-2, -4.2699340972e-2, 7.4847586088e-2, -1.6666288134e-1)
    root = E.unary("sqrt", E.add(SQUARE, ONE))
    far = _signed(_log_of_sum(SIZE, root))
    return _of_f32(builder, E.select(E.binary("lt", SIZE, HALF), near, far), x, output)


def acosh(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The inverse of `cosh`, log(x + sqrt(x^2 - 1)), for x of 1 or more."""
    above = E.sub(X, ONE)
    series = _polynomial(
        above, 1.7596881071e-3, -7.5272886713e-3, 2.6454905019e-2, -1.1784741703e-1, 1.4142135263
    )
    near = E.mul(series, E.unary("sqrt", above))
    far = _log_of_sum(X, E.unary("sqrt", E.mul(above, E.add(X, ONE))))
    return _of_f32(builder, E.select(E.binary("lt", above, HALF), near, far), x, output)


def atanh(builder: GraphBuilder, x: Tensor, *, output: str | None = None) -> Tensor:
    """The inverse of `tanh`, log((1 + x) / (1 - x)) / 2: infinite at -1 and 1."""
    near = _odd(
        X, 1.81740078349e-1, 8.24370301058e-2, 1.46691431730e-1, 1.99782164500e-1, 3.33337300303e-1
    )
    ratio = E.div(E.add(ONE, X), E.sub(ONE, X))
    far = E.mul(HALF, E.unary("log", ratio))
    return _of_f32(builder, E.select(E.binary("lt", SIZE, HALF), near, far), x, output)


def _of_f32(builder: GraphBuilder, e: Expr, x: Tensor, output: str | None) -> Tensor:
    if x.type.dtype != f32:
        raise NoCanonicalForm(f"works on f32, not on {x.type.dtype.name}")
    return pointwise(builder, e, x, output=output)


def _signed(e: Expr) -> Expr:
    """e with x's sign."""
    return E.select(E.binary("lt", X, ZERO), E.unary("neg", e), e)


def _polynomial(x: Expr, *coefficients: float) -> Expr:
    """By Horner's rule; the coefficient of the highest power first."""
    total = E.const(coefficients[0])
    for c in coefficients[1:]:
        total = E.add(E.mul(total, x), E.const(c))
    return total


def _odd(x: Expr, *coefficients: float) -> Expr:
    """x + x^3 p(x^2), p by its coefficients."""
    square = E.mul(x, x)
    return E.add(E.mul(E.mul(_polynomial(square, *coefficients), square), x), x)


def _arc_sine() -> tuple[Expr, Expr]:
    """Whether |x| > 1/2; there the arc sine, with x's sign, of sqrt((1 - |x|) / 2), else that of x."""
    far = E.binary("lt", HALF, SIZE)
    root = _signed(E.unary("sqrt", E.mul(HALF, E.sub(ONE, SIZE))))
    series = (4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2, 7.4953002686e-2, 1.6666752422e-1)
    return far, _odd(E.select(far, root, X), *series)


def _half_exponentials() -> tuple[Expr, Expr]:
    """e^|x| / 2 and e^-|x| / 2, by the root, so that the former overflows no sooner than it must."""
    root = E.unary("exp", E.mul(HALF, SIZE))
    return E.mul(E.mul(HALF, root), root), E.div(E.div(HALF, root), root)


def _log_of_sum(x: Expr, root: Expr) -> Expr:
    """log(x + root), where root is about x if x is large, so that its square may have overflowed."""
    large = E.binary("lt", _LARGE, x)
    log = E.unary("log", E.select(large, x, E.add(x, root)))
    return E.select(large, E.add(log, LN_2), log)
