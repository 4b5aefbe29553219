"""Kernels of products with weights of few bits: every tactic, block size and tail, on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.matmul_nbits.bytes import MatmulNbitsBytes, MatmulNbitsFixed
from camshaft.backends.cpu.matmul_nbits.expand import MatmulNbitsExpanded
from camshaft.backends.cpu.matmul_nbits.floats import MatmulNbits
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.few_bits import packed
from camshaft.ir.types import bf16
from camshaft.ops import MATMUL_NBITS
from camshaft.ops.nbits import dequantized
from kernel_harness import operand_of, params_of, run_kernel
from targets import each_target
from thinning import every_second

pytestmark = pytest.mark.sampled

TACTICS = {
    False: (MatmulNbits(), MatmulNbitsExpanded(), MatmulNbitsFixed()),
    True: (MatmulNbitsBytes(),),
}
each_form = pytest.mark.parametrize("int8", [False, True], ids=["floats", "bytes"])


def weights(
    n: int, k: int, bits: int, block: int, scale: Any = np.float32, zero: Any = None
) -> list[np.ndarray]:
    """Random packed integers, scales, zero points."""
    rng = np.random.default_rng(n + k + bits)
    blocks = -(-k // block)
    whole = rng.integers(0, 1 << bits, (n, k)).astype(np.uint8)
    scales = (rng.random((n, blocks)) * 0.05 + 0.01).astype(scale)
    if zero is None:
        zeros = np.zeros((0, 0), np.uint8)
    elif zero is np.uint8:
        zeros = rng.integers(0, 1 << bits, (n, blocks)).astype(np.uint8)
    else:
        zeros = (rng.random((n, blocks)) * (1 << bits)).astype(zero)
    return [packed(whole, bits), scales, zeros]


def check(
    x: np.ndarray,
    w: list[np.ndarray],
    target: CpuTarget,
    *,
    bits: int,
    block: int,
    int8: bool = False,
    operands: tuple[np.ndarray, ...] = (),
    pitch: int = 0,
    threads: int = 1,
    every: bool = True,
    **attrs: Any,
) -> None:
    full = MATMUL_NBITS.complete({"bits": bits, "block": block, "int8": int8, **attrs})
    (want,) = MATMUL_NBITS.reference([x, *w, *operands], full)
    spec = KernelSpec(
        "matmul_nbits",
        (operand_of(x, pitch=pitch), *(operand_of(a, const=True) for a in (*w, *operands))),
        (operand_of(want, pitch=pitch and want.shape[-1] + 3),),
        tuple(full.items()),
    )
    magnitude = np.abs(x).astype(np.float64) @ np.abs(
        dequantized(*w, x.shape[-1], full).astype(np.float64).T
    )
    for tactic in TACTICS[int8]:
        candidates = params_of(tactic, spec, target, threads)
        assert candidates or isinstance(tactic, (MatmulNbitsExpanded, MatmulNbitsFixed))
        for params in candidates if every else candidates[:1]:
            (got,) = run_kernel(tactic, spec, params, target, [x], [*w, *operands], threads)
            assert got.dtype == want.dtype == np.float32
            off = np.abs(got.astype(np.float64) - want)
            assert (off <= 2e-6 * magnitude + 1e-6).all(), (tactic.name, params, off.max())


def rows(m: int, k: int) -> np.ndarray:
    return np.random.default_rng(m * k).standard_normal((m, k)).astype(np.float32)


SIZES = [(1, 64, 40), (1, 90, 33), (5, 40, 17), (3, 130, 1), (11, 1, 9)]


@each_target
@each_form
@every_second(
    ("size", SIZES),
    ("bits", [4, 8]),
    ("zero", [None, np.uint8, np.float32]),
)
def test_sizes(
    target: CpuTarget, int8: bool, size: tuple[int, int, int], bits: int, zero: Any
) -> None:
    m, k, n = size
    check(
        rows(m, k),
        weights(n, k, bits, 32, zero=zero),
        target,
        bits=bits,
        block=32,
        int8=int8,
        threads=3,
    )


@each_target
@each_form
@every_second(
    ("block", [16, 20, 64, 128, 1000]),
    ("scale", [np.float32, np.float16, bf16.numpy]),
)
def test_blocks_and_types_of_scales(target: CpuTarget, int8: bool, block: int, scale: Any) -> None:
    for bits, zero in ((4, None), (4, np.uint8), (8, None)):
        w = weights(21, 300, bits, block, scale, zero)
        check(rows(2, 300), w, target, bits=bits, block=block, int8=int8, every=False)


@each_target
@each_form
def test_epilogue_and_rows_apart(target: CpuTarget, int8: bool) -> None:
    x, w = rows(6, 40).reshape(2, 3, 40), weights(19, 40, 4, 16, zero=np.uint8)
    bias, skip = rows(1, 19)[0], rows(6, 19).reshape(2, 3, 19)
    total = E.maximum(E.add(E.add(E.inp(0), E.inp(1)), E.inp(2)), E.const(0.0))
    check(
        x, w, target, bits=4, block=16, int8=int8, operands=(bias, skip), pitch=43, epilogue=total
    )


@each_target
@each_form
@every_second(("bits", [4, 8]), ("zero", [None, np.uint8]))
def test_many_rows(target: CpuTarget, int8: bool, bits: int, zero: Any) -> None:
    w = weights(37, 75, bits, 32, zero=zero)
    check(rows(29, 75), w, target, bits=bits, block=32, int8=int8, threads=2)
