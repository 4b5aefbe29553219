"""Vectorised mathematical functions for kernels: exp, sigmoid, log, tanh, erf, sin, cos, pow.

Each takes and returns f32 lanes and inlines into the kernel; no library is called, so that results
do not depend on the machine's libm.  Sources: the polynomials of exp, log, tanh, sin, cos and the
inner part of erf are those of Cephes (Moshier, single precision); erf's outer part is a weighted
least squares fit of -log(erfc) made for this module, as are the sigmoid's 2**t (minimax); pow
works in double precision with the textbook series of log and exp.  Infinities, NaN and denormals
give what NumPy gives.  The bounds stated here are tested over all floats, against float64.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.errors import BuildError
from camshaft.ir.types import f32, f64, i32, i64

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_TANH = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_ERF_INNER = (
    7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3, -2.685381193529856e-2,
    1.128358514861418e-1, -3.761262582423300e-1, 1.128379165726710,
)  # fmt: skip
# -log(erfc(t + 2)) for t in -1.05 .. 2; error of erf below 2e-9.
_ERF_OUTER = (
    -0.00019151510787196457, 0.000701461685821414, -0.0035468623973429203, 0.016491876915097237,
    0.9237557053565979, 4.418159484863281, 5.364941120147705,
)  # fmt: skip
# log2(erfc(u)) / u for u from 0 to 4.4, fitted so that u * erfc(u) is off by 1.3e-8; coarse: by 8e-7.
_ERFC = (
    -3.0434384825639427e-05, 0.00031743914587423205, -0.0010518226772546768, -0.0015390299959108233,
    0.02898162603378296, -0.1488533318042755, -0.9183242917060852, -1.6279168128967285,
)  # fmt: skip
_ERFC_COARSE = (
    -0.0027612082194536924,
    0.02879522368311882,
    -0.14749343693256378,
    -0.9191914200782776,
    -1.627760648727417,
)
_ERFC_END = 6.0  # erfc of which is 2e-17
# 2**t for t in -0.5 .. 0.5, exact at 0; relative error 9e-8.
_EXP2 = (
    0.001326472731307149, 0.009671512991189957, 0.05550733581185341, 0.24022242426872253,
    0.6931470036506653, 1.0,
)  # fmt: skip
# 2**t for t in -0.5 .. 0.5; relative error 8e-5.
_EXP2_CUBIC = (0.0551716685295105, 0.2426111251115799, 0.6932609677314758, 0.9999280571937561)
# 2**t for t in 0 .. 1; relative error 8e-5.
_EXP2_COARSE = (0.07802452147006989, 0.2260671705007553, 0.6958335041999817, 0.9999251961708069)
# (2**t - 1) / t for t in -1/64 .. 1/64; error of 2**t 5e-8.
_EXP2_NEAR = (0.24022650695910072, 0.6931573437)
_ROOTS = tuple(2.0 ** (n / 32) for n in range(32))
_AVX512_KINDS = {4: (128, "i8"), 8: (256, "i8"), 16: (512, "i16")}
"""Bits and mask type of a vector by its lanes."""
_LOG2_E = 1.44269504088896341
_LOG_SMALLEST = -87.3  # e**-87.3 is not denormal yet
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # the high part times an exponent is exact
_PI_2 = (1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
_PI_4 = 0.7853982
_INF = float("inf")


def polynomial(k: FunctionBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule; the highest power's coefficient first."""
    result = k.const(coefficients[0], x.dtype, x.lanes)
    for c in coefficients[1:]:
        result = k.fma(result, x, k.const(c, x.dtype, x.lanes))
    return result


def short_polynomial(k: FunctionBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    """Estrin's scheme: as `polynomial`, with a few products more and a chain of half the length."""
    terms = [k.const(c, x.dtype, x.lanes) for c in reversed(coefficients)]
    while True:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [k.fma(high, x, low) for low, high in pairs] + terms[len(terms) & ~1 :]
        if len(terms) == 1:
            return terms[0]
        x = x * x


def exp(k: FunctionBuilder, x: Value) -> Value:
    """e**x, relative error below 1e-7; overflow gives infinity, underflow denormals, then 0."""
    _only_f32(x, "exp")
    x = k.select(x > 89.0, 89.0, x)
    x = k.select(x < -104.0, -104.0, x)
    p, n, shifted = _reduced_exp(k, x)
    if k.target.vector_bits == 512 and x.lanes == 16:
        return _scaled(k, p, n)
    exponent = k.bitcast(shifted, i32) - 0x4B400000
    half = exponent >> 1  # in two steps, so that denormal results and 2**128 are reached
    return p * _power_of_two(k, half) * _power_of_two(k, exponent - half)


def exp_of_negative(k: FunctionBuilder, x: Value) -> Value:
    """e**x of x <= 0 (or NaN), relative error below 1e-7; 0 where it is below 1.3e-38.

    Cheaper than `exp`.  No product becomes denormal, which would take CPUs a hundred cycles.
    """
    _only_f32(x, "exp")
    is_small = x < _LOG_SMALLEST
    p, n, shifted = _reduced_exp(k, k.select(is_small, _LOG_SMALLEST, x))
    if k.target.vector_bits == 512 and x.lanes == 16:
        power = _scaled(k, p, n)
    else:
        power = p * _power_of_two(k, k.bitcast(shifted, i32) - 0x4B400000)
    return k.select(is_small, 0.0, power)


def shares(k: FunctionBuilder, xs: Sequence[Value]) -> list[Value]:
    """e**x of x <= 0 (or NaN), as terms of a sum whose largest term is 1; 0 where it is below 1.2e-38.

    Two thirds of the instructions of `exp_of_negative`, step by step for all vectors, whose chains so lie
    side by side.  Relative error below 1.2e-7 near 0 and 6e-6 at -87: of a sum of at least 1 always below
    1.2e-7.
    """
    for x in xs:
        _only_f32(x, "exp")
    magic = 1.5 * 2**23
    bounded = [k.greater(_LOG_SMALLEST, x) for x in xs]  # NaN stays
    shifted = [k.fma(x, _LOG2_E, k.const(magic, f32, x.lanes)) for x in bounded]
    rests = [k.fma(x, _LOG2_E, magic - s) for x, s in zip(bounded, shifted, strict=True)]
    roots = [k.const(_EXP2[0], f32, x.lanes) for x in xs]
    for c in _EXP2[1:]:
        steps = zip(roots, rests, strict=True)
        roots = [k.fma(root, r, k.const(c, f32, r.lanes)) for root, r in steps]
    powers = [k.bitcast((k.bitcast(s, i32) << 23) + 0x3F800000, f32) for s in shifted]
    return [
        k.select(x < _LOG_SMALLEST, 0.0, root * power)
        for x, root, power in zip(xs, roots, powers, strict=True)
    ]


def moderate_exp(k: FunctionBuilder, x: Value) -> Value:
    """e**x of x from -87.3 to 87.3 (or NaN); relative error below 1.2e-7 + |x| * 7e-8."""
    _only_f32(x, "exp")
    magic = 1.5 * 2**23
    shifted = k.fma(x, _LOG2_E, k.const(magic, f32, x.lanes))
    root = short_polynomial(k, k.fma(x, _LOG2_E, magic - shifted), _EXP2)
    return root * k.bitcast((k.bitcast(shifted, i32) << 23) + 0x3F800000, f32)


def _reduced_exp(k: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    """(p, n, n in the lowest bits of a float) with e**x = p * 2**n and p from 0.7 to 1.42."""
    shifted = k.fma(x, 1.44269504088896341, k.const(1.5 * 2**23, f32, x.lanes))
    n = shifted - 1.5 * 2**23
    r = k.fma(n, -_LN2_HIGH, x)
    r = k.fma(n, -_LN2_LOW, r)
    p = k.fma(polynomial(k, r, _EXP), r * r, r) + 1.0
    return p, n, shifted


def logistic(
    k: FunctionBuilder, x: Value, numerator: Value | None = None, *, coarse: bool = False
) -> Value:
    """numerator / (1 + e**-x); without a numerator the sigmoid, else for example swish.

    Cheaper than `exp` and a division: the argument is reduced in one fused step, which adds
    |x| * 1.4e-8 of relative error where the result goes to 0 to the usual 3e-7.  A sigmoid below
    2**-126 may be 0 (in NumPy's float32 it is, where e**-x overflows).
    coarse: a relative error of 1.5e-4 will do (the result is about to become 8 bits).
    """
    _only_f32(x, "the sigmoid")
    top = k.const(1.0, f32, x.lanes) if numerator is None else numerator
    if not k.target.has_fma:
        return k.div(top, exp(k, -x) + 1.0)
    if k.target.vector_bits == 512 and x.lanes in _AVX512_KINDS:
        if coarse:
            return top * _coarse_sigmoid(k, x)
        return k.div(top, _power_by_table(k, x) + 1.0)
    x = k.select(x > 87.0, 87.0, x)
    x = k.select(x < -89.0, -89.0, x)  # whose exponent, 128, is the one of infinity
    n = k.round(x * -_LOG2_E)
    t = k.fma(x, -_LOG2_E, -n)
    power = polynomial(k, t, _EXP2) * _power_of_two(k, k.round_to_i32(n))
    return k.div(top, power + 1.0)


def _power_by_table(k: FunctionBuilder, x: Value) -> Value:
    """e**-x of 4, 8 or 16 lanes, from a table of 32 roots of 2 in two registers and a parabola.

    The upper bound keeps the parabola finite.  None is needed below: there it is positive, and
    scaling by a huge or infinite power gives infinity even of a NaN.
    """
    lanes = x.lanes
    if lanes < 16:
        x = k.shuffle(x, None, [*range(lanes), *[0] * (16 - lanes)])
    x = k.select(k.const(105.0, f32, 16) < x, 105.0, x)
    magic = 1.5 * 2**18  # a sum with it is a multiple of 1/32
    shifted = k.fma(x, -_LOG2_E, k.const(magic, f32, 16))
    n = shifted - magic
    t = k.fma(x, -_LOG2_E, -n)
    low, high = (k.const_vector(_ROOTS[half : half + 16], f32) for half in (0, 16))
    place = k.bitcast(shifted, i32)
    root = k.call_intrinsic("llvm.x86.avx512.vpermi2var.ps.512", f32, 16, low, place, high)
    power = _scaled(k, k.fma(polynomial(k, t, _EXP2_NEAR) * t, root, root), n)
    return power if lanes == 16 else k.shuffle(power, None, range(lanes))


def _coarse_sigmoid(k: FunctionBuilder, x: Value) -> Value:
    """The sigmoid by instructions that split off the fraction of a float and scale by the rest.

    Infinities need no code of their own: their fraction is 0.
    """
    bits, mask = _AVX512_KINDS[x.lanes]
    rounding = ["i32 4"] if bits == 512 else []
    y = x * -_LOG2_E
    vector, suffix = y.type, f"ps.{bits}"
    kinds = [vector, "i32", vector, mask, *("i32" for _ in rounding)]
    fraction = k.intrinsic(f"llvm.x86.avx512.mask.reduce.{suffix}", vector, kinds)
    words = [f"{vector} {y.ref}", "i32 1", f"{vector} zeroinitializer", f"{mask} -1", *rounding]
    t = k.value(f"call {fraction}({', '.join(words)})", f32, x.lanes)
    below = _scaled(k, polynomial(k, t, _EXP2_COARSE), y) + 1.0
    return k.call_intrinsic(
        f"llvm.x86.avx512.rcp14.{suffix}", f32, x.lanes, below, below, immediates=[f"{mask} -1"]
    )


def _scaled(k: FunctionBuilder, p: Value, n: Value) -> Value:
    """p * 2**floor(n), denormals and infinity included, in one instruction of AVX-512."""
    bits, mask = _AVX512_KINDS[p.lanes]
    rounding = ["i32 4"] if bits == 512 else []
    name = f"llvm.x86.avx512.mask.scalef.ps.{bits}"
    return k.call_intrinsic(name, f32, p.lanes, p, n, p, immediates=[f"{mask} -1", *rounding])


def log(k: FunctionBuilder, x: Value) -> Value:
    """Natural logarithm, relative error below 1e-7; of 0 -infinity, of a negative number NaN."""
    _only_f32(x, "log")
    tiny = x < 2.0**-126
    bits = k.bitcast(k.select(tiny, x * 2.0**23, x), i32)
    # m in sqrt(1/2) .. sqrt(2), x = m * 2**e
    e = (bits - 0x3F3504F3) >> 23
    m = k.bitcast(bits - (e << 23), f32) - 1.0
    exponent = k.cast(e, f32) - k.select(tiny, 23.0, k.const(0.0, f32, x.lanes))
    square = m * m
    y = polynomial(k, m, _LOG) * m * square
    y = k.fma(exponent, _LN2_LOW, y)
    y = k.fma(square, -0.5, y)
    y = k.fma(exponent, _LN2_HIGH, m + y)
    y = k.select(k.eq(x, 0.0), -_INF, y)
    y = k.select(k.eq(x, _INF), _INF, y)
    return k.select(x >= 0.0, y, float("nan"))


def tanh(k: FunctionBuilder, x: Value) -> Value:
    """Hyperbolic tangent, relative error below 1.5e-7."""
    _only_f32(x, "tanh")
    size = k.abs(x)
    square = x * x
    near = k.fma(polynomial(k, square, _TANH) * square, x, x)
    far = 1.0 - 2.0 / (exp(k, size + size) + 1.0)
    return k.select(size < 0.625, near, k.copysign(far, x))


def erf(k: FunctionBuilder, x: Value) -> Value:
    """Error function, relative error below 2e-7.

    1 + erf(x) cancels for negative x, so that GELU has an *absolute* error of 1.5e-7 * max(1, |x|),
    as the same formula has in NumPy's float32.
    """
    _only_f32(x, "erf")
    size = k.abs(x)
    near = polynomial(k, x * x, _ERF_INNER) * x
    clipped = k.select(size > 4.0, 4.0, size)
    far = 1.0 - exp(k, -polynomial(k, clipped - 2.0, _ERF_OUTER))
    return k.select(size < 1.0, near, k.copysign(far, x))


def gelu(
    k: FunctionBuilder, x: Value, scale: float, factor: float, *, coarse: bool = False
) -> Value:
    """factor * x * (1 + erf(scale * x)), which is GELU with a factor of 1/2 and a scale of sqrt(1/2).

    Absolute error below 1e-7 * max(1, |x|) for GELU.  Half as many instructions as by `erf`: erfc is a
    power of 2, and of x and its sign 1 + erf is erfc(-u) or 2 - erfc(u), which do not cancel.
    scale, factor: positive, from 2**-20 to 2**20.  coarse: 2e-4 of the result will do (it is about to become 8 bits).
    """
    _only_f32(x, "erf")
    u = k.lesser(k.abs(x * scale), _ERFC_END)
    exponent = short_polynomial(k, u, _ERFC_COARSE if coarse else _ERFC) * u
    shifted = exponent + 1.5 * 2**23
    t = exponent - (shifted - 1.5 * 2**23)
    root = short_polynomial(k, t, [c * factor for c in (_EXP2_CUBIC if coarse else _EXP2)])
    tail = k.bitcast(k.bitcast(root, i32) + (k.bitcast(shifted, i32) << 23), f32)
    tail = k.select(u < _ERFC_END, tail, 0.0)
    return x * k.select(x < 0.0, tail, 2 * factor - tail)


def sin(k: FunctionBuilder, x: Value) -> Value:
    """Sine, relative error below 2e-7 for |x| < 1e6.

    Beyond, digits of the period run out: from 1e15 on (without fused multiply-add from 1e12 on) the
    result is a number in -1 .. 1 without meaning.
    """
    return _sin_cos(k, x, 0)


def cos(k: FunctionBuilder, x: Value) -> Value:
    """Cosine, with the bounds of `sin`."""
    return _sin_cos(k, x, 1)


def _sin_cos(k: FunctionBuilder, x: Value, quarter: int) -> Value:
    _only_f32(x, "sin and cos")
    wide = k.cast(x, f64)
    shifted = k.fma(wide, 0.63661977236758134308, k.const(1.5 * 2**52, f64, x.lanes))
    n = shifted - 1.5 * 2**52
    for part in _PI_2:
        wide = k.fma(n, -part, wide)
    r = k.cast(wide, f32)
    r = k.select(r > _PI_4, _PI_4, r)  # where the reduction fails, the polynomials must not
    r = k.select(r < -_PI_4, -_PI_4, r)
    quadrant = k.cast(k.bitcast(shifted, i64), i32) + quarter
    square = r * r
    sine = k.fma(polynomial(k, square, _SIN) * square, r, r)
    cosine = k.fma(polynomial(k, square, _COS) * square, square, k.fma(square, -0.5, _ones(k, r)))
    result = k.select(k.eq(quadrant & 1, 1), cosine, sine)
    return k.bitcast(k.bitcast(result, i32) ^ ((quadrant & 2) << 30), f32)


def power(k: FunctionBuilder, x: Value, y: Value) -> Value:
    """x ** y as IEEE 754's pow, relative error below 1e-7."""
    _only_f32(x, "pow")
    x, y = k.pair(x, y)
    size = k.abs(x)
    magnitude = _exp2(k, k.cast(y, f64) * _log2(k, size))
    result = k.cast(magnitude, f32)
    whole = k.eq(k.floor(y), y)
    half = y * 0.5
    odd = k.bit("and", whole, k.ne(k.floor(half), half))
    negative = k.bitcast(x, i32) < 0
    result = k.select(k.bit("and", negative, odd), -result, result)
    undefined = k.bit("and", k.bit("and", x < 0.0, k.not_(whole)), x > -_INF)
    result = k.select(undefined, float("nan"), result)
    one = k.bit("or", k.eq(x, 1.0), k.eq(y, 0.0))
    one = k.bit("or", one, k.bit("and", k.eq(x, -1.0), k.eq(k.abs(y), _INF)))
    return k.select(one, 1.0, result)


def _log2(k: FunctionBuilder, x: Value) -> Value:
    """Base-2 logarithm in f64 of non-negative f32 lanes, about 1e-12."""
    wide = k.cast(x, f64)
    bits = k.bitcast(wide, i64)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = k.bitcast(bits - (e << 52), f64)
    s = (m - 1.0) / (m + 1.0)
    series = polynomial(k, s * s, [1 / n for n in range(17, 0, -2)])
    # i64 to f64 in vectors is an instruction only on AVX-512: go through i32.
    exponent = k.cast(k.cast(e, i32), f64)
    y = k.fma(s * series, 2 * 1.44269504088896340736, exponent)
    y = k.select(k.eq(x, 0.0), -_INF, y)
    return k.select(k.bit("and", x < _INF, x >= 0.0), y, k.select(k.eq(x, 0.0), -_INF, wide))


def _exp2(k: FunctionBuilder, x: Value) -> Value:
    """2**x in f64, about 1e-11, for results within the range of f32 (beyond: inf or 0 as f32)."""
    x = k.select(x > 200.0, 200.0, x)
    x = k.select(x < -200.0, -200.0, x)
    shifted = x + 1.5 * 2**52
    r = (x - (shifted - 1.5 * 2**52)) * 0.69314718055994530942
    coefficients = [1.0]
    for n in range(1, 11):
        coefficients.insert(0, coefficients[0] / n)
    p = polynomial(k, r, coefficients)
    return k.bitcast(k.bitcast(p, i64) + (k.bitcast(shifted, i64) << 52), f64)


def _power_of_two(k: FunctionBuilder, exponent: Value) -> Value:
    return k.bitcast((exponent + 127) << 23, f32)


def _ones(k: FunctionBuilder, like: Value) -> Value:
    return k.const(1.0, like.dtype, like.lanes)


def _only_f32(x: Value, name: str) -> None:
    if x.dtype != f32:
        raise BuildError(f"{name} has CPU code for f32 only, not {x.dtype}; cast before and after")
