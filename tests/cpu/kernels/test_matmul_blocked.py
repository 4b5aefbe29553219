"""Products blocked over all extents: odd sizes, tails, pieces of K, convolutions of pixels, open rows, all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.matmul import blocked
from camshaft.backends.cpu.matmul.blocked import MatmulBlocked
from camshaft.backends.cpu.target import AVX2, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import f32, i8, u8
from camshaft.ops import CONV, MATMUL
from kernel_harness import SymbolicKernel, operand_of, params_of, run_kernel
from targets import each_target

TACTIC = MatmulBlocked()
X, Y, Z = (E.inp(n) for n in range(3))
GELU = E.mul(E.add(X, Y), E.add(E.unary("erf", E.mul(X, E.const(0.7))), E.const(1.0)))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of test size are large enough, and their K comes in pieces."""
    monkeypatch.setattr(blocked, "_FEWEST_MACS", 1)
    monkeypatch.setattr(blocked, "_DEPTHS", (16, 40))
    monkeypatch.setattr(blocked, "_ITEM_COLUMNS", 48)


def values(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def check(
    target: CpuTarget,
    op: Any,
    arrays: list[np.ndarray],
    const: set[int],
    threads: int = 1,
    changed: dict[str, int] | None = None,
    pitch: int = 0,
    **attrs: Any,
) -> None:
    full = op.complete(attrs)
    (want,) = op.reference(arrays, full)
    inputs = [
        operand_of(a, const=n in const, pitch=pitch if n == 0 else 0) for n, a in enumerate(arrays)
    ]
    at = tuple((k, v) for k, v in full.items() if k != "layout")
    out = operand_of(want, pitch=pitch and want.shape[-1] + 3)
    spec = KernelSpec(op.name, tuple(inputs), (out,), at)
    found = params_of(TACTIC, spec, target, threads)
    assert found
    for params in found:
        variable = [a for n, a in enumerate(arrays) if n not in const]
        consts = [a for n, a in enumerate(arrays) if n in const]
        chosen = {**params, **(changed or {})}
        (got,) = run_kernel(TACTIC, spec, chosen, target, variable, consts, threads)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-4, err_msg=str(chosen))


@each_target
@pytest.mark.parametrize("size", [(16, 16, 1), (37, 61, 50), (50, 33, 97), (100, 128, 64)], ids=str)
def test_matmul(target: CpuTarget, size: tuple[int, int, int]) -> None:
    m, k, n = size
    arrays = [values((m, k), 1), values((k, n), 2), values((n,), 3)]
    check(target, MATMUL, arrays, {1, 2}, threads=3, epilogue=E.add(X, Y))


@each_target
def test_blocks_of_rows_and_gaps(target: CpuTarget) -> None:
    arrays = [values((2, 45, 50), 1), values((50, 70), 2), values((70,), 3), values((2, 45, 70), 4)]
    epilogue = E.add(E.maximum(E.add(X, Y), E.const(0.0)), Z)
    check(target, MATMUL, arrays, {1, 2}, changed={"tiles": 2}, pitch=53, epilogue=epilogue)


@each_target
def test_convolutions_of_single_pixels(target: CpuTarget) -> None:
    arrays = [values((2, 5, 7, 50), 1), values((36, 1, 1, 50), 2), values((36,), 3)]
    check(target, CONV, arrays, {1, 2}, threads=2, layout="NHWC", epilogue=GELU)


@each_target
def test_open_rows(target: CpuTarget) -> None:
    rows = extent_of(Symbol("rows", 1, 40, 90))
    a, b = Operand.dense(f32, (rows, 50)), Operand.dense(f32, (50, 44), True)
    spec = KernelSpec("matmul", (a, b), (Operand.dense(f32, (rows, 44)),), tuple(MATMUL.complete({}).items()))  # fmt: skip
    w = values((50, 44), 1)
    for candidate in TACTIC.plan(spec, target, 2)[:2]:
        kernel = SymbolicKernel(candidate, target)
        for number, m in enumerate((1, 2, 5, 17, 40, 41, 63, 90)):
            x = values((m, 50), m)
            run = kernel.laid_out({"rows": m}, [x], [w], threads=1 + number % 3)
            run.run()
            run.check_guards()
            np.testing.assert_allclose(run.outputs()[0], x @ w, rtol=2e-5, atol=2e-4)
    assert evaluate(rows, {"rows": 3}) == 3


def test_what_it_leaves_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(a: Operand, b: Operand, out: Operand, **attrs: Any) -> int:
        full = tuple(MATMUL.complete(attrs).items())
        return len(TACTIC.plan(KernelSpec("matmul", (a, b), (out,), full), AVX2, 1))

    def dense(*shape: int, const: bool = False) -> Operand:
        return Operand.dense(f32, shape, const)

    assert plan(dense(32, 64), dense(64, 32, const=True), dense(32, 32))
    assert not plan(dense(32, 64), dense(64, 32), dense(32, 32))
    assert not plan(dense(8, 64), dense(64, 32, const=True), dense(8, 32))
    a, b = Operand.dense(u8, (32, 64)), Operand.dense(i8, (64, 32), True)
    assert not plan(a, b, dense(32, 32), epilogue=E.cast(X, f32))
    monkeypatch.setattr(blocked, "_FEWEST_MACS", 1 << 20)
    assert not plan(dense(32, 64), dense(64, 32, const=True), dense(32, 32))
    strided = CONV.complete({"layout": "NHWC", "strides": (2, 2)})
    image, filters = dense(1, 64, 64, 64), dense(64, 1, 1, 64, const=True)
    spec = KernelSpec("conv", (image, filters), (dense(1, 32, 32, 64),), tuple(strided.items()))
    assert not TACTIC.plan(spec, AVX2, 1)
