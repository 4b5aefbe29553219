"""The activations of cells: sigmoid and tanh in half the instructions of those of pointwise code.

A cell's states are sums of them over many steps, for which an absolute error of a few units of float32 near 1 will
do.  The tanh is x P(x**2) / Q(x**2) with polynomials of degree 4, fitted for this module (weighted least squares,
Lawson's algorithm) to a relative error of 2e-8.
"""

from __future__ import annotations

from camshaft.backends.cpu.expr.epilogue import emit_expr
from camshaft.backends.cpu.expr.math import moderate_exp, short_polynomial
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr

_SIGMOID = E.sigmoid(E.inp(0))
_TANH = E.unary("tanh", E.inp(0))
_NUMERATOR = (
    1.3354462927874447e-08,
    2.06089415510898e-05,
    0.0034955796622124988,
    0.1338101853451833,
    1.0,
)
_DENOMINATOR = (
    7.776477816349153e-07,
    0.00032856209162665214,
    0.02587695006838041,
    0.4671433412636403,
    1.0,
)
_TANH_END = 9.0  # tanh of which is 1 in float32


def activation(k: FunctionBuilder, function: Expr, x: Value) -> Value:
    """A cell's activation of f32 lanes."""
    if function == _TANH:
        return tanh(k, x)
    if function == _SIGMOID and k.target.has_fma and k.target.vector_bits < 512:
        return sigmoid(k, x)
    return emit_expr(k, function, [x])


def tanh(k: FunctionBuilder, x: Value) -> Value:
    """Hyperbolic tangent, relative error below 3.5e-7, never beyond -1 and 1."""
    x = k.select(x > _TANH_END, _TANH_END, x)
    x = k.select(x < -_TANH_END, -_TANH_END, x)
    square = x * x
    top = short_polynomial(k, square, _NUMERATOR) * x
    y = k.div(top, short_polynomial(k, square, _DENOMINATOR))
    y = k.select(y > 1.0, 1.0, y)
    return k.select(y < -1.0, -1.0, y)


def sigmoid(k: FunctionBuilder, x: Value) -> Value:
    """1 / (1 + e**-x), relative error below 3e-7 + |x| * 7e-8; below -87 that of -87."""
    x = k.select(x > 87.0, 87.0, x)
    x = k.select(x < -87.0, -87.0, x)
    return k.div(k.const(1.0, x.dtype, x.lanes), moderate_exp(k, -x) + 1.0)
