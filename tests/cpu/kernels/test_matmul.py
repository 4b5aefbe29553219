"""Matrix product kernels: FP32 and exact INT8, batches, tails, strides, on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.backends.cpu.matmul.tactic import Matmul
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import DType, dtype_of, f32, i8, i32, u8
from camshaft.ops import MATMUL
from kernel_harness import operand_of, params_of, run_kernel
from targets import each_target

pytestmark = pytest.mark.sampled

TACTIC = Matmul()
Shape = tuple[int, ...]


def values(dtype: DType, shape: Shape, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == f32:
        return rng.standard_normal(shape, np.float32)
    low, high = dtype.range
    return rng.integers(low, high, shape, dtype.numpy, endpoint=True)


def check(
    a: np.ndarray,
    b: np.ndarray,
    target: CpuTarget,
    const: bool = True,
    threads: int = 1,
    every: bool = False,
    pitch: int = 0,
    b_operand: Operand | None = None,
    operands: tuple[np.ndarray, ...] = (),
    quantum: int = 0,
    **attrs: Any,
) -> None:
    full = MATMUL.complete(attrs)
    (want,) = MATMUL.reference([a, b, *operands], full)
    spec = KernelSpec(
        "matmul",
        (
            operand_of(a, pitch=pitch),
            b_operand or operand_of(b, const=const),
            *(operand_of(o, const=True) for o in operands),
        ),
        (operand_of(want, pitch=pitch and want.shape[-1] + 3),),
        tuple(full.items()),
    )
    candidates = params_of(TACTIC, spec, target, threads)
    for params in candidates if every else candidates[:1]:
        consts = [b, *operands] if const else list(operands)
        (got,) = run_kernel(TACTIC, spec, params, target, [a] if const else [a, b], consts, threads)
        assert got.dtype == want.dtype == dtype_of(want).numpy
        if want.dtype == np.float32:
            exact = a.astype(np.float64) @ b.astype(np.float64)
            expected = want if operands or attrs else exact
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * a.shape[-1] ** 0.5)
        else:
            assert np.abs(got.astype(np.int64) - want).max() <= quantum


SIZES = [(1, 64, 50), (7, 33, 16), (29, 5, 37), (3, 1, 130), (50, 20, 1)]


@each_target
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("const", [True, False], ids=["const", "variable"])
def test_f32(target: CpuTarget, size: Shape, const: bool) -> None:
    m, k, n = size
    check(values(f32, (m, k), 1), values(f32, (k, n), 2), target, const, threads=3)


@each_target
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("const", [True, False], ids=["const", "variable"])
@pytest.mark.parametrize("types", [(u8, i8), (i8, i8), (u8, u8), (i8, u8)], ids=str)
def test_integers_to_the_bit(
    target: CpuTarget, size: Shape, const: bool, types: tuple[DType, DType]
) -> None:
    m, k, n = size
    zeros = {"a_zero_point": 5 if types[0] == u8 else -3, "b_zero_point": 7 * (k % 2)}
    check(values(types[0], (m, k), 1), values(types[1], (k, n), 2), target, const, **zeros)


@each_target
@pytest.mark.parametrize("types", [(f32, f32), (u8, i8)], ids=str)
def test_every_candidate(target: CpuTarget, types: tuple[DType, DType]) -> None:
    check(values(types[0], (23, 18), 1), values(types[1], (18, 75), 2), target, every=True)
    check(values(types[0], (1, 90), 1), values(types[1], (90, 175), 2), target, every=True)


@each_target
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shapes", [
    ((41, 18), (18, 75)), ((200, 7), (7, 16)), ((2, 3, 33, 9), (3, 9, 40)), ((3, 16, 1), (1, 50)),
], ids=str)  # fmt: skip
def test_panels_that_workers_pack(
    target: CpuTarget, shapes: tuple[Shape, Shape], threads: int
) -> None:
    """Also where a worker begins in the middle of a panel's rows."""
    a, b = (values(f32, s, n) for n, s in enumerate(shapes))
    check(a, b, target, const=False, threads=threads, every=True, pitch=a.shape[-1] + 5)
    halves = b.astype(np.float16)
    full = MATMUL.complete({})
    (want,) = MATMUL.reference([a, halves], full)
    operands = (operand_of(a), operand_of(halves))
    spec = KernelSpec("matmul", operands, (operand_of(want),), tuple(full.items()))
    packing = [p for p in params_of(TACTIC, spec, target, threads) if p.get("packs")]
    assert packing or b.shape[-1] <= target.lanes(f32)  # of one panel there is nothing to pack
    for params in packing:
        (got,) = run_kernel(TACTIC, spec, params, target, [a, halves], [], threads)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@each_target
@pytest.mark.parametrize("types", [(f32, f32), (u8, i8)], ids=str)
@pytest.mark.parametrize("const", [True, False], ids=["const", "variable"])
def test_batches_broadcast(target: CpuTarget, types: tuple[DType, DType], const: bool) -> None:
    for a_shape, b_shape in [((2, 3, 4, 9), (9, 20)), ((3, 1, 4, 9), (2, 9, 20)), ((5, 9), (4, 9, 7)),
                             ((2, 3, 4, 9), (2, 1, 9, 5)), ((3, 1, 9), (3, 9, 6)), ((9, 1), (2, 1, 6))]:  # fmt: skip
        a, b = values(types[0], a_shape, 1), values(types[1], b_shape, 2)
        check(a, b, target, const, threads=2)


@each_target
@pytest.mark.parametrize("types", [(f32, f32), (u8, i8), (u8, u8)], ids=str)
@pytest.mark.parametrize(("k", "column"), [(21, 21), (24, 24), (22, 28)])
def test_transposed_right_operand_and_gaps(
    target: CpuTarget, types: tuple[DType, DType], k: int, column: int
) -> None:
    """Also where four bytes of a column are a word of memory, and where some are left over."""
    a, b = values(types[0], (2, 6, k), 1), values(types[1], (2, k, 19), 2)
    turned = Operand(types[1], (2, k, 19), (column * 19, 1, column))
    check(a, b, target, const=False, b_operand=turned, pitch=32)


@each_target
def test_epilogues(target: CpuTarget) -> None:
    a, b = values(u8, (2, 5, 40), 1), values(i8, (40, 35), 2)
    scale = np.abs(values(f32, (35,), 3)) * np.float32(0.01)
    bias = values(f32, (5, 1), 4)
    total = E.add(E.mul(E.cast(E.inp(0), f32), E.inp(1)), E.inp(2))
    requantized = E.quantize(total, E.const(0.9), 100, u8)
    check(a, b, target, operands=(scale, bias), epilogue=requantized, a_zero_point=3, quantum=1)
    relu = E.maximum(E.add(E.inp(0), E.inp(1)), E.const(0.0))
    check(values(f32, (9, 40), 1), values(f32, (40, 35), 2), target, operands=(bias[0:1, 0],),
          epilogue=relu)  # fmt: skip


def test_a_stack_of_rows_times_one_matrix_is_one_tall_product() -> None:
    def rows(b_shape: Shape) -> Shape:
        operands = (Operand.dense(f32, (2, 3, 4, 9)), Operand.dense(f32, b_shape))
        out = (Operand.dense(f32, (2, 3, 4, 5)),)
        return MatmulProblem.of(KernelSpec("matmul", operands, out)).rows

    assert rows((9, 5)) == (24,)
    assert rows((3, 9, 5)) == (2, 3, 4)


def test_mixed_types_are_not_supported() -> None:
    operands = (Operand.dense(f32, (4, 9)), Operand.dense(i8, (9, 5)))
    spec = KernelSpec("matmul", operands, (Operand.dense(i32, (4, 5)),))
    assert not TACTIC.plan(spec, AVX512_VNNI, 1)
