"""e**x, rounded as NumPy's of float64 is when it becomes a float32: what hangs on such a number by comparison, does so in both."""

from __future__ import annotations

import struct
from math import factorial

from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.ir.types import f32, f64, i64

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
"""The upper 33 bits of log(2): whole numbers of it are exact."""
_LN2_LOW = 1.90821492927058770002e-10
_SHIFT = 1.5 * 2.0**52
_SHIFT_BITS: int = struct.unpack("<q", struct.pack("<d", _SHIFT))[0]
_BEYOND = 200.0
"""Where results have left the range of a float32."""
_DEGREE = 13


def exp(k: FunctionBuilder, x: Value) -> Value:
    """e**x of a float32, as one: correctly rounded but for about one number in a hundred million."""
    wide = k.lesser(k.greater(-_BEYOND, k.cast(x, f64)), _BEYOND)
    shifted = wide * _LOG2_E + _SHIFT
    whole = shifted - _SHIFT
    rest = wide - whole * _LN2_HIGH - whole * _LN2_LOW
    power = k.const(1 / factorial(_DEGREE), f64)
    for n in reversed(range(_DEGREE)):
        power = power * rest + 1 / factorial(n)
    exponent = k.bitcast(shifted, i64) - _SHIFT_BITS
    scale = k.bitcast((exponent + 1023) << 52, f64)
    return k.cast(k.select(k.isnan(x), float("nan"), power * scale), f32)
