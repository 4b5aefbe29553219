"""Elementwise kernels: every stride pattern, type and expression against NumPy, on all targets."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.pointwise.axes import merged, tiling_of
from camshaft.backends.cpu.pointwise.tactic import Pointwise
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import DType, boolean, f16, f32, i8, i32, i64, u8
from camshaft.ops import POINTWISE
from kernel_harness import operand_of, params_of, prepare, run_kernel
from targets import each_target

TACTIC = Pointwise()
X, Y = E.inp(0), E.inp(1)


def values(dtype: DType, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray((rng.standard_normal(shape) * 60).astype(dtype.numpy))


def spec_of(expr: E.Expr, inputs: list[Operand], output: Operand) -> KernelSpec:
    return KernelSpec("pointwise", tuple(inputs), (output,), (("expr", expr),))


def check(
    spec: KernelSpec,
    arrays: list[np.ndarray],
    target: CpuTarget,
    threads: int = 1,
    tolerance: float = 0.0,
    grain: int = 32 << 10,
) -> None:
    (want,) = POINTWISE.reference(arrays, dict(spec.attrs))
    variable = [a for a, o in zip(arrays, spec.inputs, strict=True) if not o.const]
    consts = [a for a, o in zip(arrays, spec.inputs, strict=True) if o.const]
    params = {**params_of(TACTIC, spec, target, threads)[0], "grain": grain}
    (got,) = run_kernel(TACTIC, spec, params, target, variable, consts, threads)
    assert got.dtype == want.dtype
    if tolerance:
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(got, want)


@each_target
@pytest.mark.parametrize("size", [1, 7, 64, 1003])
def test_dense_run_with_every_tail(target: CpuTarget, size: int) -> None:
    x = values(f32, (size,))
    check(spec_of(E.maximum(X, E.const(0.0)), [operand_of(x)], operand_of(x)), [x], target)


@each_target
def test_long_row_is_split_over_workers(target: CpuTarget) -> None:
    x = values(u8, (2, 5003))
    spec = spec_of(X, [operand_of(x)], operand_of(x, pitch=5100))
    check(spec, [x], target, threads=3, grain=1024)


@each_target
@pytest.mark.parametrize("threads", [1, 3])
def test_broadcast_operands(target: CpuTarget, threads: int) -> None:
    shape = (2, 5, 6, 37)
    parts = [(2, 5, 6, 37), (37,), (5, 1, 1), (2, 1, 1, 37), ()]
    arrays = [values(f32, p, n) for n, p in enumerate(parts)]
    expr = X
    for n in range(1, len(parts)):
        expr = E.maximum(E.sub(expr, E.inp(n)), E.const(-50.0))
    operands = [operand_of(a, const=n in (1, 3)) for n, a in enumerate(arrays)]
    spec = spec_of(expr, operands, Operand.dense(f32, shape))
    check(spec, arrays, target, threads, grain=2048)


@each_target
def test_only_broadcast_operands_and_constants(target: CpuTarget) -> None:
    x = values(f32, (3, 1))
    check(spec_of(E.add(X, E.const(1.0)), [operand_of(x)], Operand.dense(f32, (3, 1))), [x], target)
    x = values(f32, ())
    check(spec_of(E.unary("neg", X), [operand_of(x)],
                  Operand.dense(f32, ())), [x], target)  # fmt: skip


LAYOUTS = [(3, 37, 41), (21, 13, 17), (64, 7, 7), (5, 3, 40), (16, 16, 16), (2, 5, 70), (33, 1, 33)]


@each_target
@pytest.mark.parametrize("chw", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [f32, u8], ids=str)
def test_layout_changes(target: CpuTarget, chw: tuple[int, int, int], dtype: DType) -> None:
    c, h, w = chw
    planar, pixels = values(dtype, (1, c, h, w)), values(dtype, (1, h, w, c))
    seen = Operand(dtype, (1, h, w, c), (c * h * w, w, 1, h * w))
    gappy = operand_of(pixels, pitch=c + 3)
    check(spec_of(X, [seen], operand_of(pixels)), [planar.transpose(0, 2, 3, 1)], target)
    check(spec_of(X, [seen], gappy), [planar.transpose(0, 2, 3, 1)], target, threads=3, grain=512)
    back = Operand(dtype, (1, c, h, w), (c * h * w, 1, w * c, c))
    check(spec_of(X, [back], operand_of(planar)), [pixels.transpose(0, 3, 1, 2)], target)


@each_target
@pytest.mark.parametrize("dtype", [boolean, f16, i64], ids=str)
def test_copies_of_other_types(target: CpuTarget, dtype: DType) -> None:
    x = values(dtype, (9, 21, 18))
    seen = Operand(dtype, (9, 18, 21), (21 * 18, 1, 18))
    check(spec_of(X, [seen], Operand.dense(dtype, (9, 18, 21))), [x.transpose(0, 2, 1)], target)


@each_target
def test_quantize_planar_image_to_pixels(target: CpuTarget) -> None:
    x = values(f32, (1, 3, 19, 23)).transpose(0, 2, 3, 1)
    seen = Operand(f32, x.shape, (3 * 19 * 23, 23, 1, 19 * 23))
    expr = E.quantize(X, E.const(0.37), 121, u8)
    check(spec_of(expr, [seen], Operand.dense(u8, x.shape)), [x], target, threads=2, grain=1024)


@each_target
def test_channel_scale_of_three_channel_pixels(target: CpuTarget) -> None:
    x, scale, shift = values(f32, (1, 9, 31, 3)), values(f32, (3,), 1), values(f32, (3,), 2)
    expr = E.add(E.mul(X, Y), E.inp(2))
    spec = spec_of(expr, [operand_of(x), operand_of(scale, const=True), operand_of(shift)],
                   operand_of(x))  # fmt: skip
    check(spec, [x, scale, shift], target, tolerance=1e-5)


@each_target
def test_one_channel_of_wide_pixels(target: CpuTarget) -> None:
    x = values(f32, (1, 6, 7, 1))
    check(spec_of(E.mul(X, X), [operand_of(x, pitch=5)], operand_of(x, pitch=9)), [x], target)


@each_target
def test_integer_and_bool_expressions(target: CpuTarget) -> None:
    a, b = values(i64, (3, 29), 1), values(i64, (3, 29), 2)
    pair = [operand_of(a), operand_of(b)]
    check(spec_of(E.add(E.mul(X, Y), X), pair, operand_of(a)), [a, b], target)
    check(spec_of(E.binary("mod", X, Y), pair, operand_of(a)), [a, b], target)
    less = spec_of(E.binary("lt", X, Y), pair, Operand.dense(boolean, a.shape))
    check(less, [a, b], target)
    mask = a < b
    chosen = E.select(X, Y, E.inp(2))
    check(spec_of(chosen, [operand_of(mask), *pair], operand_of(a)), [mask, a, b], target)
    for source, to in [(u8, f32), (i8, i32), (i32, f32), (f32, i8), (f32, i64), (boolean, f32)]:
        x = values(source, (5, 35))
        check(spec_of(E.cast(X, to), [operand_of(x)], Operand.dense(to, x.shape)), [x], target)


@each_target
@pytest.mark.parametrize("name", ["exp", "tanh", "erf", "log", "sqrt", "sin"])
def test_functions(target: CpuTarget, name: str) -> None:
    x = np.abs(values(f32, (3, 61))) * np.float32(0.05)
    check(spec_of(E.unary(name, X), [operand_of(x)], operand_of(x)), [x], target, tolerance=2e-6)


@each_target
def test_residual_add_of_quantized_tensors_in_place(target: CpuTarget) -> None:
    a, b = values(u8, (1, 7, 7, 24), 1), values(u8, (1, 7, 7, 24), 2)
    terms = [E.dequantize(E.inp(n), E.const(0.1 * (n + 1)), 3) for n in (0, 1)]
    expr = E.quantize(E.add(*terms), E.const(0.5), 10, u8)
    spec = spec_of(expr, [operand_of(a), operand_of(b)], operand_of(a))
    p = prepare(TACTIC, spec, params_of(TACTIC, spec, target, 1)[0], target, [a, b], [])
    p.table[2] = p.table[0]  # the output takes the first input's place
    p.run()
    (want,) = POINTWISE.reference([a, b], dict(spec.attrs))
    got = p.inputs[0].view(spec.inputs[0])
    assert np.abs(got.astype(int) - want).max() <= 1  # the expression's multiply-adds are fused


def test_what_has_no_code_is_not_supported() -> None:
    x = values(f32, (4,))
    half = Operand.dense(f16, (4,))
    assert not TACTIC.plan(spec_of(E.unary("exp", X), [half], half), AVX512_VNNI, 1)
    remainder = spec_of(E.binary("mod", X, Y), [operand_of(x)] * 2, operand_of(x))
    assert not TACTIC.plan(remainder, AVX512_VNNI, 1)


def test_axes_merge_and_lanes_go_where_memory_is_contiguous() -> None:
    assert merged((2, 3, 4), [(12, 4, 1), (12, 4, 1)]).shape == (24,)
    assert merged((2, 3, 4), [(12, 4, 1), (0, 0, 1)]).shape == (6, 4)
    assert merged((2, 3, 4), [(24, 8, 1), (12, 4, 1)]).shape == (6, 4)
    turned = merged((50, 60), [(1, 50), (60, 1)])
    assert tiling_of(turned, 16).plane_axis == 0
    image = merged((1, 8, 100, 3), [(2400, 100, 1, 800), (2400, 300, 3, 1)])
    assert (tiling_of(image, 16).lane_axis, tiling_of(image, 16).planes) == (0, 3)


SPECIAL = np.array(
    [0, -0.0, 1e-40, 0.5, -0.5, 9, -9, 60, -87, 88, 3e38, np.inf, np.nan], np.float32
)


@each_target
def test_sigmoids(target: CpuTarget) -> None:
    x = np.concatenate([SPECIAL, np.linspace(-30, 30, 500, dtype=np.float32)])
    sigmoid = E.sigmoid(X)
    wide = 1 / (1 + np.exp(-x.astype(np.float64)))
    for expr, want in [
        (sigmoid, wide),
        (E.mul(X, sigmoid), x * wide),
        (E.mul(sigmoid, E.add(X, sigmoid)), wide * (x + wide)),
        (E.div(E.const(3.0), E.add(E.const(1.0), E.unary("exp", E.unary("neg", X)))), 3 * wide),
    ]:
        spec = spec_of(expr, [operand_of(x)], operand_of(x))
        (got,) = run_kernel(TACTIC, spec, {"unroll": 1, "grain": 1 << 15}, target, [x], [])
        np.testing.assert_allclose(got, want, rtol=2.5e-6, atol=1e-12)
        assert abs(got[0] - want[0]) == 0


@each_target
@pytest.mark.parametrize("zero", [0, 1, 128, -3, 255])
@pytest.mark.parametrize("dtype", [u8, i8], ids=str)
def test_requantization_rounds_once_and_saturates(
    target: CpuTarget, zero: int, dtype: DType
) -> None:
    ties = np.arange(-300, 300, 0.5, np.float32)
    x = np.concatenate([SPECIAL, -SPECIAL, ties])
    expr = E.cast(E.add(E.unary("round", X), E.const(float(zero))), dtype)
    check(spec_of(expr, [operand_of(x)], Operand.dense(dtype, x.shape)), [x], target)
