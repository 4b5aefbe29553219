"""Pooling kernels against the op's reference: windows, paddings, types, epilogues, all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.pool.whole import PoolGlobal
from camshaft.backends.cpu.pool.window import PoolWindow
from camshaft.backends.cpu.target import AVX2, AVX512_BF16, AVX512_VNNI, PORTABLE, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import HALVES, DType, TensorType, dtype_of, f32, i8, i16, i32, u8, u16
from camshaft.ops import POOL
from kernel_harness import operand_of, params_of, run_kernel
from targets import each_target


def values(dtype: DType, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray((rng.standard_normal(shape) * 60).astype(dtype.numpy))


def check(
    tactic: Any,
    target: CpuTarget,
    x: np.ndarray,
    attrs: dict[str, Any],
    operands: tuple[np.ndarray, ...] = (),
    threads: int = 1,
    pitch: int = 0,
    quantum: int = 0,
    every: bool = False,
) -> None:
    full = POOL.complete({"layout": "NHWC", **attrs})
    (want,) = POOL.reference([x, *operands], full)
    (kind,) = POOL.infer([TensorType(dtype_of(a), a.shape) for a in (x, *operands)], full)
    out = operand_of(want, pitch=want.shape[3] + 5 if pitch else 0)
    extra = [operand_of(a, const=n == 0) for n, a in enumerate(operands)]
    spec = KernelSpec(
        "pool",
        (operand_of(x, pitch=pitch), *extra),
        (Operand(kind.dtype, kind.shape, out.strides),),
        tuple((k, v) for k, v in sorted(full.items()) if k != "layout"),
    )
    candidates = params_of(tactic, spec, target, threads)
    for params in candidates if every else candidates[:1]:
        (got,) = run_kernel(
            tactic, spec, params, target, [x, *operands[1:]], list(operands[:1]), threads
        )
        assert got.dtype == want.dtype
        if want.dtype == np.float32 and attrs["kind"] == "avg":
            np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-5)
        elif quantum:
            assert np.abs(got.astype(int) - want).max() <= quantum
        else:
            np.testing.assert_array_equal(got, want)


WINDOWS: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "3x3 s2 as in ResNet": (
        (17, 18, 37),
        {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)},
    ),
    "ceil as in GoogLeNet": (
        (14, 15, 20),
        {"kernel": (3, 3), "strides": (2, 2), "ceil_mode": True},
    ),
    "3x3 s1 same": ((7, 13, 64), {"kernel": (3, 3), "pads": (1, 1, 1, 1)}),
    "asymmetric pads, oblong": (
        (9, 11, 5),
        {"kernel": (2, 5), "strides": (1, 3), "pads": (0, 2, 1, 4)},
    ),
    "dilated": ((13, 12, 17), {"kernel": (3, 2), "dilations": (2, 3), "pads": (2, 1, 2, 1)}),
    "window beyond the image": ((3, 4, 8), {"kernel": (5, 7), "pads": (2, 3, 3, 3)}),
    "13x13 as in SPP": ((6, 8, 9), {"kernel": (13, 13), "pads": (6, 6, 6, 6)}),
    "ceil with padding": (
        (10, 10, 3),
        {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 0, 1, 2), "ceil_mode": True},
    ),
    "ceil, window beyond the image": (
        (3, 4, 20),
        {"kernel": (5, 5), "strides": (3, 2), "ceil_mode": True},
    ),
}


@each_target
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_windows(target: CpuTarget, window: str, kind: str) -> None:
    hwc, attrs = WINDOWS[window]
    x = values(f32, (2, *hwc))
    check(PoolWindow(), target, x, {"kind": kind, **attrs}, threads=3)
    if kind == "avg":
        check(PoolWindow(), target, x, {"kind": kind, "count_include_pad": True, **attrs})


@each_target
@pytest.mark.parametrize("dtype", [u16, i16], ids=str)
def test_largest_of_16_bit_elements(target: CpuTarget, dtype: DType) -> None:
    attrs = {"kind": "max", "kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    rng = np.random.default_rng(0)
    for channels in (70, 6):
        x = rng.integers(*dtype.range, (1, 9, 12, channels), dtype.numpy, endpoint=True)
        check(PoolWindow(), target, x, attrs, threads=2, pitch=channels + 3, every=True)


@each_target
@pytest.mark.parametrize("dtype", [u8, i8], ids=str)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_8_bit_elements(target: CpuTarget, dtype: DType, kind: str) -> None:
    attrs = {"kind": kind, "kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    if kind == "avg":
        attrs["x_zero_point"] = 7
    for channels in (70, 6):
        x = values(dtype, (1, 9, 12, channels))
        check(PoolWindow(), target, x, attrs, threads=2, pitch=channels + 3, every=True)


@pytest.mark.parametrize("target", [AVX512_BF16, AVX2, PORTABLE], ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_halves(target: CpuTarget, dtype: DType, kind: str) -> None:
    """Maxima of halves are halves, averages f32; the epilogue may round those."""
    attrs = {"kind": kind, "kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    for channels in (70, 5):
        x = values(dtype, (1, 9, 12, channels))
        check(PoolWindow(), target, x, attrs, threads=2, pitch=channels + 3)
    for h, w, c, pitch in [(7, 7, 83, 0), (1, 1, 40, 0), (20, 31, 24, 29)]:
        x = values(dtype, (2, h, w, c))
        check(PoolGlobal(), target, x, {"kind": kind, "kernel": (h, w)}, threads=3, pitch=pitch)
    (anchor,) = POOL.infer(
        [TensorType(dtype, (1, 9, 12, 5))], POOL.complete({"layout": "NHWC", **attrs})
    )
    assert anchor.dtype == (dtype if kind == "max" else f32)


@each_target
def test_channel_blocks_of_long_rows(target: CpuTarget) -> None:
    x = values(f32, (1, 3, 60, 200))
    attrs = {"kind": "max", "kernel": (3, 3), "pads": (1, 1, 1, 1)}
    check(PoolWindow(), target, x, attrs, threads=3, every=True)


@each_target
@pytest.mark.parametrize("dtype", [f32, u8, i8, i32], ids=str)
def test_global(target: CpuTarget, dtype: DType) -> None:
    for h, w, c, pitch in [(7, 7, 83, 0), (1, 1, 40, 0), (20, 31, 24, 0), (5, 6, 10, 13)]:
        x = values(dtype, (2, h, w, c))
        attrs = {"kernel": (h, w)}
        check(PoolGlobal(), target, x, {"kind": "max", **attrs}, threads=2, pitch=pitch)
        if dtype != i32:
            check(PoolGlobal(), target, x, {"kind": "avg", **attrs}, threads=2, pitch=pitch)


@each_target
@pytest.mark.parametrize("tactic", [PoolWindow(), PoolGlobal()], ids=lambda t: t.name)
def test_requantizing_epilogue_with_operands(target: CpuTarget, tactic: Any) -> None:
    x = values(u8, (1, 6, 5, 39))
    attrs = {"kernel": (6, 5), "x_zero_point": 3, "kind": "avg"}
    scale, other = values(f32, (39,), 1), values(u8, (1, 1, 1, 39), 2)
    expr = E.add(E.mul(E.inp(0), E.inp(1)), E.cast(E.inp(2), f32))
    epilogue = E.quantize(expr, E.const(20.0), 128, u8)
    check(tactic, target, x, {**attrs, "epilogue": epilogue}, (scale, other), quantum=1)


def test_support() -> None:
    x = Operand.dense(i32, (1, 4, 4, 8))
    attrs = {"kind": "avg", "kernel": (2, 2)}
    spec = KernelSpec("pool", (x,), (Operand.dense(f32, (1, 3, 3, 8)),), tuple(attrs.items()))
    assert not PoolWindow().plan(spec, AVX512_VNNI, 1)  # sums of i32 could overflow
    assert not PoolGlobal().plan(spec, AVX512_VNNI, 1)
