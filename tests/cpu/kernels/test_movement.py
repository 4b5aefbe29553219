"""Pad and gather kernels: modes, axes, types, strides, on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.movement.tactics import Gather, Pad, PadProblem
from camshaft.backends.cpu.target import AVX512_VNNI, CpuTarget
from camshaft.ir.types import DType, boolean, f16, f32, i32, i64, u8
from camshaft.ops import GATHER, PAD
from kernel_harness import operand_of, run_kernel
from targets import each_target

Shape = tuple[int, ...]


def values(dtype: DType, shape: Shape) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray((rng.standard_normal(shape) * 60).astype(dtype.numpy))


def check_pad(
    x: np.ndarray,
    pads: list[tuple[int, int]],
    target: CpuTarget,
    mode: str = "constant",
    value: float = 0.0,
    threads: int = 1,
    pitch: int = 0,
) -> None:
    attrs: dict[str, Any] = {
        "before": tuple(b for b, _ in pads),
        "after": tuple(a for _, a in pads),
        "mode": mode,
        "value": value,
    }
    (want,) = PAD.reference([x], attrs)
    out = operand_of(want, pitch=pitch and pitch + 6)
    spec = KernelSpec("pad", (operand_of(x, pitch=pitch),), (out,), tuple(attrs.items()))
    (got,) = run_kernel(Pad(), spec, {}, target, [x], [], threads)
    np.testing.assert_array_equal(got, want)


IMAGE = [(0, 0), (1, 2), (3, 0), (0, 0)]


@each_target
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_image_borders(target: CpuTarget, mode: str) -> None:
    x = values(f32, (2, 4, 5, 37))
    check_pad(x, IMAGE, target, mode, threads=3)
    check_pad(values(u8, (1, 4, 5, 3)), IMAGE, target, mode, value=7.0, pitch=5)


@each_target
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_every_axis(target: CpuTarget, mode: str) -> None:
    pads = [(1, 0), (2, 3), (5, 4)]
    check_pad(values(f32, (2, 4, 6)), pads, target, mode, value=-2.5)
    check_pad(values(i64, (2, 4, 1)), [(0, 0), (0, 0), (2, 1)], target, mode, value=3)


@each_target
@pytest.mark.parametrize("dtype", [f32, f16, boolean, u8], ids=str)
def test_pad_values_keep_their_bits(target: CpuTarget, dtype: DType) -> None:
    value = float("-inf") if dtype.is_float else 1.0
    check_pad(values(dtype, (3, 21)), [(0, 0), (1, 9)], target, value=value)
    check_pad(values(dtype, (3, 200)), [(1, 0), (0, 0)], target, value=value, threads=2)


@each_target
def test_pad_of_strided_rows(target: CpuTarget) -> None:
    x = values(u8, (4, 3, 1))
    attrs: dict[str, Any] = {"before": (0, 1, 1), "after": (1, 0, 0), "mode": "edge", "value": 0.0}
    (want,) = PAD.reference([x], attrs)
    turned = Operand(u8, x.shape, (1, 5, 4))
    spec = KernelSpec("pad", (turned,), (operand_of(want),), tuple(attrs.items()))
    (got,) = run_kernel(Pad(), spec, {}, target, [x], [])
    np.testing.assert_array_equal(got, want)


def test_pad_rows_take_in_unpadded_channels() -> None:
    x = Operand.dense(f32, (1, 4, 5, 8))
    out = Operand.dense(f32, (1, 7, 8, 8))
    attrs = (("before", (0, 1, 3, 0)), ("after", (0, 2, 0, 0)), ("mode", "constant"))
    p = PadProblem.of(KernelSpec("pad", (x,), (out,), attrs))
    assert (p.shape, p.before) == ((1, 4, 40), (0, 1, 24))


def check_gather(
    x: np.ndarray,
    index: np.ndarray,
    axis: int,
    target: CpuTarget,
    const: tuple[bool, bool] = (False, False),
    threads: int = 1,
    pitch: int = 0,
) -> None:
    (want,) = GATHER.reference([x, index], {"axis": axis})
    operands = (operand_of(x, const=const[0], pitch=pitch), operand_of(index, const=const[1]))
    out = operand_of(want, pitch=pitch and want.shape[-1] + 2)
    spec = KernelSpec("gather", operands, (out,), (("axis", axis),))
    arrays = [a for a, c in zip((x, index), const, strict=True) if not c]
    consts = [a for a, c in zip((x, index), const, strict=True) if c]
    (got,) = run_kernel(Gather(), spec, {}, target, arrays, consts, threads)
    np.testing.assert_array_equal(got, want)


@each_target
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [f32, u8, f16], ids=str)
def test_gather_along_every_axis(target: CpuTarget, axis: int, dtype: DType) -> None:
    x = values(dtype, (4, 5, 70))
    index = np.array([[0, -1, 3], [2, 2, -4]], np.int64)
    check_gather(x, index, axis, target, threads=2)
    check_gather(x, index[0].astype(np.int32), axis, target, const=(False, True), pitch=75)


@each_target
def test_gather_embedding_rows_and_scalars(target: CpuTarget) -> None:
    table = values(f32, (50, 96))
    check_gather(table, np.array([[3, 49, 0]], np.int64), 0, target, const=(True, False), threads=3)
    check_gather(table, np.array(7, np.int32), 1, target)


def test_support() -> None:
    x, index = Operand.dense(f32, (0, 4)), Operand.dense(i32, (2,))
    gather = KernelSpec("gather", (x, index), (Operand.dense(f32, (2, 4)),), (("axis", 0),))
    assert not Gather().plan(gather, AVX512_VNNI, 1)  # there is nothing to pick from
    edge = (("before", (1, 0)), ("after", (0, 0)), ("mode", "edge"))
    pad = KernelSpec("pad", (x,), (Operand.dense(f32, (1, 4)),), edge)
    assert not Pad().plan(pad, AVX512_VNNI, 1)
