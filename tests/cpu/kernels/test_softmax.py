"""Softmax kernels: every axis, short and long rows, strides, extreme values, on all targets."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.reduce.softmax import Softmax
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.ir.types import f32, u8
from camshaft.ops import SOFTMAX
from kernel_harness import operand_of, prepare, run_kernel
from targets import each_target

TACTIC = Softmax()


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_normal(shape) * 8, np.float32)


def check(
    x: np.ndarray, axis: int, log: bool, target: CpuTarget, threads: int = 1, pitch: int = 0
) -> None:
    spec = KernelSpec(
        "softmax",
        (operand_of(x, pitch=pitch),),
        (operand_of(x, pitch=pitch and pitch + 1),),
        (("axis", axis), ("log", log)),
    )
    (want,) = SOFTMAX.reference([x], {"axis": axis, "log": log})
    (got,) = run_kernel(TACTIC, spec, {}, target, [x], [], threads)
    np.testing.assert_allclose(got, want, rtol=3e-6, atol=2e-6 if log else 1e-9)


SHAPES = [
    (3, 1000),
    (40, 128),
    (5, 7),
    (100, 2),
    (33, 3),
    (2, 1, 9, 77),
    (1, 1),
    (6,),
    (2, 300, 5),
    (37, 16),
    (50, 11),
]


@each_target
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("log", [False, True], ids=["softmax", "log"])
def test_along_the_last_axis(target: CpuTarget, shape: tuple[int, ...], log: bool) -> None:
    check(values(shape), -1, log, target, threads=3)


@each_target
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_other_axes(target: CpuTarget, axis: int) -> None:
    check(values((2, 5, 6, 37)), axis, False, target, threads=2)
    check(values((2, 5, 6, 9)), axis, True, target, pitch=13)


@each_target
def test_gappy_rows(target: CpuTarget) -> None:
    check(values((1, 5, 20, 3)), -1, False, target, pitch=7)
    check(values((1, 1, 39, 13)), -1, False, target, pitch=17)
    check(values((1, 5, 4, 70)), -1, True, target, pitch=90)


@each_target
def test_extreme_values(target: CpuTarget) -> None:
    x = values((4, 90))
    x[0, 3], x[1, :] = 3e38, -3e38
    x[2, ::2] = -np.inf
    check(x, -1, False, target)


@each_target
def test_in_place(target: CpuTarget) -> None:
    x = values((3, 400))
    for log in (False, True):
        attrs = {"axis": 1, "log": log}
        spec = KernelSpec("softmax", (operand_of(x),), (operand_of(x),), tuple(attrs.items()))
        p = prepare(TACTIC, spec, {}, target, [x], [])
        p.table[1] = p.table[0]
        p.run()
        (want,) = SOFTMAX.reference([x], attrs)
        np.testing.assert_allclose(p.inputs[0].view(spec.inputs[0]), want, rtol=3e-6, atol=2e-6)


def test_only_f32_is_supported() -> None:
    x = Operand.dense(u8, (2, 3))
    assert not TACTIC.plan(KernelSpec("softmax", (x,), (x,)), AVX512_VNNI, 1)
    x = Operand.dense(f32, ())
    assert not TACTIC.plan(KernelSpec("softmax", (x,), (x,)), AVX512_VNNI, 1)
