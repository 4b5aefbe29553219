"""Reduction kernels: every subset of axes, kinds, types, strides, epilogues, on all targets."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.reduce.tactic import Reduce
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import DType, boolean, dtype_of, f32, i8, i32, i64, u8
from camshaft.ops import REDUCE
from kernel_harness import operand_of, run_kernel
from targets import each_target

TACTIC = Reduce()
SUBSETS = [s for n in (1, 2, 3, 4) for s in combinations(range(4), n)]


def values(dtype: DType, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray((rng.standard_normal(shape) * 9).astype(dtype.numpy))


def check(
    x: np.ndarray,
    target: CpuTarget,
    kind: str = "sum",
    threads: int = 1,
    pitch: int = 0,
    operands: tuple[np.ndarray, ...] = (),
    **attrs: Any,
) -> None:
    full = REDUCE.complete({"kind": kind, **attrs})
    (want,) = REDUCE.reference([x, *operands], full)
    spec = KernelSpec(
        "reduce",
        (operand_of(x, pitch=pitch), *(operand_of(a) for a in operands)),
        (Operand.dense(dtype_of(want), want.shape),),
        tuple(full.items()),
    )
    (got,) = run_kernel(TACTIC, spec, {}, target, [x, *operands], [], threads)
    assert got.dtype == want.dtype
    if want.dtype == np.float32:
        size = float(np.abs(x).max()) * np.sqrt(x.size) if kind == "sum" else 0.0
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * size)
    else:
        np.testing.assert_array_equal(got, want)


@each_target
@pytest.mark.parametrize("axes", SUBSETS, ids=str)
def test_subsets_of_axes(target: CpuTarget, axes: tuple[int, ...]) -> None:
    check(values(f32, (2, 5, 6, 37)), target, axes=axes, threads=3)
    check(values(f32, (2, 5, 6, 3)), target, "max", axes=axes, keepdims=False, pitch=5)


@each_target
@pytest.mark.parametrize("dtype", [f32, u8, i8, i32, i64], ids=str)
@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
def test_kinds_and_types(target: CpuTarget, dtype: DType, kind: str) -> None:
    x = values(dtype, (3, 5, 70))
    if kind == "prod" and dtype == f32:
        x = x / np.float32(8)
    for axes in ((1,), (2,), (0, 2)):
        check(x, target, kind, axes=axes)


@each_target
@pytest.mark.parametrize("shape", [(3, 40000), (40000, 3)], ids=str)
def test_long_sums_stay_accurate(target: CpuTarget, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    axis = int(np.argmax(shape))
    spec_axes = {"axes": (axis,)}
    full = REDUCE.complete({"kind": "sum", **spec_axes})
    (want,) = REDUCE.reference([x], full)
    out = Operand.dense(f32, want.shape)
    spec = KernelSpec("reduce", (operand_of(x),), (out,), tuple(full.items()))
    (got,) = run_kernel(TACTIC, spec, {}, target, [x], [], 1)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@each_target
def test_prologue_and_epilogue_operands(target: CpuTarget) -> None:
    x, scale, other = values(f32, (2, 9, 37)), values(f32, (37,), 1), values(f32, (2, 1, 1), 2)
    square = E.mul(E.inp(0), E.inp(0))
    last = E.add(E.mul(E.unary("sqrt", E.inp(0)), E.inp(1)), E.inp(2))
    check(x, target, axes=(1,), prologue=square, epilogue=last, operands=(scale, other))
    pooled = E.quantize(E.inp(0), E.const(0.5), 9, u8)
    check(x, target, "max", axes=(2,), epilogue=pooled, threads=2)
    mean = E.mul(E.inp(0), E.inp(1))
    check(x, target, axes=(-1,), epilogue=mean, operands=(values(f32, (9, 1), 1),), keepdims=True)


def test_bools_are_not_supported() -> None:
    x = Operand.dense(boolean, (2, 3))
    full = REDUCE.complete({"kind": "max", "axes": (1,)})
    out = Operand.dense(boolean, (2, 1))
    assert not TACTIC.plan(KernelSpec("reduce", (x,), (out,), tuple(full.items())), AVX512_VNNI, 1)
