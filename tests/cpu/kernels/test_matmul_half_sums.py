"""Products that are summed in f16 within a piece of K: against a model of that, and as machine code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.backends.cpu.matmul import blocked
from camshaft.backends.cpu.matmul.blocked import MatmulBlocked
from camshaft.backends.cpu.target import AVX2, AVX512_BF16, AVX512_FP16
from camshaft.ir import expr as E
from camshaft.ir.types import f16, f32
from camshaft.ops import CONV, MATMUL
from kernel_harness import operand_of, params_of, run_kernel
from machine_code import inner_loop, spills

TACTIC = MatmulBlocked()
WIDENS = replace(AVX2, name="avx2 and f16", has_fp16=True)
"""Runs the code; a multiply-add of f16 is one of f32 whose result is rounded."""
SIZES = [(16, 16, 16), (37, 61, 50), (50, 133, 97), (1, 300, 20)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "_FEWEST_MACS", 1)
    monkeypatch.setattr(blocked, "_FEWEST_ROWS", 1)
    monkeypatch.setattr(blocked, "_NARROW_DEPTHS", (40,))
    fma = FunctionBuilder.fma

    def widening(k: FunctionBuilder, a: Value, b: Value, c: Value) -> Value:
        if c.dtype != f16 or k.target is not WIDENS:
            return fma(k, a, b, c)
        return k.cast(fma(k, *(k.cast(x, f32) for x in (a, b, c))), f16)

    monkeypatch.setattr(FunctionBuilder, "fma", widening)


def values(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


def modelled(a: np.ndarray, b: np.ndarray, depth: int) -> np.ndarray:
    """Sums of pieces in f16, one multiply-add at a time, added up in f32."""
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for start in range(0, a.shape[1], depth):
        part = np.zeros(total.shape, np.float16)
        for n in range(start, min(start + depth, a.shape[1])):
            exact = a[:, n, None].astype(np.float64) * b[None, n].astype(np.float64)
            part = (exact + part).astype(np.float32).astype(np.float16)
        total += part.astype(np.float32)
    return total


def spec_of(a: np.ndarray, b: np.ndarray, *more: np.ndarray, epilogue: E.Expr) -> KernelSpec:
    full = MATMUL.complete({"epilogue": epilogue})
    (want,) = MATMUL.reference([a, b, *more], full)
    inputs = (operand_of(a), *(operand_of(o, const=True) for o in (b, *more)))
    return KernelSpec("matmul", inputs, (operand_of(want),), tuple(full.items()))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sums(size: tuple[int, int, int]) -> None:
    m, k, n = size
    a, b = values((m, k), 1), values((k, n), 2)
    spec = spec_of(a, b, epilogue=E.inp(0))
    found = params_of(TACTIC, spec, WIDENS, 2)
    assert found
    for params in found:
        (got,) = run_kernel(TACTIC, spec, params, WIDENS, [a], [b], 2)
        assert np.array_equal(got, modelled(a, b, int(params["depth"]))), params


def test_what_follows_is_f32() -> None:
    a, b, bias = values((21, 70), 1), values((70, 45), 2), np.linspace(-1, 1, 45, dtype=np.float32)
    tanh = E.unary("tanh", E.add(E.inp(0), E.inp(1)))
    spec = spec_of(a, b, bias, epilogue=tanh)
    params = params_of(TACTIC, spec, WIDENS, 1)[0]
    (got,) = run_kernel(TACTIC, spec, params, WIDENS, [a], [b, bias])
    want = np.tanh(modelled(a, b, int(params["depth"])) + bias)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_single_pixels() -> None:
    x, w = values((2, 4, 5, 50), 1), values((36, 1, 1, 50), 2)
    full = CONV.complete({"layout": "NHWC"})
    (want,) = CONV.reference([x, w], full)
    at = tuple((name, v) for name, v in full.items() if name != "layout")
    spec = KernelSpec("conv", (operand_of(x), operand_of(w, const=True)), (operand_of(want),), at)
    params = params_of(TACTIC, spec, WIDENS, 1)[0]
    (got,) = run_kernel(TACTIC, spec, params, WIDENS, [x], [w])
    sums = modelled(x.reshape(-1, 50), w.reshape(36, 50).T, int(params["depth"]))
    assert np.array_equal(got.reshape(-1, 36), sums)


def test_the_code_multiplies_f16() -> None:
    a, b = values((64, 256), 1), values((256, 192), 2)
    spec = spec_of(a, b, epilogue=E.inp(0))
    assert not params_of(TACTIC, spec, AVX512_BF16, 1)
    clean = 0
    for candidate in TACTIC.plan(spec, AVX512_FP16, 1):
        loop = inner_loop(CpuCompiler(AVX512_FP16).assembly(candidate.emit()), "vfmadd")
        tile = int(candidate.params["rows"]) * int(candidate.params["cols"])
        assert sum("vfmadd" in line and "ph" in line for line in loop) == 4 * tile
        clean += not spills(loop)
    assert clean >= 2
