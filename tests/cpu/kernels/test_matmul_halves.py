"""Matrix products of half floats, and of f32 with half weights: against exact sums, on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.matmul.tactic import Matmul
from camshaft.backends.cpu.target import AVX2, AVX512_BF16, AVX512_FP16, PORTABLE, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import DType, bf16, f16, f32
from camshaft.ops import MATMUL
from kernel_harness import operand_of, params_of, run_kernel
from machine_code import inner_loop, spills

pytestmark = pytest.mark.sampled

TACTIC = Matmul()
Shape = tuple[int, ...]
TYPES = [(bf16, bf16), (f16, f16), (f32, bf16), (f32, f16)]
SIZES = [(1, 64, 50), (7, 33, 16), (29, 5, 37), (3, 1, 130), (50, 20, 1), (2, 17, 9)]

TARGETS = (AVX512_BF16, AVX2, PORTABLE)
SLOW = [
    (PORTABLE, (f16, f16)),
    (PORTABLE, (f32, f16)),
]  # f16 by integer arithmetic: long to compile
QUICK = [(t, pair) for t in TARGETS for pair in TYPES if (t, pair) not in SLOW]

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
each_pair = pytest.mark.parametrize("types", TYPES, ids=lambda t: f"{t[0]}-{t[1]}")
each_quick = pytest.mark.parametrize(
    ("target", "types"), QUICK, ids=lambda x: f"{x[0]}-{x[1]}" if isinstance(x, tuple) else x.name
)
each_source = pytest.mark.parametrize("const", [True, False], ids=["const", "variable"])


def values(dtype: DType, shape: Shape, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype.numpy)


def spec_of(
    a: np.ndarray, b: np.ndarray, const: bool, operands: tuple[np.ndarray, ...] = (), **given: Any
) -> KernelSpec:
    """given: a_operand, b_operand, and attributes."""
    a_operand = given.pop("a_operand", None) or operand_of(a)
    b_operand = given.pop("b_operand", None) or operand_of(b, const=const)
    full = MATMUL.complete(given)
    (want,) = MATMUL.reference([a, b, *operands], full)
    inputs = (a_operand, b_operand, *(operand_of(o, const=True) for o in operands))
    return KernelSpec("matmul", inputs, (operand_of(want),), tuple(full.items()))


def check(
    a: np.ndarray,
    b: np.ndarray,
    target: CpuTarget,
    const: bool = True,
    threads: int = 1,
    every: bool = False,
    operands: tuple[np.ndarray, ...] = (),
    **given: Any,
) -> None:
    """The kernel's result: of sums alone, exact but for the rounding of f32; else the reference's, half
    floats one step off at most."""
    spec = spec_of(a, b, const, operands, **given)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    (want,) = MATMUL.reference([a, b, *operands], dict(spec.attrs))
    most = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    candidates = params_of(TACTIC, spec, target, threads)
    assert candidates
    for params in candidates if every else candidates[:1]:
        consts = [b, *operands] if const else list(operands)
        (got,) = run_kernel(TACTIC, spec, params, target, [a] if const else [a, b], consts, threads)
        assert got.dtype == want.dtype
        if want.dtype == np.float32 and not operands:
            assert (np.abs(got - exact) <= 1e-6 * most + 1e-30).all()
        else:
            step = spec.outputs[0].dtype.step
            np.testing.assert_allclose(
                got.astype(np.float64), want.astype(np.float64), rtol=step, atol=1e-4
            )


@each_target
@pytest.mark.parametrize("size", SIZES, ids=str)
@each_source
@each_pair
def test_products(target: CpuTarget, size: Shape, const: bool, types: tuple[DType, DType]) -> None:
    m, k, n = size
    a, b = values(types[0], (m, k), 1), values(types[1], (k, n), 2)
    check(a, b, target, const, threads=1 + m % 3)


@each_quick
def test_every_candidate(target: CpuTarget, types: tuple[DType, DType]) -> None:
    check(values(types[0], (23, 19), 1), values(types[1], (19, 75), 2), target, every=True)
    check(values(types[0], (1, 90), 1), values(types[1], (90, 175), 2), target, every=True)


@each_source
@each_quick
def test_batches_broadcast(target: CpuTarget, types: tuple[DType, DType], const: bool) -> None:
    for a_shape, b_shape in [((2, 3, 4, 9), (9, 20)), ((3, 1, 4, 9), (2, 9, 20)),
                             ((5, 9), (4, 9, 7)), ((9, 1), (2, 1, 6))]:  # fmt: skip
        a, b = values(types[0], a_shape, 1), values(types[1], b_shape, 2)
        check(a, b, target, const, threads=2)


@each_source
@each_quick
def test_any_strides(target: CpuTarget, types: tuple[DType, DType], const: bool) -> None:
    """Rows with gaps, elements of a row apart, and b turned."""
    a, b = values(types[0], (2, 6, 21), 1), values(types[1], (2, 21, 19), 2)
    turned = Operand(types[1], (2, 21, 19), (21 * 19, 1, 21))
    gaps = Operand(types[0], (2, 6, 21), (6 * 25, 25, 1))
    apart = Operand(types[0], (2, 6, 21), (21 * 8, 1, 8))
    for a_operand in (gaps, apart):
        b_operand = None if const else turned
        check(a, b, target, const, a_operand=a_operand, b_operand=b_operand)


@each_quick
def test_epilogues_see_f32_and_may_round(target: CpuTarget, types: tuple[DType, DType]) -> None:
    a, b = values(types[0], (2, 5, 41), 1), values(types[1], (41, 35), 2)
    bias, residual = values(f32, (35,), 3), values(types[1], (2, 5, 35), 4)
    total = E.add(E.add(E.inp(0), E.inp(1)), E.cast(E.inp(2), f32))
    relu = E.maximum(total, E.const(0.0))
    for out in (f32, bf16, f16):
        epilogue = relu if out == f32 else E.cast(relu, out)
        check(a, b, target, operands=(bias, residual), epilogue=epilogue)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_other_mixtures_have_no_kernel(target: CpuTarget) -> None:
    for x, w in [(bf16, f16), (f16, f32), (bf16, f32)]:
        operands = (Operand.dense(x, (4, 9)), Operand.dense(w, (9, 5)))
        spec = KernelSpec("matmul", operands, (Operand.dense(f32, (4, 5)),))
        assert not TACTIC.plan(spec, target, 1)


@pytest.mark.parametrize("const", [True, False], ids=["const", "variable"])
@pytest.mark.parametrize("m", [1, 3, 64])
def test_avx512_bf16_multiplies_pairs_without_spilling(m: int, const: bool) -> None:
    """Four steps of the reduction in a loop: a `vdpbf16ps` for each accumulator and step, no widening, no
    register saved to memory."""
    spec = spec_of(values(bf16, (m, 256), 1), values(bf16, (256, 512), 2), const)
    for candidate in TACTIC.plan(spec, AVX512_BF16, 1):
        body = inner_loop(CpuCompiler(AVX512_BF16).assembly(candidate.emit()), "vdpbf16ps")
        accumulators = int(candidate.params["rows"]) * int(candidate.params["cols"])
        assert sum("vdpbf16ps" in line for line in body) == 4 * accumulators, candidate.params
        assert not any("(%rsp)" in line or "(%rbp)" in line or "vpsll" in line for line in body)


@pytest.mark.parametrize("target", [AVX512_BF16, AVX2], ids=lambda t: t.name)
@each_pair
def test_a_large_tile_does_not_spill(target: CpuTarget, types: tuple[DType, DType]) -> None:
    """The tuner has one to choose; of a single row the first guess does not spill."""
    for m, least in ((1, 8), (64, 6 if target.registers < 32 else 20)):
        spec = spec_of(values(types[0], (m, 256), 1), values(types[1], (256, 512), 2), True)
        found = []
        for candidate in TACTIC.plan(spec, target, 1)[: None if m > 1 else 1]:
            assembly = CpuCompiler(target).assembly(candidate.emit())
            instruction = "vdpbf16ps" if types == (bf16, bf16) and target.has_bf16 else "vfmadd"
            body = inner_loop(assembly, instruction)
            if len(spills(body)) <= 1:
                found.append(int(candidate.params["rows"]) * int(candidate.params["cols"]))
        assert max(found, default=0) >= least, (m, found)


def test_avx512_fp16_spreads_and_widens_at_once() -> None:
    """One `vcvtph2psx` from memory for each row and step, where others broadcast first."""
    spec = spec_of(values(f16, (8, 256), 1), values(f16, (256, 64), 2), True)
    candidate = TACTIC.plan(spec, AVX512_FP16, 1)[0]
    body = inner_loop(CpuCompiler(AVX512_FP16).assembly(candidate.emit()), "vfmadd")
    rows, cols = int(candidate.params["rows"]), int(candidate.params["cols"])
    widened = [line for line in body if "vcvtph2psx" in line]
    assert sum("{1to16}" in line for line in widened) == 4 * rows
    assert len(widened) == 4 * (rows + cols) and not any("vpbroadcast" in line for line in body)
