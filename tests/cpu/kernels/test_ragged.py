"""Kernels of packed rows against their references: rows that a mask keeps, attention within segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.attention.tactic import RaggedAttention
from camshaft.backends.cpu.movement.kept_rows import KeptRows
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.kept import Kept
from camshaft.ir.extents.kept import kept_rows as rows_kept
from camshaft.ir.extents.symbol import Symbol
from camshaft.ops import KEPT_ROWS, RAGGED_ATTENTION
from kernel_harness import SymbolicKernel, operand_of, params_of, run_kernel
from targets import each_target

pytestmark = pytest.mark.sampled

N = Symbol("n", 1, 24, None)
MASKS = {
    "full": np.ones((3, 5)),
    "right": np.arange(5) < np.array([[2], [5], [1]]),
    "left": np.arange(5) >= np.array([[2], [4], [0]]),
    "holes": np.array([[1, 0, 1, 0, 1], [0, 1, 1, 0, 0], [1, 1, 0, 0, 1]]),
    "an empty sequence": np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]),
    "empty at first": np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]),
    "nothing": np.zeros((3, 5)),
}


def kept_rows(target: CpuTarget, mask: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    """The kernel's results, held against the reference's."""
    full = KEPT_ROWS.complete(attrs)
    wanted = KEPT_ROWS.reference([mask], full)
    outputs = tuple(operand_of(w) for w in wanted)
    spec = KernelSpec("kept_rows", (operand_of(mask),), outputs, tuple(full.items()))
    (params,) = params_of(KeptRows(), spec, target, 1)
    found = run_kernel(KeptRows(), spec, params, target, [mask], [], 1)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    return found


@each_target
@pytest.mark.parametrize("places", [(), (0,), (0, 4), (7,)], ids=str)
@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float32])
def test_rows_that_are_kept(target: CpuTarget, places: tuple[int, ...], dtype: type) -> None:
    for mask in MASKS.values():
        check_rows(target, mask.astype(dtype), places)


def check_rows(target: CpuTarget, mask: np.ndarray, places: tuple[int, ...]) -> None:
    kept = Kept(N, places)
    count = kept.count(mask)
    assert count == len(rows_kept(mask, places, False))
    rows, starts, at = kept_rows(target, mask, count=count, places=places)
    np.testing.assert_array_equal(rows, rows_kept(mask, places, False))
    np.testing.assert_array_equal(rows, sorted(set(rows.tolist())))
    assert starts[0] == 0
    assert starts[-1] == count
    nothing = not mask.any() and not places
    for row in range(0 if nothing else mask.size):
        neighbour = rows[at[row]]
        if row in rows:
            assert neighbour == row
        elif starts[row // 5] < starts[row // 5 + 1]:
            assert neighbour // 5 == row // 5


@each_target
def test_masks_of_other_numbers_keep_all_rows(target: CpuTarget) -> None:
    kept = Kept(N, ones=True)
    for number in (2, -1):
        for dtype in (np.int32, np.int64, np.float32):
            mask = np.array([[1, 0, 0], [0, number, 0]], dtype)
            assert kept.count(mask) == 6
            rows, _, _ = kept_rows(target, mask, count=6, ones=True)
            np.testing.assert_array_equal(rows, range(6))
    mask = np.array([[1, 0, 0], [0, 1, 0]])
    rows, _, _ = kept_rows(target, mask, count=kept.count(mask), ones=True)
    np.testing.assert_array_equal(rows, [0, 4])


@each_target
@pytest.mark.parametrize("count", [1, 4, 15])
def test_no_mask_makes_a_kernel_write_too_much(target: CpuTarget, count: int) -> None:
    for mask in MASKS.values():
        kept_rows(target, mask.astype(np.int64), count=count)


def ragged(
    target: CpuTarget,
    lengths: list[int],
    *operands: np.ndarray,
    size: int = 16,
    threads: int = 1,
    open_: bool = False,
    longest: int = 0,
    **attrs: Any,
) -> None:
    """Attention within segments of these lengths, 3 heads."""
    rng, n = np.random.default_rng(0), sum(lengths)
    q, k, v = (rng.standard_normal((1, 3, n, size), np.float32) for _ in range(3))
    starts = np.cumsum([0, *lengths])
    arrays = [q, k, v, starts, *operands]
    full = RAGGED_ATTENTION.complete({"longest": longest or max(lengths), **attrs})
    (want,) = RAGGED_ATTENTION.reference(arrays, full)
    inputs = [operand_of(a) for a in arrays]
    spec = KernelSpec("ragged_attention", tuple(inputs), (operand_of(want),), tuple(full.items()))
    tactic = RaggedAttention()
    if open_:
        longest_symbol = Symbol("s", 1, 16, None)
        rows = extent_of(N)
        swapped = spec.mapped(lambda e: rows if e == n else e)
        opened = {**full, "longest": extent_of(longest_symbol)}
        spec = KernelSpec(spec.op, swapped.inputs, swapped.outputs, tuple(opened.items()))
    for params in params_of(tactic, spec, target, threads):
        if open_:
            (candidate,) = [
                c for c in tactic.plan(spec, target, threads) if dict(c.params) == dict(params)
            ]
            sizes = {"n": n, "s": longest or max(lengths)}
            prepared = SymbolicKernel(candidate, target).laid_out(sizes, arrays, [], threads)
            prepared.run()
            prepared.check_guards()
            (got,) = prepared.outputs()
        else:
            (got,) = run_kernel(tactic, spec, params, target, arrays, [], threads)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=str(params))


LENGTHS = [[1], [7], [3, 9, 1], [0, 5, 0, 12, 0], [40, 2, 33], [100, 64, 65, 1]]


@each_target
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_segments(target: CpuTarget, lengths: list[int]) -> None:
    ragged(target, lengths)
    ragged(target, lengths, causal=True, threads=2)
    ragged(target, lengths, longest=max(lengths) + 30, size=20)


@each_target
def test_long_segments(target: CpuTarget) -> None:
    ragged(target, [700, 30, 513], size=8)
    ragged(target, [600, 3], size=8, causal=True)


@each_target
def test_operands_of_keys_and_of_queries(target: CpuTarget) -> None:
    lengths, rng = [5, 33, 0, 18], np.random.default_rng(1)
    n = sum(lengths)
    score = E.add(E.mul(E.inp(0), E.const(0.25)), E.inp(1))
    for shape in ((1, 1, 1, n), (1, 3, n, 1), (3, 1, 1), (1, 1)):
        operand = rng.standard_normal(shape, np.float32)
        ragged(target, lengths, operand, score=score, operands=1)
    result = rng.standard_normal((1, 3, n, 16), np.float32)
    ragged(target, lengths, result, epilogue=E.add(E.inp(0), E.inp(1)))


@each_target
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_open_sizes(target: CpuTarget, lengths: list[int]) -> None:
    ragged(target, lengths, open_=True, longest=max(lengths))
    ragged(target, lengths, open_=True, longest=max(lengths) + 5, threads=2, causal=True)
