"""Attention kernels against the op's reference: sizes, tails, masks, shared heads, open lengths, all targets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.attention.tactic import Attention
from camshaft.backends.cpu.target import AVX2, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.attrs import attr_at
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import f32, f64, row_major_strides, u8
from camshaft.ops import ATTENTION
from kernel_harness import SymbolicKernel, at_sizes, operand_of, params_of, run_kernel
from targets import each_target
from thinning import every_second

pytestmark = pytest.mark.sampled

TACTIC = Attention()
Shape = tuple[int, ...]
SCALED = E.mul(E.inp(0), E.const(0.3))


def values(shape: Shape, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def check(
    target: CpuTarget,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *operands: np.ndarray,
    lies: Mapping[int, Operand] | None = None,
    const: frozenset[int] = frozenset(),
    changed: Mapping[str, int] | None = None,
    threads: int = 1,
    every: bool = False,
    out: Operand | None = None,
    quantum: int = 0,
    **attrs: Any,
) -> None:
    """lies: operands that are no dense arrays.  const: numbers of constant ones.  changed: parameters."""
    full = ATTENTION.complete(attrs)
    arrays = [q, k, v, *operands]
    (want,) = ATTENTION.reference(arrays, full)
    lies = lies or {}
    inputs = [lies.get(n) or operand_of(a, const=n in const) for n, a in enumerate(arrays)]
    spec = KernelSpec("attention", tuple(inputs), (out or operand_of(want),), tuple(full.items()))
    found = params_of(TACTIC, spec, target, threads)
    assert found
    for params in found if every else found[:1]:
        given = {**params, **(changed or {})}
        if changed and "keys" in changed:  # tiles of keys are whole blocks of scores
            given["keys"] = max(given["keys"], given["cols"] * target.lanes(f32))
        (got,) = run_kernel(
            TACTIC,
            spec,
            given,
            target,
            [a for n, a in enumerate(arrays) if n not in const],
            [a for n, a in enumerate(arrays) if n in const],
            threads,
        )
        assert got.dtype == want.dtype
        if quantum:
            assert np.abs(got.astype(int) - want).max() <= quantum
        else:
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=str(params))


SIZES = [(1, 1, 1, 1), (1, 40, 8, 8), (5, 7, 3, 5), (37, 23, 16, 17), (64, 64, 64, 64), (9, 300, 40, 33)]  # fmt: skip


@each_target
@every_second(("size", SIZES), ("keys", [None, 32]), ("packed", [False, True]))
def test_sizes(target: CpuTarget, size: Shape, keys: int | None, packed: bool) -> None:
    s, t, h, g = size
    changed = {"packed": packed, "tiles": 2, **({} if keys is None else {"keys": keys})}
    q, k, v = values((2, 3, s, h), 1), values((2, 3, t, h), 2), values((2, 3, t, g), 3)
    check(target, q, k, v, score=SCALED, changed=changed, threads=3)


@each_target
def test_every_candidate(target: CpuTarget) -> None:
    q, k, v = (values((3, 70, 20), n) for n in range(3))
    check(target, q, k, v, score=SCALED, every=True, threads=2)
    check(target, q[:, :1], k, v, score=SCALED, every=True)
    long = [values((1, 600, 8), n) for n in range(3)]
    check(target, *long, score=SCALED, every=True, threads=2)


X, Y, Z = (E.inp(n) for n in range(3))


@each_target
@pytest.mark.parametrize("keys", [None, 16], ids=["one tile", "several"])
@pytest.mark.parametrize(
    "mask", [(2, 3, 9, 41), (2, 1, 1, 41), (1, 9, 1), (3, 1, 1), (41,)], ids=str
)
def test_masks_of_any_shape(target: CpuTarget, mask: Shape, keys: int | None) -> None:
    q, k, v = values((2, 3, 9, 8), 1), values((2, 3, 41, 8), 2), values((2, 3, 41, 10), 3)
    added = values(mask, 4)
    if mask:
        added[added > 1] = -np.inf
    changed = None if keys is None else {"keys": keys, "packed": 1, "tiles": 1}
    score = E.add(E.mul(X, E.const(0.3)), Y)
    for const in (frozenset[int](), frozenset({3})):
        check(
            target, q, k, v, added, score=score, operands=1, const=const, changed=changed, threads=2
        )


@each_target
def test_masks_of_bools_and_soft_caps(target: CpuTarget) -> None:
    q, k, v = values((2, 3, 9, 8), 1), values((2, 3, 41, 8), 2), values((2, 3, 41, 10), 3)
    seen = np.random.default_rng(5).random((2, 1, 9, 41)) < 0.7
    capped = E.mul(E.const(2.0), E.unary("tanh", E.mul(X, E.const(0.5))))
    bias = values((3, 9, 41), 6)
    score = E.select(Y, E.add(capped, Z), E.const(float("-inf")))
    check(target, q, k, v, seen, bias, score=score, operands=2)


@each_target
@pytest.mark.parametrize("keys", [None, 16], ids=["one tile", "several"])
@every_second(
    ("window", [0, 5, 30]), ("sizes", [(40, 70, 30), (1, 50, 49), (70, 20, 0), (90, 20, 0)])
)
def test_causal(
    target: CpuTarget, sizes: tuple[int, int, int], window: int, keys: int | None
) -> None:
    s, t, first = sizes
    q, k, v = values((3, s, 8), 1), values((3, t, 8), 2), values((3, t, 11), 3)
    attrs: dict[str, Any] = {"causal": True, "first": first, "window": window, "hidden": "zero"}
    changed = {"tiles": 2, **({} if keys is None else {"keys": keys})}
    check(target, q, k, v, score=SCALED, changed=changed, **attrs)


@each_target
@pytest.mark.parametrize("queries", [1, 7])
def test_shared_heads(target: CpuTarget, queries: int) -> None:
    q, k, v = values((2, 3, 4, queries, 8), 1), values((2, 3, 1, 20, 8), 2), values((2, 3, 1, 20, 9), 3)  # fmt: skip
    mask = values((2, 1, 1, 1, 20), 4)
    score = E.add(X, Y)
    check(target, q, k, v, mask, score=score, operands=1, threads=2)
    packed = {"packed": 1, "tiles": 1}
    check(target, np.repeat(q, 10, 3), k, v, mask, score=score, operands=1, changed=packed)
    check(target, q, k, v, score=SCALED, causal=True, first=20 - queries)
    check(target, q, k[:1, :1], v[:, :1], score=SCALED)


@each_target
def test_heads_beside_each_other(target: CpuTarget) -> None:
    """Queries, keys, values and results as a projection writes them: [B,S,N,H] seen as [B,N,S,H]."""
    shape, strides = (2, 3, 13, 8), (13 * 3 * 8, 8, 3 * 8, 1)
    lie = Operand(f32, shape, strides)
    arrays = [values(shape, n) for n in range(3)]
    check(target, *arrays, score=SCALED, lies=dict.fromkeys(range(3), lie), out=lie)
    turned = Operand(f32, shape, (3 * 13 * 8, 13 * 8, 1, 13))
    check(target, *arrays, score=SCALED, lies=dict.fromkeys(range(3), turned), out=turned)


@each_target
@pytest.mark.parametrize("keys", [None, 16], ids=["one tile", "several"])
@pytest.mark.parametrize("hidden", ["nan", "zero"])
def test_rows_that_see_nothing(target: CpuTarget, hidden: str, keys: int | None) -> None:
    q, k, v = (values((2, 40, 8), n) for n in range(3))
    mask = np.zeros((2, 40, 40), np.float32)
    mask[0, 3], mask[1, :, :20] = -np.inf, -np.inf
    mask[1, 7] = np.finfo(np.float32).min  # lowest scores count, if there are no others
    changed = None if keys is None else {"keys": keys}
    score = E.add(E.mul(X, E.const(0.0)), Y)
    check(target, q, k, v, mask, score=score, operands=1, hidden=hidden, changed=changed)


@each_target
def test_nan_and_infinity_spread_over_their_row(target: CpuTarget) -> None:
    q, k, v = (values((1, 12, 8), n) for n in range(3))
    q[0, 3, 2], q[0, 5, 1] = np.nan, np.inf
    check(target, q, k, v, score=SCALED)
    check(target, q, k, v, score=SCALED, changed={"keys": 8})


@each_target
@pytest.mark.parametrize("keys", [None, 16], ids=["one tile", "several"])
def test_epilogues(target: CpuTarget, keys: int | None) -> None:
    q, k, v = values((2, 3, 9, 8), 1), values((2, 3, 41, 8), 2), values((2, 3, 41, 10), 3)
    scale, skip = values((10,), 4), values((2, 3, 9, 10), 5)
    changed = None if keys is None else {"keys": keys}
    epilogue = E.add(E.mul(X, Y), Z)
    check(target, q, k, v, scale, skip, epilogue=epilogue, changed=changed, const=frozenset({3}))
    mask = values((41,), 6)
    check(
        target, q, k, v, mask, scale, skip,
        score=E.add(X, Y), operands=1, epilogue=epilogue, changed=changed,
    )  # fmt: skip
    quantized = E.quantize(X, E.const(0.01), 128, u8)
    check(target, q, k, v, epilogue=quantized, changed=changed, quantum=1)


S = extent_of(Symbol("queries", 1, 20, 70))
T = extent_of(Symbol("keys", 1, 40, 90))
LONG = extent_of(Symbol("keys", 1, 700, 1500))
B = extent_of(Symbol("batch", 1, 2, 3))


def dense(*shape: Extent) -> Operand:
    return Operand.dense(f32, shape)


def opened(
    s: Extent, t: Extent, *operands: Operand, batch: Extent = 2, heads: int = 3, **attrs: Any
) -> KernelSpec:
    full = ATTENTION.complete({"score": SCALED, **attrs})
    beside = row_major_strides((batch, s, heads, 8))
    q = Operand(f32, (batch, heads, s, 8), tuple(beside[a] for a in (0, 2, 1, 3)))
    inputs = (q, dense(batch, heads, t, 8), dense(batch, heads, t, 11), *operands)
    return KernelSpec("attention", inputs, (dense(batch, heads, s, 11),), tuple(full.items()))


OPEN = {
    "batch": opened(9, 20, batch=B),
    "queries and keys": opened(S, T),
    "one length for both": opened(T, T, batch=B),
    "long": opened(5, LONG),
    "a mask": opened(S, T, dense(2, 1, 1, T), score=E.add(X, Y), operands=1),
    "a long mask": opened(3, LONG, dense(3, LONG), score=E.add(X, Y), operands=1),
    "one new token": opened(1, LONG, causal=True, first=LONG - 1, batch=1, heads=2),
    "causal": opened(T, T, causal=True),
    "causal behind a past": opened(S, LONG + S, causal=True, first=LONG, window=50, batch=1, heads=1),
    "queries behind all keys": opened(LONG, S, causal=True, window=5, hidden="zero", batch=1, heads=1),
}  # fmt: skip


@each_target
@pytest.mark.parametrize("name", OPEN)
def test_open_lengths(target: CpuTarget, name: str) -> None:
    spec = OPEN[name]
    rng = np.random.default_rng(0)
    for candidate in (plan := TACTIC.plan(spec, target, 2))[:1] + plan[-1:]:
        kernel = SymbolicKernel(candidate, target)
        sizes_tried = [
            {s.name: s.low for s in spec.symbols},
            {s.name: s.high or 99 for s in spec.symbols},
        ]
        sizes_tried += [
            {s.name: int(rng.integers(s.low, (s.high or 99) + 1)) for s in spec.symbols}
            for _ in range(12)
        ]
        for number, sizes in enumerate(sizes_tried):
            fixed = at_sizes(spec, sizes)
            arrays = [np.asarray(rng.standard_normal(o.shape), np.float32) for o in fixed.inputs]
            attrs = {n: attr_at(v, partial(evaluate, sizes=sizes)) for n, v in spec.attrs}
            (want,) = ATTENTION.reference(arrays, attrs)
            run = kernel.laid_out(sizes, arrays, [], threads=1 + number % 3)
            run.run()
            run.check_guards()
            (got,) = run.outputs()
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=str(sizes))


def test_specs_without_code() -> None:
    full = tuple(ATTENTION.complete({}).items())
    doubles = [Operand.dense(f64, (2, 3, 4))] * 3
    assert not TACTIC.plan(KernelSpec("attention", tuple(doubles), (doubles[0],), full), AVX2, 1)
    nothing = [Operand.dense(f32, s) for s in [(2, 3, 4), (2, 0, 4), (2, 0, 4), (2, 3, 4)]]
    assert not TACTIC.plan(
        KernelSpec("attention", tuple(nothing[:3]), (nothing[3],), full), AVX2, 1
    )
