"""Resampling kernels: nearest, linear and cubic tables, types, strides, on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.movement.resample import Resample
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import DType, boolean, dtype_of, f32, i8, i32, u8
from camshaft.ops import RESAMPLE
from kernel_harness import operand_of, run_kernel
from targets import each_target

TACTIC = Resample()


def tables(size: int, out: int, taps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and normalised weights of any resize; clamped at the borders as resizes are."""
    rng = np.random.default_rng(seed)
    at = np.floor((np.arange(out) + 0.5) * size / out - 0.5).astype(int)[:, None]
    index = np.clip(at + np.arange(taps) - (taps - 1) // 2, 0, size - 1)
    weight = rng.random((out, taps)).astype(np.float32)
    return index.astype(np.int32), weight / weight.sum(1, keepdims=True, dtype=np.float32)


def check(
    x: np.ndarray,
    out: tuple[int, int],
    taps: int,
    target: CpuTarget,
    threads: int = 1,
    pitch: int = 0,
    epilogue: E.Expr | None = None,
    operands: tuple[np.ndarray, ...] = (),
) -> None:
    consts = [*tables(x.shape[1], out[0], taps, 1), *tables(x.shape[2], out[1], taps, 2)]
    attrs: dict[str, Any] = {"epilogue": epilogue or E.inp(0)}
    arrays = [x, *consts, *operands]
    (want,) = RESAMPLE.reference(arrays, {"layout": "NHWC", **attrs})
    spec = KernelSpec(
        "resample",
        (
            operand_of(x, pitch=pitch),
            *(operand_of(c, const=True) for c in consts),
            *(operand_of(a) for a in operands),
        ),
        (operand_of(want, pitch=pitch and pitch + 4),),
        tuple(attrs.items()),
    )
    (got,) = run_kernel(TACTIC, spec, {}, target, [x, *operands], consts, threads)
    assert got.dtype == want.dtype
    if want.dtype == np.float32 and taps > 1:
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(got, want)


def values(dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray((np.random.default_rng(0).standard_normal(shape) * 60).astype(dtype.numpy))


@each_target
@pytest.mark.parametrize("dtype", [f32, u8, i32, boolean], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 37, 130])
def test_nearest_copies(target: CpuTarget, dtype: DType, channels: int) -> None:
    check(values(dtype, (2, 5, 7, channels)), (10, 14), 1, target, threads=3)


@each_target
@pytest.mark.parametrize("taps", [2, 4])
def test_blending_f32(target: CpuTarget, taps: int) -> None:
    check(values(f32, (1, 6, 5, 70)), (9, 17), taps, target, threads=2, pitch=75)
    check(values(f32, (1, 8, 9, 3)), (4, 3), taps, target)


@each_target
@pytest.mark.parametrize("dtype", [u8, i8], ids=str)
def test_blending_8_bit_integers_to_the_bit(target: CpuTarget, dtype: DType) -> None:
    check(values(dtype, (1, 6, 5, 39)), (9, 17), 2, target, threads=2)


@each_target
def test_epilogue_with_operand(target: CpuTarget) -> None:
    x = values(u8, (1, 4, 4, 21))
    other = values(f32, (8, 8, 21))
    total = E.add(E.cast(E.inp(0), f32), E.inp(1))
    check(x, (8, 8), 1, target, epilogue=E.quantize(total, E.const(0.5), 3, u8), operands=(other,))


def test_support() -> None:
    def spec(dtype: DType, taps: int, const: bool) -> KernelSpec:
        x = Operand.dense(dtype, (1, 2, 2, 4))
        index, weight = tables(2, 2, taps, 0)
        one = (Operand.dense(dtype_of(a), a.shape, const) for a in (index, weight, index, weight))
        return KernelSpec("resample", (x, *one), (x,))

    assert TACTIC.plan(spec(u8, 2, True), AVX512_VNNI, 1)
    assert not TACTIC.plan(spec(u8, 4, True), AVX512_VNNI, 1)  # overshoots the range
    assert not TACTIC.plan(spec(i32, 2, True), AVX512_VNNI, 1)
    assert TACTIC.plan(spec(f32, 2, False), AVX512_VNNI, 1)  # tables of open extents are computed
