"""The kernel language on half floats: dot products of pairs, and what AVX-512 BF16 does otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module
from camshaft.backends.cpu.target import AVX512_BF16, AVX512_FP16, CpuTarget
from camshaft.ir.types import bf16, f16, f32, f64, i32
from half_models import vcvtneps2bf16, vdpbf16ps
from lang_phases import run_phase
from targets import each_half_target

SUBNORMAL = 2.0**-126


def dot2_body(lanes: int, count: int):  # type: ignore[no-untyped-def]
    def body(k: FunctionBuilder) -> None:
        with k.loop(0, count * lanes, lanes) as i:
            a, b = (k.load(k.args[name].as_type(i32).at(i), lanes) for name in ("a0", "a1"))
            k.store(k.dot2(a, b, k.load(k.args["a2"].at(i), lanes)), k.args["a3"].at(i))

    return body


def dot2(target: CpuTarget, a: np.ndarray, b: np.ndarray, acc: np.ndarray) -> np.ndarray:
    lanes = target.lanes(f32)
    y = np.zeros_like(acc)
    run_phase(target, dot2_body(lanes, acc.size // lanes), a, b, acc, y)
    return y


@each_half_target
@pytest.mark.parametrize("spread", [1.0, 30.0], ids=["near", "far"])
def test_dot2_is_vdpbf16ps_to_the_bit(target: CpuTarget, spread: float) -> None:
    """Where nothing is subnormal; of magnitudes alike and far apart, so that every rounding occurs."""
    rng = np.random.default_rng(3)
    a, b, acc = (
        rng.standard_normal(shape) * np.exp2(rng.uniform(-spread, spread, shape))
        for shape in ((4096, 2), (4096, 2), (4096,))
    )
    a, b, acc = a.astype(bf16.numpy), b.astype(bf16.numpy), acc.astype(np.float32)
    b[:7, 0], acc[7:14] = -b[:7, 1], 0
    a[:7, 0] = a[:7, 1]  # products that cancel
    np.testing.assert_array_equal(dot2(target, a, b, acc), vdpbf16ps(acc, a, b))


@each_half_target
@pytest.mark.parametrize("values", [
    [0.0, -0.0, 1.0, 3.0e-39, -1e-38, SUBNORMAL, 1e-20, 1e18],
    [0.0, -0.0, 1.0, SUBNORMAL, 1e-20, 1e19, np.inf, -np.inf, np.nan],
], ids=["subnormal", "infinite"])  # fmt: skip
def test_dot2_of_extremes(target: CpuTarget, values: list[float]) -> None:
    """Subnormal numbers may be lost; infinities and NaN are not."""
    grid = np.array([(p, q, r, s) for p in values for q in values for r in values for s in values])
    a, b = (grid[:, n : n + 2].astype(bf16.numpy) for n in (0, 2))
    a, b = (np.resize(x, (-(-len(x) // 64) * 64, 2)) for x in (a, b))
    acc = np.resize(np.array([0, -2e-38, 5.0, 1e-39], np.float32), len(a))
    got, want = dot2(target, a, b, acc), vdpbf16ps(acc, a, b)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    with np.errstate(invalid="ignore"):
        off = np.abs(got.astype(np.float64) - want)
        others = (
            1 + np.abs(a.astype(np.float64)).sum(axis=1) + np.abs(b.astype(np.float64)).sum(axis=1)
        )
        assert (np.isnan(off) | (off <= SUBNORMAL * others)).all()


def test_the_model_rounds_once() -> None:
    """Against fractions: a tie that a sum in f64 would make, and one that it would break."""
    one, tiny = np.float32(1), 2.0**-60
    acc = np.array([1 + 2.0**-23, 1.0, 1 + 2.0**-23], np.float32)
    a = np.array([[tiny, 2.0**-24], [tiny, 2.0**-24], [-tiny, 2.0**-24]]).astype(bf16.numpy)
    ones = np.ones_like(a)
    two_steps = vdpbf16ps(acc, a, ones)
    np.testing.assert_array_equal(two_steps, [1 + 2.0**-22, one, 1 + 2.0**-22])
    below = np.array([SUBNORMAL], np.float32)
    minus = np.array([[0.0, -(2.0**-130)]]).astype(bf16.numpy)
    assert vdpbf16ps(below, minus, np.ones_like(minus)) == below  # subnormal operands are 0
    pair = np.array([[0.0, -(2.0**-65)]]).astype(bf16.numpy), np.array([[0.0, 2.0**-64]])
    assert vdpbf16ps(below, pair[0], pair[1].astype(bf16.numpy)) == 0  # subnormal results too


def text_of(body, dtypes, target: CpuTarget) -> str:  # type: ignore[no-untyped-def]
    module = Module(target)
    with module.phase("phase", 1, [Arg(f"a{n}", d) for n, d in enumerate(dtypes)]) as k:
        body(k)
    return CpuCompiler(target).assembly(module.source())


@pytest.mark.parametrize(("lanes", "register"), [(4, "xmm"), (8, "ymm"), (16, "zmm")])
def test_avx512_bf16_has_one_instruction_for_each(lanes: int, register: str) -> None:
    assembly = text_of(dot2_body(lanes, 1), (bf16, bf16, f32, f32), AVX512_BF16)
    assert assembly.count("vdpbf16ps") == 1 and f"%{register}" in assembly

    def body(k: FunctionBuilder) -> None:
        k.store(k.cast(k.load(k.args["a0"], lanes), bf16), k.args["a1"])

    for source in (f32, f64):
        assembly = text_of(body, (source, bf16), AVX512_BF16)
        assert assembly.count("vcvtneps2bf16") == 1, assembly


def test_avx512_fp16_computes_in_f16() -> None:
    """One instruction for each operation on 32 lanes, and for each conversion of 16.  Kernels take the
    conversions only: sums are f32 by what the ops mean, and pointwise work waits for memory."""

    def body(k: FunctionBuilder) -> None:
        a, b, c = (k.load(k.args[name], 32) for name in ("a0", "a1", "a2"))
        total = k.max(k.min(k.fma(a, b, c) - a * b, 1.0), -1.0)
        k.store(k.sqrt(k.div(total, a) + b), k.args["a3"])
        wide = k.cast(k.load(k.args["a0"], 16), f32)
        k.store(k.cast(k.fma(wide, wide, wide), f16), k.args["a3"].at(32))

    assembly = text_of(body, (f16, f16, f16, f16), AVX512_FP16)
    words = "vfmadd vmulph vsubph vminph vmaxph vdivph vaddph vsqrtph vcvtph2psx vcvtps2phx"
    for word in words.split():
        assert word in assembly, (word, assembly)


def test_the_model_of_the_conversion_is_the_casts_but_for_subnormals() -> None:
    x = np.array([1.00390625, 1.01171875, -3e38, 3.4e38, 1e-38, -1e-45, np.inf], np.float32)
    got = vcvtneps2bf16(x).astype(np.float64)
    want = x.astype(bf16.numpy).astype(np.float64)
    np.testing.assert_array_equal(got, np.where(np.abs(x) < SUBNORMAL, 0, want))
