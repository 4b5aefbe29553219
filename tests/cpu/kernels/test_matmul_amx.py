"""Matrix products on AMX's tiles, without a machine that has them.

`tile_interpreter` runs everything but the tiles as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu import processor
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.matmul.amx import MatmulAmx
from camshaft.backends.cpu.processor import host_features
from camshaft.backends.cpu.target import AMX, AVX512_FP16, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, bf16, dtype_of, f32, i8, u8
from camshaft.ops import MATMUL
from half_models import tdpbf16ps
from kernel_harness import operand_of
from machine_code import inner_loop, spills
from tile_interpreter import INTERPRETED, interpreted

TACTIC = MatmulAmx()
Shape = tuple[int, ...]


def values(dtype: DType, shape: Shape, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.is_float:
        return rng.standard_normal(shape).astype(dtype.numpy)
    return rng.integers(*dtype.range, shape, dtype.numpy, endpoint=True)


def check(
    a: np.ndarray, b: np.ndarray, operands: tuple[np.ndarray, ...] = (), threads: int = 1,
    a_operand: Operand | None = None, **attrs: Any,
) -> None:  # fmt: skip
    """Every candidate against the reference: integers to the bit, floats to the rounding of f32 sums."""
    full = MATMUL.complete(attrs)
    (want,) = MATMUL.reference([a, b, *operands], full)
    inputs = (a_operand or operand_of(a), operand_of(b, const=True))
    inputs += tuple(operand_of(o, const=True) for o in operands)
    spec = KernelSpec("matmul", inputs, (operand_of(want),), tuple(full.items()))
    candidates = TACTIC.plan(spec, INTERPRETED, threads)
    assert candidates
    for candidate in candidates:
        got, tiles = interpreted(candidate, {}, [a], [b, *operands], threads)
        assert got.dtype == want.dtype
        if want.dtype == np.float32:
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * a.shape[-1] ** 0.5)
        elif dtype_of(want).is_float:
            np.testing.assert_allclose(
                got.astype(float), want.astype(float), rtol=bf16.step, atol=1e-4
            )
        else:
            np.testing.assert_array_equal(got, want)
        loads = tiles.counts["tdpbf16ps"] + tiles.counts["tdpbusd"]
        assert loads >= -(-a.shape[-1] // (64 // a.itemsize)), tiles.counts


SIZES = [(1, 64, 50), (7, 33, 16), (50, 5, 37), (3, 1, 130), (33, 96, 20), (2, 65, 1)]
TYPES = [(bf16, bf16), (u8, i8), (i8, i8)]
each_pair = pytest.mark.parametrize("types", TYPES, ids=lambda t: f"{t[0]}-{t[1]}")


@each_pair
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products(size: Shape, types: tuple[DType, DType]) -> None:
    m, k, n = size
    zeros = {} if types[0].is_float else {"a_zero_point": 5 if types[0] == u8 else -3}
    a, b = values(types[0], (m, k), 1), values(types[1], (k, n), 2)
    check(a, b, threads=1 + m % 3, **zeros)


@each_pair
def test_batches_strides_and_epilogues(types: tuple[DType, DType]) -> None:
    a, b = values(types[0], (2, 3, 4, 9), 1), values(types[1], (3, 9, 20), 2)
    check(a, b, threads=2)
    gaps = Operand(types[0], (2, 6, 21), (6 * 25, 25, 1))
    a, b = values(types[0], (2, 6, 21), 1), values(types[1], (21, 19), 2)
    bias = values(f32, (19,), 3)
    wide = E.inp(0) if types[0].is_float else E.cast(E.inp(0), f32)
    total = E.add(E.mul(wide, E.const(0.125)), E.inp(1))
    check(a, b, (bias,), a_operand=gaps, epilogue=E.maximum(total, E.const(0.0)))
    check(a, b, (bias,), a_operand=gaps, epilogue=E.cast(total, bf16))


M = extent_of(Symbol("m", 1, 20, 80))


@each_pair
def test_any_number_of_rows(types: tuple[DType, DType]) -> None:
    inputs = (Operand.dense(types[0], (M, 40)), Operand.dense(types[1], (40, 50), True))
    out = Operand.dense(types[0].accumulator, (M, 50))
    spec = KernelSpec("matmul", inputs, (out,), tuple(MATMUL.complete({}).items()))
    b = values(types[1], (40, 50), 2)
    for candidate in TACTIC.plan(spec, INTERPRETED, 2):
        for m in (1, 16, 33, 80):
            a = values(types[0], (m, 40), m)
            got, _ = interpreted(candidate, {"m": m}, [a], [b], 1 + m % 3)
            (want,) = MATMUL.reference([a, b], MATMUL.complete({}))
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_the_model_of_tdpbf16ps() -> None:
    """Against exact sums, and in the order that the manual gives: even and odd products apart."""
    a, b = values(bf16, (16, 16, 2), 1), values(bf16, (16, 16, 2), 2)
    acc = values(f32, (16, 16), 3)
    exact = acc + np.einsum("mkg,kng->mn", a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_allclose(tdpbf16ps(acc, a, b), exact, rtol=1e-5, atol=1e-5)
    a, b = np.ones((1, 2, 2)).astype(bf16.numpy), np.ones((2, 1, 2)).astype(bf16.numpy)
    a[0, :, 0] = [2.0**24, 1]
    b[1, 0, 1] = -1
    start = np.zeros((1, 1), np.float32)  # (2^24 + 1) + (1 - 1), the first of which is 2^24
    assert tdpbf16ps(start, a, b) == 2.0**24


@each_pair
@pytest.mark.parametrize("m", [1, 64])
def test_the_code_for_amx(m: int, types: tuple[DType, DType]) -> None:
    """A product for each pair of tiles, tiles loaded once a step, and nothing else in the loop over K."""
    a, b = values(types[0], (m, 256), 1), values(types[1], (256, 96), 2)
    inputs = (operand_of(a), operand_of(b, const=True))
    out = Operand.dense(types[0].accumulator, (m, 96))
    spec = KernelSpec("matmul", inputs, (out,), tuple(MATMUL.complete({}).items()))
    name = "tdpbf16ps" if types[0] == bf16 else "tdpbusd"
    for candidate in TACTIC.plan(spec, AMX, 1):
        body = inner_loop(CpuCompiler(AMX).assembly(candidate.emit()), name)
        rows, cols = int(candidate.params["rows"]), int(candidate.params["cols"])
        count = {word: sum(word in line for line in body) for word in (name, "tileloadd")}
        assert count[name] == rows * cols and count["tileloadd"] == rows + cols
        assert not spills(body) and not any("zmm" in line for line in body)


@pytest.mark.parametrize("change", ["target", "variable", "zero point", "f16", "apart"])
def test_what_it_leaves_to_others(change: str) -> None:
    kind = {"f16": (f32, bf16), "zero point": (u8, i8)}.get(change, (bf16, bf16))
    target: CpuTarget = AVX512_FP16 if change == "target" else AMX
    strides = (1, 8) if change == "apart" else (64, 1)
    a = Operand(kind[0], (8, 64), strides)
    b = Operand.dense(kind[1], (64, 32), change != "variable")
    zeros = {"b_zero_point": 3} if change == "zero point" else {}
    attrs = tuple(MATMUL.complete(zeros).items())
    spec = KernelSpec("matmul", (a, b), (Operand.dense(kind[0].accumulator, (8, 32)),), attrs)
    assert not TACTIC.plan(spec, target, 1)


@pytest.fixture
def asked_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """`host_features` forgets what it found, before and after."""
    host_features.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    host_features.cache_clear()


@pytest.mark.parametrize("granted", [True, False])
def test_tiles_are_features_where_the_system_permits_them(
    granted: bool, asked_again: pytest.MonkeyPatch
) -> None:
    has = dict.fromkeys(AMX.requires, True)
    asked: list[int] = []
    asked_again.setattr(processor.binding, "get_host_cpu_features", lambda: has)
    asked_again.setattr(processor, "request_tiles", lambda: asked.append(1) or granted)
    assert ("amx-tile" in host_features()) == granted
    assert "avx512bf16" in host_features() and len(asked) == 1
    assert processor.host_target().name == ("amx" if granted else "avx512fp16")


def test_asking_for_tiles_does_no_harm_where_there_are_none() -> None:
    processor.request_tiles.cache_clear()
    if "amx-tile" not in host_features():
        assert not processor.request_tiles()
