"""Tallies of generated code are those of the reference, on odd sizes, any strides, sizes that are open and all targets."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.reduce.tally import Tally
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType, bf16, dtype_of, f16, row_major_strides
from camshaft.ops import TALLY
from kernel_harness import SymbolicKernel, operand_of, run_kernel
from targets import RUNNABLE, each_target

SHAPES = [(1, 1), (3, 7), (2, 5, 1), (1, 9, 4, 3), (2, 7, 5, 16), (1, 3, 11, 37), (3, 1, 1, 100)]


def data(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = (3 * rng.standard_normal(shape)).astype(np.float32)
    x[rng.random(shape) < 0.3] = 0.0
    return x


def held(
    target: CpuTarget, x: np.ndarray, operand: Operand | None = None, threads: int = 1, **attrs: int
) -> list[np.ndarray]:
    """The kernel's results, held against the reference's."""
    wanted = TALLY.reference([x], attrs)
    outputs = tuple(operand_of(w) for w in wanted)
    spec = KernelSpec("tally", (operand or operand_of(x),), outputs, tuple(attrs.items()))
    found = run_kernel(Tally(), spec, {}, target, [x], [], threads)
    check(found, wanted, x)
    return found


def check(found: list[np.ndarray], wanted: list[np.ndarray], x: np.ndarray) -> None:
    """Sums of x may be off by what f32 rounds in sums of a few rows."""
    for n in (0, 1, 3):
        np.testing.assert_array_equal(found[n], wanted[n])
    values = x.astype(np.float64)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    np.testing.assert_allclose(found[2], wanted[2], rtol=1e-5, atol=1e-5 * largest)


@each_target
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_sizes(target: CpuTarget, shape: tuple[int, ...]) -> None:
    for rows, every in ((1, 1), (4, 1), (4, 3), (1000, 7), (5, 10_000)):
        held(target, data(shape), rows=rows, every=every, threads=3)


@each_target
def test_results_are_what_loops_say(target: CpuTarget) -> None:
    x = data((2, 3, 5, 7))
    least, most, sums, sample = held(target, x, rows=4, every=6)
    for n in range(2):
        rows = x[n].reshape(15, 7)
        for p in range(4):
            part = slice((4 * n + p) * 7, (4 * n + p + 1) * 7)
            piece = rows[4 * p : 4 * p + 4]
            assert (least[part] == piece.min(axis=0)).all()
            assert (most[part] == piece.max(axis=0)).all()
            np.testing.assert_allclose(
                sums[part], piece.sum(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-5
            )
        assert (sample[18 * n : 18 * n + 18] == x[n].ravel()[::6]).all()


@each_target
@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 1, 3, 2), (1, 0, 2, 3)], ids=str)
def test_views(target: CpuTarget, perm: tuple[int, ...]) -> None:
    dense = data((2, 5, 6, 9))
    x = dense.transpose(perm)
    strides = tuple(row_major_strides(dense.shape)[a] for a in perm)
    for every in (1, 4):
        held(target, x, Operand(dtype_of(x), x.shape, strides), rows=7, every=every)
    held(target, dense, operand_of(dense, pitch=12), rows=7, every=2)


@each_target
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.float64, bf16, f16])
def test_other_types(target: CpuTarget, dtype: object) -> None:
    kind = dtype.numpy if dtype in (bf16, f16) else np.dtype(dtype)  # type: ignore[attr-defined, call-overload]
    x = (4 * data((2, 5, 19))).clip(0 if kind.kind == "u" else None).astype(kind)
    for every in (1, 3):
        held(target, x, rows=3, every=every)


@each_target
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_its_channel(target: CpuTarget, bad: float) -> None:
    for place in ((0, 0, 0), (1, 6, 18), (1, 3, 16)):
        x = data((2, 7, 19))
        x[place] = bad
        least, most, _, _ = held(target, x, rows=4, every=5)
        shown = ~np.isfinite(least) | ~np.isfinite(most)
        assert shown.sum() == 1 and shown.reshape(-1, 19)[:, place[2]].any()


@each_target
def test_sums_of_many_rows_are_exact_to_a_millionth(target: CpuTarget) -> None:
    x = (100 + data((1, 3001, 5))).astype(np.float32)
    _, _, sums, _ = held(target, x, rows=3001, every=100)
    np.testing.assert_allclose(sums, x.sum(axis=(0, 1), dtype=np.float64), rtol=1e-6)


@each_target
def test_open_extents(target: CpuTarget) -> None:
    n, h, c = (extent_of(Symbol(s, 1, 64, None)) for s in "nhc")
    shape, attrs = (n, h, 3, c), {"rows": 5, "every": 7}
    types = [TensorType(dtype_of(np.zeros(1, np.float32)), shape)]
    operands = [Operand.dense(t.dtype, t.shape) for t in (*types, *TALLY.infer(types, attrs))]
    spec = KernelSpec("tally", (operands[0],), tuple(operands[1:]), tuple(attrs.items()))
    (candidate,) = Tally().plan(spec, target, 2)
    kernel = SymbolicKernel(candidate, target)
    for size in ((1, 1, 1), (2, 5, 16), (3, 7, 21), (1, 40, 3)):
        sizes = dict(zip("nhc", size, strict=True))
        x = data((size[0], size[1], 3, size[2]))
        prepared = kernel.laid_out(sizes, [x], [], 2)
        prepared.run()
        prepared.check_guards()
        check(prepared.outputs(), TALLY.reference([x], attrs), x)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x = data((3, 13, 11, 24))
    results = [held(RUNNABLE[0], x, rows=10, every=5, threads=t) for t in (1, 2, 3, 16)]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()
