"""Attention on half floats: products of pairs against a model of them, other halves against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attention_models import agrees_at_open_lengths, attention_of_pairs
from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.attention.tactic import Attention
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.target import AVX2, AVX512_BF16, PORTABLE, CpuTarget
from camshaft.builder.tuning.reference import references
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, bf16, f16, f32
from camshaft.ops import ATTENTION
from kernel_harness import operand_of, params_of, run_kernel
from machine_code import inner_loop, spills
from thinning import every_second

pytestmark = pytest.mark.sampled

TACTIC = Attention()
Shape = tuple[int, ...]
SCALE = 0.3
SCALED = E.mul(E.inp(0), E.const(SCALE))
X, Y = E.inp(0), E.inp(1)
PAIRS = {"products": "bf16"}

each_target = pytest.mark.parametrize("target", [AVX512_BF16, AVX2, PORTABLE], ids=lambda t: t.name)
each_tiling = pytest.mark.parametrize("keys", [None, 32], ids=["one tile", "several"])


def values(shape: Shape, seed: int, dtype: DType = bf16) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype.numpy)


def spec_of(
    arrays: list[np.ndarray], lies: dict[int, Operand] | None = None, **attrs: Any
) -> KernelSpec:
    full = ATTENTION.complete(attrs)
    (want,) = ATTENTION.reference(arrays, full)
    inputs = [(lies or {}).get(n) or operand_of(a) for n, a in enumerate(arrays)]
    return KernelSpec("attention", tuple(inputs), (operand_of(want),), tuple(full.items()))


def run(
    target: CpuTarget, arrays: list[np.ndarray], changed: dict[str, Any], threads: int = 1,
    lies: dict[int, Operand] | None = None, **attrs: Any,
) -> np.ndarray:  # fmt: skip
    """The first candidate's result, which must be as the build wants it."""
    spec = spec_of(arrays, lies, **attrs)
    params = {**params_of(TACTIC, spec, target, threads)[0], **changed}
    (got,) = run_kernel(TACTIC, spec, params, target, arrays, [], threads)
    (wanted,) = references(spec, arrays)
    assert wanted.check(got) == "", params
    return got


def of_pairs(arrays: list[np.ndarray], score: Any, keys: int | None) -> np.ndarray:
    """The model's result for [..., S, H], ..."""
    q, k, v = (a.astype(bf16.numpy) for a in arrays[:3])
    out = np.empty((*q.shape[:-1], v.shape[-1]), np.float32)
    for at in np.ndindex(*q.shape[:-2]):
        out[at] = attention_of_pairs(q[at], k[at], v[at], score, keys or k.shape[-2])
    return out


def agree(got: np.ndarray, want: np.ndarray) -> None:
    """Powers may fall to the other side of a tie: of few elements, and by little."""
    off = np.abs(got - want)
    assert not np.isnan(off).any()
    assert np.mean(off > 1e-5) < 0.03 and off.max() < 2.0**-8


SIZES = [(9, 1, 1, 1), (37, 23, 16, 17), (11, 301, 33, 40)]


@each_target
@every_second(("size", SIZES), ("packed", [False, True]), ("dtype", [bf16, f32]))
@each_tiling
def test_products_of_pairs(
    target: CpuTarget, size: Shape, keys: int | None, packed: bool, dtype: DType
) -> None:
    """Of f32 too, which is rounded on the way."""
    s, t, h, g = size
    shapes = [(2, 2, s, h), (2, 2, t, h), (2, 2, t, g)]
    arrays = [values(shape, n, dtype) for n, shape in enumerate(shapes)]
    changed = {"packed": packed, "tiles": 2, **({} if keys is None else {"keys": keys})}
    got = run(target, arrays, changed, threads=2, score=SCALED, **PAIRS)
    agree(got, of_pairs(arrays, lambda x, _: x * np.float32(SCALE), keys))


@each_target
@each_tiling
def test_masks(target: CpuTarget, keys: int | None) -> None:
    """A mask with rows of minus infinity, a causal window, rows that see nothing."""
    arrays = [values((2, 30, 24), 1), values((2, 75, 24), 2), values((2, 75, 9), 3)]
    mask = np.random.default_rng(4).standard_normal((30, 75)).astype(np.float32)
    mask[mask > 1] = -np.inf
    mask[:, 40:] = np.float32(-np.inf)
    changed = {} if keys is None else {"keys": keys}
    got = run(target, [*arrays, mask], changed, score=E.add(SCALED, Y), operands=1, **PAIRS)
    agree(got, of_pairs(arrays, lambda x, part: x * np.float32(SCALE) + mask[:, part], keys))
    mask[7] = -np.inf
    for hidden in ("nan", "zero"):
        attrs = {"score": E.add(SCALED, Y), "operands": 1, "hidden": hidden, **PAIRS}
        got = run(target, [*arrays, mask], changed, **attrs)
        assert (np.isnan(got[:, 7]) if hidden == "nan" else got[:, 7] == 0).all()
    capped = E.mul(E.const(2.0), E.unary("tanh", E.mul(X, E.const(0.2))))
    attrs = {"causal": True, "first": 45, "window": 20, "hidden": "zero", **PAIRS}
    run(target, arrays, changed, score=capped, **attrs)


@each_target
def test_shared_heads_views_and_epilogues(target: CpuTarget) -> None:
    """Heads beside each other, keys along the other axis, queries that share keys, half results."""
    shape = (2, 3, 12, 8)
    q, k, v = values(shape, 1), values((2, 1, 12, 8), 2), values((2, 1, 12, 8), 3)
    beside = Operand(bf16, shape, (12 * 24, 8, 24, 1))
    turned = Operand(bf16, (2, 1, 12, 8), (8 * 12, 8 * 12, 1, 12))
    rounded = E.cast(E.mul(X, E.const(1.5)), bf16)
    for lies in ({0: beside}, {0: Operand(bf16, shape, (36 * 8, 12 * 8, 1, 12)), 1: turned, 2: turned}):  # fmt: skip
        for packed in (False, True):
            changed = {"packed": packed}
            run(target, [q, k, v], changed, 2, lies, score=SCALED, epilogue=rounded, **PAIRS)


@each_target
def test_weights_of_a_row_add_up_to_one(target: CpuTarget) -> None:
    """Equal values come back as they are: the powers that are summed are the rounded ones."""
    q, k = values((1, 20, 16), 1), values((1, 300, 16), 2)
    v = np.full((1, 300, 8), 3.0, bf16.numpy)
    got = run(target, [q, k, v], {}, score=SCALED, **PAIRS)
    np.testing.assert_allclose(got, 3.0, rtol=1e-6)


MIXED = [(f32, bf16, bf16), (f32, f16, f16), (f16, f16, f16), (bf16, bf16, f32), (f32, f32, f16), (bf16, bf16, bf16)]  # fmt: skip


@each_target
@every_second(("types", MIXED), ("queries", [1, 20]))
def test_halves_are_widened_exactly(
    target: CpuTarget, types: tuple[DType, DType, DType], queries: int
) -> None:
    """As they are read: the result is that of attention on the same numbers in f32."""
    shapes = [(3, queries, 19), (3, 50, 19), (3, 50, 21)]
    arrays = [values(s, n, d) for n, (s, d) in enumerate(zip(shapes, types, strict=True))]
    tiled: dict[str, Any] = {"keys": 32, "packed": True}
    for changed in ({}, tiled):
        got = run(target, arrays, changed, 2, score=SCALED)
        wide = [a.astype(np.float32) for a in arrays]
        same = run(target, wide, changed, 2, score=SCALED)
        np.testing.assert_array_equal(got, same)


T = extent_of(Symbol("keys", 1, 40, 90))
LONG = extent_of(Symbol("keys", 1, 700, 1500))
S = extent_of(Symbol("queries", 1, 20, 70))


@each_target
@pytest.mark.parametrize("keys", [T, LONG], ids=["short", "long"])
@pytest.mark.parametrize("queries", [S, 20, 1], ids=["open", "some", "one"])
def test_open_lengths(target: CpuTarget, keys: Any, queries: Any) -> None:
    agrees_at_open_lengths(target, (queries, keys), bf16, {"score": SCALED, **PAIRS})


def test_avx512_bf16_multiplies_pairs_without_spilling() -> None:
    """Both products: a `vdpbf16ps` for each accumulator and step, four steps in a loop."""
    for queries, keys in ((128, 128), (512, 2048)):
        arrays = [values((2, n, 64), n) for n in (queries, keys, keys)]
        spec = spec_of(arrays, score=SCALED, **PAIRS)
        for candidate in TACTIC.plan(spec, AVX512_BF16, 1):
            assembly = CpuCompiler(AVX512_BF16).assembly(candidate.emit())
            body = inner_loop(assembly, "vdpbf16ps")
            accumulators = int(candidate.params["rows"]) * int(candidate.params["cols"])
            assert sum("vdpbf16ps" in line for line in body) == 4 * accumulators, candidate.params
            assert not spills(body), candidate.params
            assert "vcvtneps2bf16" in assembly
